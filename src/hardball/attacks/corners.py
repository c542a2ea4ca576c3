"""Searches without gradients among the corners of the ball, or of the box behind a front.

Shapes: B examples; images [B, C, H, W] (or fewer dimensions); u and masks have the images' shape.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from hardball.attacks.adapters import Guarded
from hardball.attacks.base import Attack
from hardball.attacks.box import front_and_body, require_box
from hardball.attacks.reach import Behind, Reach
from hardball.attacks.result import Classifier, take
from hardball.errors import UserError
from hardball.fronts import Chain, Front, front_of
from hardball.losses import correct, margin
from hardball.threats import Generator, ThreatModel, per_example, uniform
from hardball.validation import validate_logits

FIRST_SHARE = 0.5
"""Of the pixels that can move: how many a first proposal changes."""

HALVINGS = 9
"""Of that share, spread over the queries."""

STARTS = 4
"""The image's own corner, the two ends everywhere, and random ones."""


@dataclass(frozen=True, kw_only=True)
class CornerSearch(Attack):
    """Random search on the corners of the ball and box, after Square (Andriushchenko et al. 2020), with
    images of their own for each example: a proposal is kept if it raises the margin.

    A corner takes each pixel to its least or its largest value, max(0, x − ε) or min(1, x + ε). Only
    pixels that can change what the network sees are changed, behind a front that the model declares
    too: a window of them to one end (odd queries), or some of them, chosen at random, to their other
    end (even ones), fewer and fewer of them. It needs no gradient and no extra package; AutoAttack's
    Square has a schedule made for 10,000 queries, this one for any number.

    Raises:
        UserError: queries below 1.
        Unsupported: a norm whose ball is no box.

    Example:
        >>> attack = hb.CornerSearch(queries=20)
        >>> attack(model, test.images, test.labels, hb.LInf(0.1)).fooled.shape
        torch.Size([20])
    """

    queries: int = 5000
    """Per example."""

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise UserError(f"queries={self.queries}; allowed is 1 or more")

    @property
    def uses_gradients(self) -> bool:
        return False

    @property
    def cost(self) -> int:
        return max(1, self.queries // 3)

    def cheapest(self) -> Self:
        return replace(self, queries=1)

    def validate(self, images: Tensor, threat: ThreatModel) -> None:
        require_box(threat)

    def parts(self, model: Classifier) -> tuple[Front, Classifier]:
        """The front, which may be none at all, and the network behind it."""
        return front_of(model) or (Chain([]), model)

    def search(
        self,
        model: Guarded,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: Generator,
    ) -> Tensor:
        front, body = self.parts(model.model)
        reach = Reach(front, images, threat)
        search = _Search(reach, reach.network(body), labels)
        rows = torch.arange(len(images), device=images.device)
        for query in range(self.queries):
            rows = rows[~search.fooled[rows]]
            if not len(rows):
                break
            share = FIRST_SHARE * 0.5 ** int(HALVINGS * query / self.queries)
            search.propose(query, share, rows, take(generator, rows))
        model.forwards += search.forwards
        return reach.pull_back(search.best())


@dataclass(frozen=True, kw_only=True)
class SquareBehindFront(CornerSearch):
    """`CornerSearch` in the box behind the model's front. There a corner takes each pixel to φ(x − ε) or
    φ(x + ε), so all of them are reachable, behind a front with jumps too.

    Raises:
        UserError: queries below 1.
        CannotRun: a model without a front.
        Unsupported: a norm whose ball is no box.

    Example:
        >>> rounded = torch.nn.Sequential(hb.Rounding(), model)
        >>> attack = hb.SquareBehindFront(queries=20)
        >>> attack(rounded, test.images, test.labels, hb.LInf(0.3)).fooled.shape
        torch.Size([20])
    """

    def parts(self, model: Classifier) -> tuple[Front, Classifier]:
        return front_and_body(model, "front-square")


class _Search:
    """The best corner found so far of each example."""

    def __init__(self, reach: Reach, network: Behind, labels: Tensor) -> None:
        place, low, high = reach.points.chunk(3, dim=1)
        self.ends, self.labels, self.network = torch.cat([low, high], dim=1), labels, network
        self.movable = high > low
        self.own = (place > 0.5).to(place)
        self.corner = self.own.clone()
        self.margin = place.new_full((len(place),), -torch.inf, dtype=torch.float32)
        self.fooled = torch.zeros(len(place), dtype=torch.bool, device=place.device)
        self.forwards = 0

    def best(self) -> Tensor:
        """Points."""
        return torch.cat([self.corner, self.ends], dim=1)

    def propose(self, query: int, share: float, rows: Tensor, generator: Generator) -> None:
        """Try one other corner for each of the examples `rows`."""
        numbers = uniform(self.corner[rows], generator)
        if query < STARTS:
            own = self.own[rows]
            starts = (own, torch.zeros_like(own), torch.ones_like(own), numbers.round())
            self._keep(starts[query], rows)
            return
        movable = self.movable[rows]
        changed = _window(numbers, share) if query % 2 else numbers < share
        changed = changed & movable
        # at least one pixel
        least = torch.where(movable, numbers, 2.0).flatten(1).argmin(dim=1, keepdim=True)
        few = ~changed.flatten(1).any(dim=1, keepdim=True)
        one = torch.zeros_like(changed).flatten(1).scatter(1, least, few).view_as(changed)
        flipped = 1 - self.corner[rows]
        if query % 2:
            end = per_example((numbers.flatten(1)[:, 0] > 0.5).to(numbers), numbers)
            moved = torch.where(changed, end, self.corner[rows])
            self._keep(torch.where(one, flipped, moved), rows)
        else:
            self._keep(torch.where(changed | one, flipped, self.corner[rows]), rows)

    def _keep(self, proposed: Tensor, rows: Tensor) -> None:
        points = torch.cat([proposed, self.ends[rows]], dim=1)
        logits = validate_logits(self.network(points), len(rows))
        self.forwards += len(rows)
        labels = self.labels[rows]
        wrong, height = ~correct(logits, labels), margin(logits, labels).float()
        better = wrong | (height > self.margin[rows])
        taken = rows[better]
        self.corner[taken], self.margin[taken] = proposed[better], height[better]
        self.fooled[taken] = wrong[better]


def _window(numbers: Tensor, share: float) -> Tensor:
    """bool like `numbers`: a square window of that share of the image at a random place, in every
    channel; the place is made of the last two numbers of each example."""
    height, width = (*(1, 1), *numbers.shape[2:])[-2:]
    flat, mask = numbers.flatten(1), torch.ones_like(numbers, dtype=torch.bool)
    for dimension, (size, place) in enumerate(((height, flat[:, -1]), (width, flat[:, -2]))):
        if numbers.dim() < 4 - dimension:
            continue
        side = max(1, round(share**0.5 * size))
        first = (place * (size - side + 1)).floor()
        along = torch.arange(size, device=numbers.device)
        inside = (along >= first[:, None]) & (along < first[:, None] + side)
        shape = [len(numbers), *[1] * (numbers.dim() - 1)]
        shape[2 + dimension] = size
        mask = mask & inside.view(shape)
    return mask
