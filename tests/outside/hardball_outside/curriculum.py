"""A curriculum: `--curriculum hardball_outside.curriculum:Cosine --curriculum.ramp 40`."""

import math
from dataclasses import dataclass, replace
from typing import Self

import hardball as hb


@dataclass(frozen=True)
class Cosine:
    """ε rises to its target along half a cosine wave, slowly at both ends, then holds."""

    target: float
    ramp: int = 20
    """Epochs of the ramp."""
    hold: int = 5
    """Epochs at the target after it."""
    may_stop: bool = False
    """Stop at a sudden increase of the adversarial loss."""

    @property
    def largest(self) -> float:
        return self.target

    @property
    def total_epochs(self) -> int:
        return self.ramp + self.hold

    def eps_at(self, epoch: int, fraction: float = 1.0) -> float:
        share = min(1.0, (epoch + fraction) / self.ramp)
        return self.target * (1 - math.cos(math.pi * share)) / 2

    def lasting(self, epochs: int) -> Self:
        if epochs < self.ramp:
            raise hb.UserError(f"epochs={epochs} ; allowed is {self.ramp} or more")
        return replace(self, hold=epochs - self.ramp)
