"""Attacks behind a front: in the box of what an ℓ∞ adversary reaches there, with real gradients.

Shapes: B examples; images [B, C, ...]; points [B, 3C, ...] (see `hardball.fronts.Reach`).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hardball.attacks.adapters import Guarded
from hardball.attacks.base import Around
from hardball.attacks.pgd import PGD
from hardball.attacks.reach import HALF, Behind, InBox, Reach
from hardball.attacks.result import AttackResult, Classifier, take
from hardball.attacks.targeted import Targeted
from hardball.errors import CannotRun, Unsupported
from hardball.fronts import Front, front_of
from hardball.losses import Loss, correct, margin
from hardball.threats import Generator, ThreatModel, per_example, uniform

NORMS = ("linf", "unbounded")
"""Whose ball is a box for every pixel by itself."""


def scaled(attack: PGD, threat: ThreatModel) -> PGD:
    """The attack for a box: with the step size that is the same part of half an interval as it was of
    ε, and the number of steps that it has at this ε."""
    eps = float(torch.as_tensor(threat.eps).max())
    attack = attack.at(eps)
    if attack.step_size is None or eps == 0:
        return attack
    return replace(attack, step_size=attack.step_size / eps * HALF)


def front_and_body(model: Classifier, what: str) -> tuple[Front, nn.Module]:
    """See `front_of`.

    Raises:
        CannotRun: the model has no front.
    """
    found = front_of(model)
    if found is None:
        raise CannotRun(
            f"{what} attacks the network behind a front, and this model declares none: let it be an "
            "nn.Sequential that begins with a hardball.Front, or choose another attack"
        )
    return found


@dataclass(frozen=True, kw_only=True)
class BehindFront(Around):
    """Runs `attack` on the network behind the model's front, in the box of all that is reachable there.

    The gradient is the network's own, the front's flat and steep parts do not matter, and nothing is
    lost: behind a continuous front every point of the box is the image of an image in the ball. Every
    find is pulled back to an image in ball and box, and the whole model judges it. A front with jumps
    reaches only some points of the box, and only these count: the first search asks the network at the
    reachable point next to its iterate and takes the gradient there; others, one for each start,
    climb through the whole box to their last step, and go on from the corner next to it along the
    box's edges (`polished`).

    Step sizes in pixels are taken in parts of ε: a step is that part of half of each pixel's interval.

    Raises:
        CannotRun: a model without a front.
        Unsupported: a norm whose ball is no box.

    Example:
        >>> rounded = torch.nn.Sequential(hb.Rounding(), model)
        >>> attack = hb.BehindFront(attack=hb.PGD(steps=5))
        >>> attack(rounded, test.images, test.labels, hb.LInf(0.3)).fooled.shape
        torch.Size([20])
    """

    attack: PGD | Targeted
    """What runs there."""

    def validate(self, images: Tensor, threat: ThreatModel) -> None:
        require_box(threat)

    def search(
        self,
        model: Guarded,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: Generator,
    ) -> Tensor:
        front, body = front_and_body(model.model, "front-pgd")
        reach = Reach(front, images, threat)
        attack = _in_units_of_the_box(self.attack, threat)
        found = attack.run(reach.network(body), reach.points, labels, InBox(), generator)
        _count(model, found)
        proposed = reach.pull_back(found.examples)
        if front.continuous:
            return proposed
        fooled, last = found.fooled.clone(), _to_the_end(attack)
        for _ in range(_starts(attack)):
            left = (~fooled).nonzero().squeeze(1)
            if not len(left):
                break
            here, own = labels[left], take(generator, left)
            relaxed, exact = reach.network(body, relaxed=True), reach.network(body)
            found = last.run(relaxed, reach.points[left], here, InBox(), own)
            _count(model, found)
            ended = polished(exact, found.examples, here, own)
            fooled[left] = ~correct(exact(ended), here)
            model.forwards += (POLISH + 1) * len(left)
            model.backwards += POLISH * len(left)
            proposed[left] = Reach(front, images[left], threat.rows(left)).pull_back(ended)
        return proposed

    def perturb(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        *,
        start: Tensor | None = None,
        generator: Generator = None,
    ) -> Tensor:
        """The final iterate, for training: `PGD.perturb` behind the front (see `perturb_behind`)."""
        if not isinstance(self.attack, PGD):
            raise CannotRun(
                "a training attack behind a front is a PGD; use BehindFront(attack=PGD(…))"
            )
        require_box(threat)
        if start is None:
            start = threat.sample(images, generator) if self.attack.random_start else images
        front, body = front_and_body(model, "front-pgd")
        return perturb_behind(self.attack, front, body, images, labels, threat, start=start)


def perturb_behind(
    attack: PGD,
    front: Front,
    body: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    start: Tensor,
    loss: Loss | None = None,
) -> Tensor:
    """The images in ball and box at which PGD's last iterate in the box behind a front is pulled back.

    Args:
        start: images in the ball: the iterate begins at the same part of each pixel's interval.
        loss: see `PGD.perturb`.
    """
    reach = Reach(front, images, threat)
    found = scaled(attack, threat).perturb(
        reach.network(body, relaxed=True),
        reach.points,
        labels,
        InBox(),
        start=reach.from_pixels(start),
        loss=loss,
    )
    return reach.pull_back(found)


def _in_units_of_the_box(attack: PGD | Targeted, threat: ThreatModel) -> PGD | Targeted:
    if isinstance(attack, Targeted):
        return replace(attack, attack=scaled(attack.attack, threat))
    return scaled(attack, threat)


def _starts(attack: PGD | Targeted) -> int:
    return attack.attack.restarts if isinstance(attack, Targeted) else attack.restarts


def _to_the_end(attack: PGD | Targeted) -> PGD | Targeted:
    """One start, and no stop at points that are not reachable."""
    if isinstance(attack, Targeted):
        return replace(attack, attack=replace(attack.attack, keep="last", restarts=1))
    return replace(attack, keep="last", restarts=1)


def _count(model: Guarded, found: AttackResult) -> None:
    model.forwards += found.forwards
    model.backwards += found.backwards


def require_box(threat: ThreatModel) -> None:
    """Raises:
    Unsupported: another norm than `NORMS`.
    """
    if threat.norm not in NORMS:
        raise Unsupported(
            f"norm {threat.norm} for an attack in the box of what can be reached; allowed are "
            f"{' and '.join(NORMS)}, whose ball is a box: use other attacks"
        )


FLIPS = 8
"""Most pixels that a polishing step takes to their other end."""

POLISH = 40
"""Polishing steps."""


def polished(network: Behind, points: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """Corners of the box of higher margin, from the corners next to `points`.

    Each step flips those of a random half of the pixels that the gradient at the corner says gain most,
    and keeps it if the margin rises; if not, fewer are flipped next time. A gradient at a corner looks
    along the edges of the box, which is where reachable points lie behind a front with jumps.
    """
    place, *ends = points.detach().chunk(3, dim=1)
    corner, movable = (place > 0.5).to(place), ends[1] > ends[0]
    count = torch.full((len(points), 1), FLIPS, device=points.device)
    best = points.new_full((len(points),), -torch.inf)
    trial, slope = corner, torch.zeros_like(corner)
    for _ in range(POLISH):
        with torch.enable_grad():
            point = torch.cat([trial, *ends], dim=1).requires_grad_(True)
            height = margin(network(point), labels)
            (gradient,) = torch.autograd.grad(height.sum(), point)
        height = height.detach()
        better = per_example(height > best, corner)
        count = torch.where(height[:, None] > best[:, None], count * 2, count // 2).clamp(1, FLIPS)
        corner, best = torch.where(better, trial, corner), torch.maximum(best, height)
        slope = torch.where(better, gradient.chunk(3, dim=1)[0], slope)
        gain = (slope * (1 - 2 * corner)).masked_fill(~movable, -torch.inf)
        gain = gain.masked_fill(uniform(gain, generator) < 0.5, -torch.inf).flatten(1)
        rank = gain.argsort(dim=1, descending=True).argsort(dim=1)
        chosen = ((rank < count) & gain.isfinite()).view_as(corner)
        trial = torch.where(chosen & ~per_example(best > 0, corner), 1 - corner, corner)
    return torch.cat([corner, *ends], dim=1)
