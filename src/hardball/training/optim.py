"""Optimisers, and learning-rate schedules as pure functions of progress."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from hardball.errors import UserError, unknown

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    # the paper's CIFAR-10 rule: 0.1 / 0.01 / 0.001 for a third of the epochs each
    "steps": lambda t: 0.1 ** math.floor(3 * t + 1e-9),
    "linear-tail": lambda t: 1.0 if t < 0.6 else 0.02 + 0.98 * (1 - t) / 0.4,
    "cosine": lambda t: 0.5 * (1 + math.cos(math.pi * t)),
}
"""name → function of progress ∈ [0, 1): the factor on the learning rate."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": lambda parameters, lr, momentum, weight_decay: torch.optim.Adam(
        parameters, lr=lr, weight_decay=weight_decay, fused=True
    ),
    "adamw": lambda parameters, lr, momentum, weight_decay: torch.optim.AdamW(
        parameters, lr=lr, weight_decay=weight_decay, fused=True
    ),
    "sgd": lambda parameters, lr, momentum, weight_decay: torch.optim.SGD(
        parameters, lr=lr, momentum=momentum, weight_decay=weight_decay
    ),
}


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """The optimiser and its learning rate.

    Example:
        >>> hb.Optimizer(name="sgd", lr=0.1, schedule="cosine").momentum
        0.9
    """

    name: str = "adam"
    """adam, adamw or sgd."""
    lr: float = 1e-3
    """Learning rate."""
    schedule: str = "constant"
    """Learning rate over time: constant, steps (÷10 at 1/3 and 2/3), linear-tail or cosine."""
    momentum: float = 0.9
    """Momentum of sgd."""
    weight_decay: float = 0.0
    """Weight decay."""
    average: float = 0.0
    """Measure and keep a moving average of the weights with this decay per update (e.g. 0.998)."""

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise unknown("optimizer", self.name, OPTIMIZERS)
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if not 0 < self.lr < float("inf"):
            raise UserError(f"lr={self.lr}; allowed is a positive number")
        if self.weight_decay < 0 or not 0 <= self.momentum < 1:
            raise UserError(
                f"weight_decay={self.weight_decay}, momentum={self.momentum}; allowed are "
                "weight_decay ≥ 0 and momentum in [0, 1)"
            )
        if not 0 <= self.average < 1:
            raise UserError(f"average={self.average}; allowed is a number in [0, 1), 0 for none")

    def of(self, model: nn.Module) -> torch.optim.Optimizer:
        """An optimiser over the parameters that are trained.

        Raises:
            UserError: there are none.
        """
        trained = [p for p in model.parameters() if p.requires_grad]
        if not trained:
            raise UserError(
                f"a {type(model).__name__} with no parameter that requires a gradient leaves nothing to "
                "train; unfreeze some, or register them in the model"
            )
        return OPTIMIZERS[self.name](trained, self.lr, self.momentum, self.weight_decay)

    def lr_at(self, progress: float) -> float:
        """The learning rate at `progress` ∈ [0, 1) of the training."""
        return self.lr * SCHEDULES[self.schedule](progress)
