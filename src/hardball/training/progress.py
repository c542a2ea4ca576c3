"""How far training moves the weights from epoch to epoch (the paper's Figure 10)."""

import math

import torch
from torch import Tensor, nn


class Travelled:
    """The ℓ2 distance between the weights at the ends of consecutive epochs.

    It keeps one copy of the parameters. Buffers, which no optimiser moves, do not count.
    """

    def __init__(self, model: nn.Module, last: dict[str, Tensor] | None = None) -> None:
        """Start from the model's weights, or go on from those of a resume point."""
        self._last = _copied(model)
        for name, value in (last or {}).items():
            self._last[name].copy_(value)

    @torch.no_grad()
    def distance(self, model: nn.Module) -> float:
        """From the weights at the last call (or the start) to these, which count from now on.

        A pure function of both sets of values: neither memory layout nor process changes it, so a
        resumed run repeats it bit for bit.
        """
        new = _copied(model)
        # flattened in logical order: a sum depends on the order of its terms
        parts = [(value - self._last[name]).flatten() for name, value in new.items()]
        norms = torch.stack([torch.linalg.vector_norm(part) for part in parts]).tolist()
        self._last = new
        return math.hypot(*norms)

    def state(self) -> dict[str, Tensor]:
        """The weights at the last call, for a resume point."""
        return self._last


@torch.no_grad()
def _copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}
