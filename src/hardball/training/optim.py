"""Learning-rate schedules: progress ∈ [0, 1) → factor on the learning rate. Pure functions."""

import math
from collections.abc import Callable

import torch
from torch import nn

from hardball.errors import UserError

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    # the paper's CIFAR-10 rule: 0.1 / 0.01 / 0.001 for a third of the epochs each
    "steps": lambda t: 0.1 ** math.floor(3 * t + 1e-9),
    "linear-tail": lambda t: 1.0 if t < 0.6 else 0.02 + 0.98 * (1 - t) / 0.4,
    "cosine": lambda t: 0.5 * (1 + math.cos(math.pi * t)),
}

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


def make_optimizer(
    model: nn.Module, name: str, *, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
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
    return OPTIMIZERS[name](trained, lr, momentum, weight_decay)
