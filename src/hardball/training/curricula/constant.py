"""One ε throughout."""

from dataclasses import dataclass, replace
from typing import Self

from hardball.training.curricula.base import check_epochs, check_eps


@dataclass(frozen=True)
class Constant:
    """Adversarial training at one ε; ε = 0 is standard training. From the weights of a smaller ε it
    is extended adversarial training.

    Example:
        >>> hb.Constant(0.3, epochs=5).eps_at(2)
        0.3
    """

    eps: float
    epochs: int = 30

    def __post_init__(self) -> None:
        check_eps("eps", self.eps)
        check_epochs("epochs", self.epochs, least=1)

    @property
    def target(self) -> float:
        return self.eps

    @property
    def largest(self) -> float:
        return self.eps

    @property
    def total_epochs(self) -> int:
        return self.epochs

    @property
    def may_stop(self) -> bool:
        return False

    def eps_at(self, epoch: int, fraction: float = 1.0) -> float:
        return self.eps

    def lasting(self, epochs: int) -> Self:
        return replace(self, epochs=epochs)
