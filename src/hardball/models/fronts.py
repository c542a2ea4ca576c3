"""Fronts by name: what `--front` puts before a network."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hardball import names
from hardball.errors import UserError, unknown
from hardball.fronts import Front


class Rounding(Front):
    """x ↦ 1 where x > t, else 0; or smooth, σ(k·(x − t)).

    The hard form has the gradient 0 everywhere, as it is. A network trained behind one form does not
    fit the other: the smooth one lets a little of every pixel through.

    Args:
        threshold: t in (0, 1).
        steepness: k > 0 of the smooth form; None for the hard one.

    Example:
        >>> hb.Rounding()(torch.tensor([0.2, 0.5, 0.8]))
        tensor([0., 0., 1.])
    """

    def __init__(self, threshold: float = 0.5, steepness: float | None = None) -> None:
        super().__init__()
        if not 0 < threshold < 1:
            raise UserError(f"`threshold={threshold}`; allowed is a number between 0 and 1")
        if steepness is not None and not 0 < steepness < float("inf"):
            raise UserError(
                f"`steepness={steepness}`; allowed is a positive number, or null for a jump"
            )
        self.threshold, self.steepness = threshold, steepness
        self.continuous = steepness is not None

    def forward(self, images: Tensor) -> Tensor:
        above = images - self.threshold
        if self.steepness is None:
            return above.sign().clamp(min=0)  # unlike a comparison it has a gradient, which is 0
        return torch.sigmoid(self.steepness * above)

    def pull_back(self, values: Tensor, images: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """See `Front`; in closed form."""
        if self.steepness is None:
            found = torch.where(values > 0.5, high, low)
        else:
            found = self.threshold + torch.logit(values.clamp(0, 1)) / self.steepness
            found = torch.minimum(torch.maximum(found, low), high)
        return self._plainest(found, images, low, high)

    def extra_repr(self) -> str:
        steep = "" if self.steepness is None else f", steepness={self.steepness:g}"
        return f"threshold={self.threshold:g}{steep}"


FRONTS: dict[str, Callable[..., Front]] = {"rounding": Rounding}
"""name → class."""


def with_front(model: nn.Module, name: str, args: dict[str, Any] | None = None) -> nn.Sequential:
    """The front of that name, followed by the model. (A front of your own goes into your own model.)

    Args:
        name: a key of `FRONTS`.
        args: its keyword arguments.

    Raises:
        UserError: no such name, or arguments that it does not take.
    """
    if name not in FRONTS:
        raise unknown("front", name, FRONTS)
    return nn.Sequential(names.made("front", name, FRONTS[name], **(args or {})), model)
