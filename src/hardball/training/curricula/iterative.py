"""ε raised a little at a time."""

import math
from dataclasses import dataclass, replace
from typing import Literal, Self

from hardball.errors import UserError, unknown
from hardball.training.curricula.base import check_epochs, check_eps


@dataclass(frozen=True)
class Iterative:
    """Iterative adversarial training: ε grows from `start` to `target` (and `beyond`), then holds.

    Give `increment` (the paper: 0.01 per epoch) or `ramp_epochs`; with neither, the ramp takes 40
    epochs. The full ε is reached in the last ramp epoch, also if the increment does not divide it.

    Example:
        >>> ramp = hb.Iterative(0.4, ramp_epochs=4, hold=1)
        >>> [ramp.eps_at(epoch) for epoch in range(ramp.total_epochs)]
        [0.1, 0.2, 0.3, 0.4, 0.4]
    """

    target: float
    increment: float | None = None
    """ε added each epoch (linear ramps)."""
    ramp_epochs: int | None = None
    """Epochs from `start` to `target`."""
    hold: int = 0
    """Epochs at the full ε after the ramp."""
    start: float = 0.0
    """ε before the first step."""
    shape: Literal["linear", "exponential"] = "linear"
    """Equal additions, or equal factors (then start > 0)."""
    per: Literal["epoch", "step"] = "epoch"
    """How often ε moves."""
    may_stop: bool = True
    """Stop at a sudden increase of the adversarial loss."""
    beyond: float = 0.0
    """Let the ramp end this far above `target`: few steps of an attack reach less far than many."""

    def __post_init__(self) -> None:
        check_eps("eps", self.target)
        check_eps("start", self.start)
        check_eps("beyond", self.beyond)
        check_epochs("hold", self.hold, least=0)
        if self.shape not in ("linear", "exponential"):
            raise unknown("ramp shape", self.shape, ("linear", "exponential"))
        if self.per not in ("epoch", "step"):
            raise unknown("ramp unit", self.per, ("epoch", "step"))
        if not self.start < self.target:
            raise UserError(
                f"start={self.start:g} of a ramp to eps={self.target:g}; start must be below eps"
            )
        if self.increment is not None and self.ramp_epochs is not None:
            raise UserError(
                f"increment={self.increment:g} and ramp_epochs={self.ramp_epochs}; "
                "give only one of them"
            )
        if self.increment is not None and not 0 < self.increment <= self.largest:
            raise UserError(
                f"increment={self.increment:g}; allowed is above 0 and up to eps={self.largest:g}"
            )
        if self.ramp_epochs is not None:
            check_epochs("ramp_epochs", self.ramp_epochs, least=1)
        if self.shape == "exponential" and (self.start <= 0 or self.increment is not None):
            raise UserError(
                f"an exponential ramp from start={self.start:g} with increment={self.increment}; "
                "it needs start > 0 and ramp_epochs instead of an increment"
            )

    @property
    def largest(self) -> float:
        # rounded: 0.42, not 0.42000000000000004
        end = round(self.target + self.beyond, 12) if self.beyond else self.target
        return max(self.target, end)

    @property
    def ramp_length(self) -> int:
        """Epochs of the ramp."""
        if self.increment is not None:
            # rounded first: 0.4/0.01 is 40.000000000000000x
            return math.ceil(round((self.largest - self.start) / self.increment, 9))
        return 40 if self.ramp_epochs is None else self.ramp_epochs

    @property
    def total_epochs(self) -> int:
        return self.ramp_length + self.hold

    def eps_at(self, epoch: int, fraction: float = 1.0) -> float:
        done = epoch + (fraction if self.per == "step" else 1.0)
        if done >= self.ramp_length:
            return self.largest
        share = done / self.ramp_length
        if self.increment is not None:
            eps = self.start + self.increment * done
        elif self.shape == "exponential":
            eps = self.start * (self.largest / self.start) ** share
        else:
            eps = self.start + (self.largest - self.start) * share
        # 0.07, not 0.07000000000000001: ε is shown, stored and compared
        return min(self.largest, round(eps, 12))

    def lasting(self, epochs: int) -> Self:
        if self.increment is None and self.ramp_epochs is None:
            check_epochs("epochs", epochs, least=self.hold + 1)
            return replace(self, ramp_epochs=epochs - self.hold)
        if epochs < self.ramp_length:
            raise UserError(
                f"epochs={epochs} for a ramp of {self.ramp_length} epochs; use {self.ramp_length} "
                "or more, or a larger increment"
            )
        return replace(self, hold=epochs - self.ramp_length)
