"""How ε moves during training: pure functions of progress, so a resume point stores only the step.

A position is (epoch, fraction): epochs counted from 0, fraction ∈ (0, 1] of the epoch done *after*
the step in question, so the last step of the last ramp epoch has the full ε.
"""

import math
from typing import Protocol, Self

from hardball.errors import UserError


class Curriculum(Protocol):
    """What `fit` needs to know of a curriculum.

    To add one, write a frozen dataclass with these members whose first field is the target ε; the
    command line makes it from --eps and its other fields.

    Example:
        >>> ramp = hb.Iterative(0.4, ramp_epochs=4)
        >>> ramp.largest, ramp.total_epochs, ramp.eps_at(0, fraction=0.5)
        (0.4, 4, 0.1)
    """

    @property
    def target(self) -> float:
        """The ε asked for."""
        ...

    @property
    def largest(self) -> float:
        """The largest ε trained at: the target, or a little more."""
        ...

    @property
    def total_epochs(self) -> int: ...

    @property
    def may_stop(self) -> bool:
        """Stop at a sudden increase of the adversarial loss (see stopping.sudden_increase)."""
        ...

    def eps_at(self, epoch: int, fraction: float = 1.0) -> float: ...

    def lasting(self, epochs: int) -> Self:
        """The same curriculum over another number of epochs."""
        ...


def check_course(curriculum: Curriculum) -> None:
    """See that ε never falls and stays within `largest`, over all epochs.

    Raises:
        UserError: an epoch where it does not.
    """
    before = 0.0
    for epoch in range(curriculum.total_epochs):
        for fraction in (0.01, 0.5, 1.0):
            eps = curriculum.eps_at(epoch, fraction)
            name = type(curriculum).__name__
            if not (eps >= 0 and math.isfinite(eps)):
                raise UserError(
                    f"{name} gives ε={eps} in epoch {epoch + 1}; allowed is a finite number, 0 or "
                    "more: correct its eps_at"
                )
            if eps < before:
                raise UserError(
                    f"{name} lowers ε from {before:g} to {eps:g} in epoch {epoch + 1}; ε may rise or "
                    "stay: correct its eps_at"
                )
            if eps > curriculum.largest:
                raise UserError(
                    f"{name} gives ε={eps:g} in epoch {epoch + 1}, above its largest="
                    f"{curriculum.largest:g}; correct one of them"
                )
            before = eps


def check_eps(name: str, eps: float) -> None:
    if not (eps >= 0 and math.isfinite(eps)):
        raise UserError(f"{name}={eps}; allowed is a finite number, 0 or more")


def check_epochs(name: str, epochs: int, *, least: int) -> None:
    if epochs < least:
        raise UserError(f"{name}={epochs}; allowed is {least} or more")
