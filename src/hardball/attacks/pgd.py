"""Projected gradient descent (Madry et al. 2018) in every form the paper uses.

Shapes: B batch, K classes; images [B, ...], labels int64 [B].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from hardball.attacks.base import Attack
from hardball.attacks.result import AttackResult, Classifier, take
from hardball.errors import NoGradient, UserError, unknown
from hardball.isolation import untouched
from hardball.losses import LOSSES, Loss, correct, cross_entropy
from hardball.threats import GEOMETRIES, Generator, ThreatModel
from hardball.validation import validate_logits

DIRECTIONS: dict[str, Callable[[ThreatModel, Tensor], Tensor]] = {
    "steepest": ThreatModel.steepest,
    "signed": lambda _, gradient: gradient.sign(),
    "raw": lambda _, gradient: gradient,
    "l2": lambda _, gradient: GEOMETRIES["l2"].steepest(gradient),
}
"""How a gradient becomes a step: the threat's own steepest direction (sign for ℓ∞), its sign, itself,
or its ℓ2-normalised form."""

RATIO = 2.5
"""Steps × step size ÷ ε, the paper's rule: the iterate can cross the ball with some to spare."""


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """max ℓ(f(x'), y) over x' in ball ∩ box by x' ← project(x' + α·direction(∇ℓ)).

    Give `steps`, `step_size` or both; the missing one follows from steps · step_size = 2.5·ε
    (rounded: truncation loses a step at ε = 0.18 and 0.36 with α = 0.01). With one ε per example
    each has its own step size; steps are those of the largest ε.

    Called as an *evaluation* attack it returns per example the first misclassified iterate, else the
    one of highest loss, the start and the last iterate included; an example once misclassified is
    not attacked further. A *training* attack (`perturb`) returns the final iterate and evaluates
    nothing.

    Raises:
        UserError: no or negative steps or step size, an ε so small that no step is left, unknown
            names, restarts without a random start.

    Example:
        >>> attack = hb.PGD(steps=20, restarts=2)
        >>> result = attack(model, test.images, test.labels, hb.LInf(0.2))
        >>> result.examples.shape, result.fooled.dtype
        (torch.Size([20, 1, 8, 8]), torch.bool)
        >>> moved = attack.perturb(model, test.images, test.labels, hb.LInf(0.2))  # for training
    """

    steps: int | None = None
    """Gradient steps."""
    step_size: float | None = None
    """α in pixel units (for `raw`: factor on the gradient)."""
    direction: str = "steepest"
    """A key of `DIRECTIONS`."""
    loss: str = "cross_entropy"
    """A key of `hardball.losses.LOSSES`."""
    random_start: bool = True
    """Start uniformly in the ball instead of at the image."""
    restarts: int = 1
    """Independent starts; each attacks only examples not fooled yet, the worst is kept."""
    keep: Literal["worst", "last"] = "worst"
    """Which iterate an evaluation returns: see above, or just the last one."""

    def __post_init__(self) -> None:
        if self.steps is None and self.step_size is None:
            raise UserError("PGD without steps and step_size; give one of them, e.g. steps=20")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"steps={self.steps}; allowed is 1 or more")
        if self.step_size is not None and not 0 < self.step_size < math.inf:
            raise UserError(
                f"step_size={self.step_size}; allowed is a positive number in pixel units"
            )
        if self.restarts < 1:
            raise UserError(f"restarts={self.restarts}; allowed is 1 or more")
        if self.restarts > 1 and not self.random_start:
            raise UserError(
                f"restarts={self.restarts} without a random start would repeat one search; "
                "allow the random start or use restarts=1"
            )
        for kind, name, table in (
            ("direction", self.direction, DIRECTIONS),
            ("loss", self.loss, LOSSES),
        ):
            if name not in table:
                raise unknown(kind, name, table)
        if self.keep not in ("worst", "last"):
            raise unknown("keep", self.keep, ("worst", "last"))

    @property
    def cost(self) -> int:
        """Sample-steps per example at ε = 1 if nothing falls early (for sorting attacks)."""
        return self.restarts * (self.steps or round(RATIO / (self.step_size or 1)))

    def finer(self, doublings: int) -> "PGD":
        """The same reach in 2^doublings times as many, smaller steps."""
        factor = 2**doublings
        return replace(
            self,
            steps=None if self.steps is None else factor * self.steps,
            step_size=None if self.step_size is None else self.step_size / factor,
        )

    def at(self, eps: float, *, at_least_one: bool = False) -> "PGD":
        """The same attack with `steps` fixed for this ε.

        Args:
            at_least_one: on the low end of a ramp, take one step where the rule rounds to none.
        """
        if self.steps is not None:
            return self
        assert self.step_size is not None
        steps = round(RATIO * eps / self.step_size)
        if steps < 1 and eps > 0 and not at_least_one:
            raise UserError(
                f"eps={eps:g} with step_size={self.step_size:g} leaves no step (2.5·ε/α = "
                f"{RATIO * eps / self.step_size:.2g}); use step_size ≤ {RATIO * eps:g}"
            )
        return replace(self, steps=max(1, steps))

    def cheapest(self) -> "PGD":
        return replace(self, steps=1, restarts=1)

    def run(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: Generator,
        targets: Tensor | None = None,
    ) -> AttackResult:
        """See `Attack`; it classifies its own iterates, also of images misclassified already.

        Args:
            targets: int64 [B]; descend to these classes instead of away from the labels. `fooled`
                still means "not the true class".
        """
        attack = self.at(float(torch.as_tensor(threat.eps).max()) if len(images) else 1.0)
        rows = torch.arange(len(images), device=images.device)
        result: AttackResult | None = None
        for _ in range(self.restarts):
            here = rows if result is None else rows[~result.fooled]
            if result is not None and not len(here):
                break
            found = attack._search(
                model,
                images[here],
                labels[here],
                threat.rows(here),
                take(generator, here),
                None if targets is None else targets[here],
            )
            result = found if result is None else result.worst(here, found)
        assert result is not None
        return result

    def perturb(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        *,
        start: Tensor | None = None,
        generator: Generator = None,
        loss: Loss | None = None,
    ) -> Tensor:
        """The final iterate, for training: no checks, no evaluation, no waiting for the device.

        Needs `steps` (see `at`). `start` replaces the random start; `loss`, a function of logits
        and labels, the attack's own.
        """
        with untouched(model, random_state=False), torch.no_grad():
            current = start if start is not None else self._start(images, threat, generator)
            for step in range(self.steps or 0):
                _, _, gradient = self._gradient(model, current, labels, None, loss)
                current = self._step(step, current, images, gradient, threat)
        return current

    def _start(self, images: Tensor, threat: ThreatModel, generator: Generator) -> Tensor:
        return threat.sample(images, generator) if self.random_start else images.detach().clone()

    @property
    def ratio(self) -> float:
        """Sum of the steps ÷ ε where no step size is given."""
        return RATIO

    def factor(self, step: int) -> float:
        """On the step size of that step, 0 … steps − 1."""
        return 1.0

    def _step(
        self, step: int, current: Tensor, images: Tensor, gradient: Tensor, threat: ThreatModel
    ) -> Tensor:
        size: float | Tensor | None = self.step_size
        if size is None:
            assert self.steps is not None
            size = self.ratio / self.steps * threat.radius(images)
        size = self.factor(step) * size
        moved = current + size * DIRECTIONS[self.direction](threat, gradient)
        return threat.project(moved, images)

    def _gradient(
        self,
        model: Classifier,
        current: Tensor,
        labels: Tensor,
        targets: Tensor | None,
        other: Loss | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss [B] of the true label (`other`, if given, for the attack's own), logits [B, K], and the
        gradient the attack climbs [B, ...]."""
        with torch.enable_grad():
            point = current.detach().requires_grad_(True)
            logits = validate_logits(model(point), len(current))
            loss = (other or LOSSES[self.loss])(logits, labels)
            climbed = loss if targets is None else -cross_entropy(logits, targets)
            gradient = None
            if climbed.requires_grad:
                # only the input's gradient: nothing is accumulated in parameters
                (gradient,) = torch.autograd.grad(climbed.sum(), point, allow_unused=True)
        if gradient is None:
            raise NoGradient(
                "no gradient flows from the model's logits to its images; PGD climbs one: remove "
                "no_grad, detach, argmax or rounding from the model"
            )
        return loss.detach(), logits.detach(), gradient

    def _search(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: Generator,
        targets: Tensor | None,
    ) -> AttackResult:
        """One start. The batch shrinks as its examples fall."""
        assert self.steps is not None
        best = _Best(images)
        rows = torch.arange(len(images), device=images.device)
        current = self._start(images, threat, generator)
        forwards = backwards = 0
        for step in range(self.steps + 1):
            if not len(rows):
                break
            forwards += len(rows)
            if step == self.steps:
                logits = validate_logits(model(current), len(rows))
                best.offer(rows, current, LOSSES[self.loss](logits, labels), logits, labels)
                break
            backwards += len(rows)
            loss, logits, gradient = self._gradient(model, current, labels, targets)
            if self.keep == "worst":
                best.offer(rows, current, loss, logits, labels)
            current = self._step(step, current, images, gradient, threat)
            if self.keep == "worst":
                alive = ~best.fooled[rows]
                if not bool(alive.all()):
                    rows, current, images, labels = (
                        rows[alive],
                        current[alive],
                        images[alive],
                        labels[alive],
                    )
                    targets = None if targets is None else targets[alive]
                    threat = threat.rows(alive)
        return AttackResult(
            examples=best.examples,
            loss=best.loss,
            fooled=best.fooled,
            forwards=forwards,
            backwards=backwards,
        )


@dataclass(frozen=True, kw_only=True)
class DecayingPGD(PGD):
    """PGD with step sizes that fall linearly, α_t = α·2(T − t)/(T + 1) for t = 0 … T − 1: the same sum,
    large steps first and small ones last.

    With `leap` they begin at 2ε (in a box: from one end to the other), as those of APGD do (Croce and
    Hein 2020), and end near 0. Then 20 steps can find what 200 small ones do not: at
    a large ε many of a network's errors are in other corners of the ball than the one uphill.

    Example:
        >>> attack = hb.DecayingPGD(steps=20, restarts=5, leap=True)
        >>> attack(model, test.images, test.labels, hb.LInf(0.2)).fooled.shape
        torch.Size([20])
    """

    leap: bool = False
    """Without a step size: begin with 2ε, whatever the number of steps, instead of taking 2.5·ε in all."""

    @property
    def ratio(self) -> float:
        return float(self.steps or 1) if self.leap else RATIO

    def factor(self, step: int) -> float:
        assert self.steps is not None
        return 2 * (self.steps - step) / (self.steps + 1)


class _Best:
    """Per example the first misclassified iterate seen, else the one of highest loss."""

    def __init__(self, images: Tensor) -> None:
        self.examples = images.detach().clone()
        self.loss = images.new_full((len(images),), -torch.inf, dtype=torch.float32)
        self.fooled = torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def offer(
        self, rows: Tensor, points: Tensor, loss: Tensor, logits: Tensor, labels: Tensor
    ) -> None:
        wrong = ~correct(logits, labels)
        loss = loss.to(self.loss.dtype)
        taken = ~self.fooled[rows] & (wrong | (loss > self.loss[rows]))
        where = rows[taken]
        self.examples[where] = points[taken]
        self.loss[where] = loss[taken]
        self.fooled[where] = wrong[taken]


def fgsm(loss: str = "cross_entropy") -> PGD:
    """The fast gradient sign method (Goodfellow et al. 2015): one step from the image to the
    boundary of the ball.

    Example:
        >>> result = hb.fgsm()(model, test.images, test.labels, hb.LInf(0.1))
        >>> print((result.examples - test.images).abs().max() <= 0.1001)
        tensor(True)
    """
    return PGD(steps=1, loss=loss, random_start=False, keep="last")
