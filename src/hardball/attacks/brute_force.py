"""Brute force: many random perturbations, no gradient.

Shapes: B batch; images [B, ...]; P points in one pass, each a perturbed image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hardball.attacks.base import Attack
from hardball.attacks.result import AttackResult, Classifier, judged, take, unattacked
from hardball.errors import Unsupported, UserError
from hardball.threats import Generator, ThreatModel, uniform

DRAWN = 128
"""Perturbations of an example drawn at once. Not a setting: the random numbers depend on it."""

PASS = 1024
"""Points classified at once; changes the speed and the memory, not the answer."""


@dataclass(frozen=True, kw_only=True)
class BruteForce(Attack):
    """`samples` random perturbations of each example: the first misclassified one is returned, else
    the one of highest margin. An example is left alone once it is misclassified.

    With `corners` every pixel moves by +ε or −ε, each with probability ½, and is then clipped to the
    box (in ℓ2: the corner's direction at length ε; unbounded: black-and-white noise): the check of
    arXiv 2003.13370, Appendix C, with 10⁸ samples. Else the samples are spread evenly in ball ∩ box.

    `forwards` counts the samples that were run, and one pass of the image itself.

    Raises:
        UserError: samples below 1; corners of an ℓ0 ball, which has none.

    Example:
        >>> attack = hb.BruteForce(samples=50)
        >>> attack.uses_gradients
        False
        >>> attack(model, test.images, test.labels, hb.LInf(0.1)).fooled.shape
        torch.Size([20])
    """

    samples: int = 10_000
    """Per example."""
    corners: bool = True
    """±ε in every pixel, instead of evenly in the ball."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError(f"samples={self.samples}; allowed is 1 or more")

    @property
    def cost(self) -> int:
        """Sample-steps per example if nothing falls early; a pass forward alone is a third of one."""
        return max(1, self.samples // 3)

    @property
    def uses_gradients(self) -> bool:
        return False

    def cheapest(self) -> "BruteForce":
        return replace(self, samples=1)

    def validate(self, images: Tensor, threat: ThreatModel) -> None:
        if self.corners and threat.norm == "l0":
            raise Unsupported(
                "corners=True in the norm l0, whose ball has none; use corners=False, or another norm"
            )

    def run(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: Generator,
    ) -> AttackResult:
        result, _ = unattacked(model, images, labels)
        for done in range(0, self.samples, DRAWN):
            unbroken = (~result.fooled).nonzero().squeeze(1)
            for rows in torch.split(unbroken, max(1, PASS // DRAWN)):
                if not len(rows):
                    break
                found = self._draw(
                    model,
                    images[rows],
                    labels[rows],
                    threat.rows(rows),
                    min(DRAWN, self.samples - done),
                    take(generator, rows),
                )
                result = result.worst(rows, found)
        return result

    def _draw(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        count: int,
        generator: Generator,
    ) -> AttackResult:
        """The first misclassified of `count` samples of each example, else the worst."""
        # one image of `count` samples: so each example's own generator draws all of them
        many = images.unsqueeze(1).expand(-1, count, *images.shape[1:])
        numbers = None if not self.corners else 2 * uniform(many, generator).round() - 1
        flat = many.flatten(0, 1)
        here = threat.rows(torch.arange(len(images), device=images.device).repeat_interleave(count))
        if numbers is not None:
            points = flat + here.radius(flat) * numbers.flatten(0, 1)
        else:
            points = self._inside(many, threat, generator)
        tried = judged(model, flat, labels.repeat_interleave(count), here, points)
        fooled, loss = tried.fooled.view(-1, count), tried.loss.view(-1, count)
        # the highest loss (NaN last), unless one is misclassified: then the first of these
        best = torch.where(
            fooled.any(dim=1),
            fooled.int().argmax(dim=1),
            loss.nan_to_num(-torch.inf).argmax(dim=1),
        )
        place = torch.arange(len(images), device=images.device)
        return replace(
            tried,
            examples=tried.examples.view_as(many)[place, best],
            loss=loss[place, best],
            fooled=fooled[place, best],
        )

    def _inside(self, many: Tensor, threat: ThreatModel, generator: Generator) -> Tensor:
        """Samples spread in the ball, [B·count, ...]."""
        if generator is None or isinstance(generator, torch.Generator):
            sources: Sequence[torch.Generator | None] = [generator] * len(many)
        else:
            sources = generator
        return torch.cat(
            [
                threat.rows(torch.full((many.shape[1],), i, device=many.device)).sample(own, source)
                for i, (own, source) in enumerate(zip(many, sources, strict=True))
            ]
        )
