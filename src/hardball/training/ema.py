"""A moving average of the weights: smoother than the last ones, at no cost in attacks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """ā ← ā + (1 − d)·(w − ā) after each update, over parameters and floating buffers; what cannot
    be averaged (counters) is copied.

    d = min(decay, (1 + t)/(10 + t)) at update t, counted from 0, so that the random weights of the
    start are forgotten as fast as training leaves them.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = copied(model)

    def add(self, model: nn.Module, update: int) -> None:
        """Take in the weights after an update."""
        share = 1 - min(self.decay, (1 + update) / (10 + update))
        for name, value in model.state_dict().items():
            mean = self.weights[name]
            if mean.is_floating_point():
                mean.lerp_(value.detach(), share)
            else:
                mean.copy_(value)

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Go on from the average of a resume point."""
        for name, value in weights.items():
            self.weights[name].copy_(value)

    @contextmanager
    def inside(self, model: nn.Module) -> Iterator[None]:
        """Within this block the model has the averaged weights."""
        present = copied(model)
        model.load_state_dict(self.weights)
        try:
            yield
        finally:
            model.load_state_dict(present)


@torch.no_grad()
def copied(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and buffers as tensors of their own."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
