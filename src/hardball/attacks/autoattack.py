"""AutoAttack (Croce & Hein 2020) through the package pyautoattack, one part at a time.

Shapes: B batch, K classes; images [B, ...], labels int64 [B].
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hardball.attacks.adapters import (
    Guarded,
    by_eps,
    extra,
    four,
    seed_of,
)
from hardball.attacks.base import Attack
from hardball.attacks.result import Classifier, take
from hardball.errors import Unsupported, UserError, unknown
from hardball.isolation import untouched
from hardball.losses import LOSSES
from hardball.threats import Generator, ThreatModel
from hardball.validation import validate_images, validate_labels

PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The parts of the standard version, in its order."""

NORMS = {"linf": "Linf", "l2": "L2"}
"""Our name → the package's."""

DLR_CLASSES = 4
"""The targeted DLR loss divides by z₁ − (z₃ + z₄)/2."""


@dataclass(frozen=True, kw_only=True)
class AutoAttackPart(Attack):
    """One part of AutoAttack; the defaults are those of its *standard* version.

    `apgd-ce` and `apgd-t` are PGD with a step size of their own on the cross entropy and on the
    targeted difference-of-logits ratio (DLR), `fab-t` walks along the decision boundary, `square` is
    a black box: random squares, no gradient.

    With fewer than `targets` + 1 classes, all wrong classes are the targets. With two or three classes
    the targeted DLR, margin / (z₁ − (z₃+z₄)/2), does not exist; there `apgd-t` sets the absent logits 1
    below the smallest, which gives a bounded, rising function of the margin (two classes:
    m / (|m| + 1)).

    The package's random numbers depend on an example's companions in the batch, so it is called with
    `chunk` examples at a time; hand it the same chunks to get the same answer. Examples that it did
    not break come back as they were; `loss` is the margin max_{j≠y} z_j − z_y. One ε per example is
    allowed; each value is then a batch of its own.

    Raises:
        UserError: an unknown part, a number below 1; when called: the package is missing, a norm other
            than ℓ∞ and ℓ2, a model without gradients (except `square`), `square` in ℓ2 on images with
            a side below 5.

    Example:
        >>> attack = hb.AutoAttackPart(name="square", queries=1000)
        >>> attack.uses_gradients
        False
    """

    name: str = "apgd-ce"
    """One of `PARTS`."""
    chunk: int = 250
    """Examples at a time."""
    iterations: int = 100
    """Of APGD and FAB."""
    restarts: int = 1
    """Of APGD and Square."""
    targets: int = 9
    """Most likely wrong classes that the targeted parts try."""
    queries: int = 5000
    """Of Square; its schedule of sizes is made for 10,000 and is not squeezed into fewer."""

    def __post_init__(self) -> None:
        if self.name not in PARTS:
            raise unknown("part of AutoAttack", self.name, PARTS)
        for field in ("chunk", "iterations", "restarts", "targets", "queries"):
            if getattr(self, field) < 1:
                raise UserError(f"{field}={getattr(self, field)}; allowed is 1 or more")

    @property
    def cost(self) -> int:
        """Sample-steps per example if nothing falls early; a pass forward alone is a third of one."""
        return {
            "apgd-ce": self.restarts * self.iterations,
            "apgd-t": self.restarts * self.targets * self.iterations,
            "fab-t": self.targets * self.iterations * 4 // 3,
            "square": self.restarts * self.queries // 3,
        }[self.name]

    @property
    def uses_gradients(self) -> bool:
        return self.name != "square"

    def cheapest(self) -> "AutoAttackPart":
        return replace(self, iterations=1, restarts=1, targets=1, queries=1)

    def validate(self, images: Tensor, threat: ThreatModel) -> None:
        extra("pyautoattack", self.name)
        if threat.norm not in NORMS:
            raise Unsupported(
                f"{self.name} in the norm {threat.norm}; AutoAttack allows {' and '.join(NORMS)}: "
                "use PGD for the others"
            )
        _, height, width = four(images.shape[1:])
        if self.name == "square" and threat.norm == "l2" and min(height, width) < 5:
            raise Unsupported(
                f"square in l2 on images of {height}×{width}; allowed are sides of 5 or more: use "
                "another part"
            )

    def search(
        self,
        model: Guarded,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: Generator,
    ) -> Tensor:
        package = extra("pyautoattack", self.name)
        model.what, model.least = self.name, DLR_CLASSES if self.name == "apgd-t" else 2
        proposed = images.clone()
        with _tracing_restored():
            for eps, rows in by_eps(threat, torch.arange(len(images), device=images.device)):
                for part in torch.split(rows, self.chunk):
                    seed, norm = seed_of(take(generator, part)), NORMS[threat.norm]
                    runner = self._runner(package, model, norm, eps, seed, model.classes)
                    x = model.images(images[part])
                    found, _ = runner.run_standard_evaluation(x, labels[part], batch_size=len(x))
                    proposed[part] = model.original(found)
        return proposed

    def _runner(
        self, package: Any, guarded: Guarded, norm: str, eps: float, seed: int, classes: int
    ) -> Any:
        """The package's AutoAttack with this one part and these settings, silent."""
        runner = package.AutoAttack(
            guarded,
            norm=norm,
            eps=eps,
            seed=seed,
            device=guarded.device,
            version="custom",
            attacks=[self.name],
        )
        runner.verbose = False
        runner.logger = _SILENT
        for part in ("apgd", "apgd_targeted"):
            # built anew: the times at which APGD halves its step follow from n_iter at construction
            apgd = type(getattr(runner, part))(
                guarded,
                n_iter=self.iterations,
                n_restarts=self.restarts,
                norm=norm,
                eps=eps,
                seed=seed,
                device=guarded.device,
                logger=_SILENT,
            )
            setattr(runner, part, apgd)
        runner.apgd_targeted.n_target_classes = min(self.targets, classes - 1)
        runner.fab.n_target_classes = min(self.targets, classes - 1)
        runner.fab.n_iter = self.iterations
        runner.square.n_queries = self.queries
        runner.square.n_restarts = self.restarts
        return runner


AUTOATTACK: dict[str, AutoAttackPart] = {name: AutoAttackPart(name=name) for name in PARTS}
"""The four parts of the standard version, by name, in its order."""

_SILENT = logging.Logger("hardball.autoattack", level=logging.CRITICAL + 1)


@contextmanager
def _tracing_restored() -> Iterator[None]:
    """The package traces one pass to see whether the model optimises, and then turns tracing off:
    debuggers and coverage need theirs back."""
    before = sys.gettrace()
    try:
        yield
    finally:
        sys.settrace(before)


class _Notes:
    """Takes the place of the package's logger."""

    def __init__(self) -> None:
        self.warned = False

    def warning(self, message: str) -> None:
        self.warned = True


FLAGS = {
    "randomised": "two passes of the model differ: average the attacked gradient over several passes, "
    "or evaluate the model with its randomness off",
    "probabilities": "the outputs are probabilities, not logits: losses of them vanish; return what "
    "goes into the softmax",
    "zero gradients": "the gradient is exactly zero at some images: attacks that climb it stand "
    "still there, and their accuracy proves nothing",
    "optimises": "the model takes gradients inside its own forward pass: attacks must be adapted to "
    "such a model",
}
"""AutoAttack's own warning flags, and what they mean."""


def autoattack_flags(model: Classifier, images: Tensor, labels: Tensor) -> dict[str, str]:
    """AutoAttack's checks of the model on these images: flag → meaning, for those raised.

    They are shown as warnings beside AutoAttack's results; 100 images are plenty.

    Args:
        model: images [B, ...] → logits [B, K], in the mode it is in.
        images: [B, ...] in [0, 1].
        labels: int64 [B].

    Raises:
        UserError: the package is missing.
    """
    checks = extra("pyautoattack.checks", "autoattack_flags")
    validate_images(images)
    validate_labels(labels, len(images))
    if not len(images):
        return {}
    guarded = Guarded(model, images, what="autoattack_flags")
    seen = guarded.images(images)
    with untouched(model), _tracing_restored():
        notes = {name: _Notes() for name in FLAGS}
        checks.check_randomized(guarded, seen, labels, logger=notes["randomised"])
        checks.check_range_output(guarded, seen, logger=notes["probabilities"])
        checks.check_zero_gradients(
            _gradient(guarded, seen, labels), logger=notes["zero gradients"]
        )
        # its counters of calls to autograd are never reset by the package
        checks.funcs.update(dict.fromkeys(checks.funcs, 0))
        checks.check_dynamic(guarded, seen, logger=notes["optimises"])
        checks.funcs.update(dict.fromkeys(checks.funcs, 0))
    return {name: meaning for name, meaning in FLAGS.items() if notes[name].warned}


def _gradient(guarded: Guarded, images: Tensor, labels: Tensor) -> Tensor:
    """Of the margin, whose gradient has the zeros of the DLR's but exists for two classes too."""
    with torch.enable_grad():
        point = images.clone().requires_grad_(True)
        loss = LOSSES["margin"](guarded(point), labels).sum()
        (gradient,) = torch.autograd.grad(loss, point)
    # the package views it as rows, which a gradient in channels_last does not allow
    return gradient.contiguous()
