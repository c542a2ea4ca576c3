"""Attacks behind a front: in the box of what an ℓ∞ adversary reaches there, with real gradients.

Shapes: B examples; images [B, C, ...]; points [B, 3C, ...] (see `hardball.fronts.Reach`).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hardball.attacks.adapters import Guarded
from hardball.attacks.base import Attack
from hardball.attacks.pgd import PGD
from hardball.attacks.result import AttackResult, Classifier, take
from hardball.attacks.targeted import Targeted
from hardball.errors import CannotRun, Unsupported
from hardball.fronts import HALF, Front, InBox, Reach, front_of
from hardball.losses import Loss
from hardball.threats import Generator, ThreatModel

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
class BehindFront(Attack):
    """Runs `attack` on the network behind the model's front, in the box of all that is reachable there.

    The gradient is the network's own, the front's flat and steep parts do not matter, and nothing is
    lost: behind a continuous front every point of the box is the image of an image in the ball. Every
    find is pulled back to an image in ball and box, and the whole model judges it. A front with jumps
    reaches only some points of the box, and only these count: the first search asks the network at the
    reachable point next to its iterate and takes the gradient there; a second one, on what remains,
    climbs through the whole box to its last step and is rounded then.

    Step sizes in pixels are taken in parts of ε: a step is that part of half of each pixel's interval.

    Raises:
        CannotRun: a model without a front.
        Unsupported: a norm whose ball is no box.
    """

    attack: PGD | Targeted
    """What runs there."""

    @property
    def cost(self) -> int:
        return self.attack.cost

    def cheapest(self) -> "BehindFront":
        return replace(self, attack=self.attack.cheapest())

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
        left = (~found.fooled).nonzero().squeeze(1)
        if len(left):
            relaxed = reach.network(body, relaxed=True)
            own = take(generator, left)
            last = _to_the_end(attack)
            found = last.run(relaxed, reach.points[left], labels[left], InBox(), own)
            _count(model, found)
            proposed[left] = Reach(front, images[left], threat.rows(left)).pull_back(found.examples)
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
            f"norm {threat.norm} for an attack behind a front, where only a box stays a box; allowed "
            f"are {' and '.join(NORMS)}: use attacks in image space"
        )
