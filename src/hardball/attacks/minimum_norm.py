"""The smallest perturbation that breaks each example, and so accuracy against ε.

Shapes: B batch; images [B, ...], labels int64 [B], radii [B].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hardball.attacks.base import Attack
from hardball.attacks.result import AttackResult, Classifier, judged, take, unattacked
from hardball.errors import UserError
from hardball.isolation import untouched
from hardball.threats import GEOMETRIES, Generator, ThreatModel
from hardball.validation import validate_images, validate_labels


@dataclass(frozen=True, kw_only=True, eq=False)
class Distortion:
    """What `minimum_distortion` found.

    Example:
        >>> found = hb.minimum_distortion(
        ...     model, test.images, test.labels, "l2", attack=hb.PGD(steps=5), upper=4.0, tolerance=1.0
        ... )
        >>> few, many = found.accuracy([0.5, 2.0])
        >>> few >= many
        True
    """

    radius: Tensor
    """float64 [B]: an ε at which the example was broken: 0 where misclassified already, ∞ where it
    was not broken at `upper`. An upper bound of the true smallest one."""
    standing: Tensor
    """float64 [B]: the lower end of the final bracket, an ε at which the attack failed (0 if it never
    did), or `radius` where its example lay closer than an ε at which it had failed."""
    witnesses: Tensor
    """[B, ...]: the example that broke it, at distance `radius`; else the image."""
    norm: str
    upper: float
    tolerance: float
    forwards: int
    backwards: int

    def accuracy(self, eps: Sequence[float]) -> list[float]:
        """Share of examples that stand at each ε. Never rises with ε: an example broken at r is
        broken at every larger ε."""
        self._not_beyond(max(eps, default=0.0))
        return [float((self.radius > e).double().mean()) for e in eps]

    def curve(self) -> tuple[list[float], list[float]]:
        """(ε, accuracy at ε) where the accuracy falls, from ε = 0 on."""
        radii = [0.0, *sorted({r for r in self.radius.tolist() if 0 < r < torch.inf})]
        return radii, self.accuracy(radii)

    @property
    def median(self) -> float:
        """The smallest ε found at which at least half of the examples are broken; ∞ if none, NaN of
        no examples."""
        if not len(self.radius):
            return math.nan
        ordered = self.radius.sort().values
        return float(ordered[(len(ordered) - 1) // 2])

    @property
    def largest(self) -> float:
        """The ε that breaks every example; ∞ if one is unbroken at `upper`, NaN of no examples."""
        return float(self.radius.max()) if len(self.radius) else math.nan

    def _not_beyond(self, eps: float) -> None:
        if eps > self.upper:
            raise UserError(
                f"eps={eps:g}; allowed is up to upper={self.upper:g}, beyond which nothing was measured"
            )


def minimum_distortion(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    norm: str,
    *,
    attack: Attack,
    upper: float,
    tolerance: float,
    generator: Generator = None,
    batch_size: int = 256,
) -> Distortion:
    """min ε such that `attack` finds an example inside the ball of radius ε, by bisection.

    Each example has its own bracket (failed, broken], halved until it is at most `tolerance` wide; a
    success may tighten it further, to the distance at which the attack's example really lies. Monotone
    by construction: what broke at r counts as broken at all larger ε. An attack need not be: where it
    failed at one ε by bad luck, the radius found is too large, never too small.

    The attack should have a fixed number of steps and no fixed step size: with one ε per example,
    steps · step_size = 2.5·ε then holds for each. At most log₂(upper/tolerance) + 2 attacks on each
    example.

    Args:
        model: images [B, ...] → logits [B, K].
        images: [B, ...] in [0, 1].
        labels: int64 [B].
        norm: "linf", "l2" or "l0" (radii are then whole numbers; use tolerance=1).
        attack: e.g. `PGD(steps=100, restarts=5)`.
        upper: the largest ε tried.
        tolerance: width of the final bracket.
        generator: one per example makes each result independent of the other examples.
        batch_size: examples at a time.

    Raises:
        UserError: a norm without radii, upper or tolerance out of range.

    Example:
        >>> found = hb.minimum_distortion(
        ...     model, test.images, test.labels, "linf", attack=hb.PGD(steps=5), upper=1.0, tolerance=0.1
        ... )
        >>> found.radius.shape
        torch.Size([20])
    """
    validate_images(images)
    validate_labels(labels, len(images))
    _check_bracket(norm, upper, tolerance)
    parts = [
        _bisect(
            model,
            images[rows],
            labels[rows],
            norm,
            attack,
            upper,
            tolerance,
            take(generator, rows),
        )
        for rows in torch.split(torch.arange(len(images)), batch_size)
    ]
    return Distortion(
        radius=torch.cat([part.radius for part in parts]),
        standing=torch.cat([part.standing for part in parts]),
        witnesses=torch.cat([part.witnesses for part in parts]),
        norm=norm,
        upper=upper,
        tolerance=tolerance,
        forwards=sum(part.forwards for part in parts),
        backwards=sum(part.backwards for part in parts),
    )


def _check_bracket(norm: str, upper: float, tolerance: float) -> None:
    # the threat model knows the norms and their radii, and says so
    geometry = ThreatModel(norm, upper).geometry
    if geometry.radii[0] == geometry.radii[1]:
        known = [name for name, g in GEOMETRIES.items() if g.radii[0] < g.radii[1]]
        raise UserError(f"the norm {norm} has a single radius; allowed are {', '.join(known)}")
    if not 0 < tolerance < upper:
        raise UserError(
            f"tolerance={tolerance:g} with upper={upper:g}; allowed is 0 < tolerance < upper"
        )


def _bisect(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    norm: str,
    attack: Attack,
    upper: float,
    tolerance: float,
    generator: Generator,
) -> Distortion:
    with untouched(model), torch.no_grad():
        start, _ = unattacked(model, images, labels)
    high = torch.where(start.fooled, 0.0, torch.inf).double()
    low = torch.zeros_like(high)
    witnesses, forwards, backwards = start.examples, start.forwards, 0
    rows = (~start.fooled).nonzero().squeeze(1)
    eps = torch.full_like(high, upper)[rows]
    while len(rows):
        found = _attack(
            attack, model, images[rows], labels[rows], ThreatModel(norm, eps), take(generator, rows)
        )
        forwards, backwards = forwards + found.forwards, backwards + found.backwards
        fell = rows[found.fooled]
        size = GEOMETRIES[norm].size(found.examples - images[rows]).double()
        high[fell] = torch.minimum(size, eps)[found.fooled]
        witnesses[fell] = found.examples[found.fooled]
        low[rows[~found.fooled]] = eps[~found.fooled]
        # it may lie closer than an ε at which the attack had failed
        low = torch.minimum(low, high)
        rows = (high.isfinite() & (high - low > tolerance)).nonzero().squeeze(1)
        eps = (low[rows] + high[rows]) / 2
    return Distortion(
        radius=high,
        standing=low,
        witnesses=witnesses,
        norm=norm,
        upper=upper,
        tolerance=tolerance,
        forwards=forwards,
        backwards=backwards,
    )


def _attack(
    attack: Attack,
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    generator: Generator,
) -> AttackResult:
    """The attack's result, each example of it seen to be misclassified inside ball and box."""
    claimed = attack(model, images, labels, threat, generator=generator)
    with untouched(model), torch.no_grad():
        return judged(
            model,
            images,
            labels,
            threat,
            claimed.examples,
            forwards=claimed.forwards,
            backwards=claimed.backwards,
        )
