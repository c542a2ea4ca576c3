"""Fronts by name: what `--front` puts before a network."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from hardball import names
from hardball.errors import UserError, unknown
from hardball.fronts import Front


class Rounding(Front):
    """x ↦ 1 where x > t, else 0; with thresholds t₁ < … < t_m, the share of them that x exceeds; or
    smooth, the mean of σ(k·(x − tᵢ)).

    The hard form has the gradient 0 everywhere, as it is. A network trained behind one form does not
    fit the other: the smooth one lets a little of every pixel through.

    Two thresholds a little above ε and a little below 1 − ε fix black and white pixels as one does,
    and tell more of the grey ones.

    Args:
        threshold: t in (0, 1), or several of them, rising.
        steepness: k > 0 of the smooth form; None for the hard one.

    Example:
        >>> hb.Rounding()(torch.tensor([0.2, 0.5, 0.8]))
        tensor([0., 0., 1.])
        >>> hb.Rounding([0.42, 0.58])(torch.tensor([0.2, 0.5, 0.8]))
        tensor([0.0000, 0.5000, 1.0000])
    """

    def __init__(
        self, threshold: float | Sequence[float] = 0.5, steepness: float | None = None
    ) -> None:
        super().__init__()
        self.thresholds = _rising(threshold)
        if steepness is not None and not 0 < steepness < float("inf"):
            raise UserError(
                f"`steepness={steepness}`; allowed is a positive number, or null for a jump"
            )
        self.steepness = steepness
        self.continuous = steepness is not None

    def forward(self, images: Tensor) -> Tensor:
        first, *others = [self._above(images - threshold) for threshold in self.thresholds]
        return sum(others, start=first) / len(self.thresholds)

    def _above(self, difference: Tensor) -> Tensor:
        if self.steepness is None:
            # unlike a comparison it has a gradient, which is 0
            return difference.sign().clamp(min=0)
        return torch.sigmoid(self.steepness * difference)

    def pull_back(self, values: Tensor, images: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """See `Front`; in closed form where there is one."""
        if self.steepness is None:
            found = torch.zeros_like(values)
            for level, pixel in enumerate(self._above_each()):
                found = torch.where(values * len(self.thresholds) > level + 0.5, pixel, found)
        elif len(self.thresholds) == 1:
            found = self.thresholds[0] + torch.logit(values.clamp(0, 1)) / self.steepness
        else:
            return super().pull_back(values, images, low, high)
        return self._plainest(torch.minimum(torch.maximum(found, low), high), images, low, high)

    def _above_each(self) -> list[float]:
        """For each threshold a pixel above it that is below the next one."""
        return [*((one + other) / 2 for one, other in pairwise(self.thresholds)), 1.0]

    def extra_repr(self) -> str:
        steep = "" if self.steepness is None else f", steepness={self.steepness:g}"
        one = ", ".join(f"{threshold:g}" for threshold in self.thresholds)
        return f"threshold={one if len(self.thresholds) == 1 else f'[{one}]'}{steep}"


def _rising(threshold: float | Sequence[float]) -> tuple[float, ...]:
    found = tuple(threshold) if isinstance(threshold, list | tuple) else (threshold,)
    numbers = bool(found) and all(isinstance(one, int | float) for one in found)
    if not (numbers and all(one < other for one, other in pairwise((0, *found, 1)))):
        raise UserError(
            f"`threshold={threshold}`; allowed is a number between 0 and 1, or several that rise"
        )
    return found


class Clip(Front):
    """x ↦ (min(max(x, low), high) − low) / (high − low): everything up to `low` is 0, everything from
    `high` on is 1, and in between nothing is lost.

    With `low` ≥ ε and `high` ≤ 1 − ε black and white pixels are fixed, as they are by roundings, and
    what is left of a grey one is all that is left: every rounding to thresholds between the two can
    follow. It has no jumps, so attacks behind it reach every point of the box.

    Args:
        low: in [0, 1).
        high: above `low`, up to 1.

    Raises:
        UserError: other values.

    Example:
        >>> hb.Clip(0.4, 0.6)(torch.tensor([0.2, 0.45, 0.5, 0.8]))
        tensor([0.0000, 0.2500, 0.5000, 1.0000])
    """

    def __init__(self, low: float = 0.4, high: float = 0.6) -> None:
        super().__init__()
        numbers = all(isinstance(one, int | float) for one in (low, high))
        if not (numbers and 0 <= low < high <= 1):
            raise UserError(f"`low={low}` with `high={high}`; allowed are 0 ≤ low < high ≤ 1")
        self.low, self.high = float(low), float(high)

    def forward(self, images: Tensor) -> Tensor:
        return ((images - self.low) / (self.high - self.low)).clamp(0, 1)

    def pull_back(self, values: Tensor, images: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """See `Front`; in closed form."""
        found = self.low + (self.high - self.low) * values
        return self._plainest(torch.minimum(torch.maximum(found, low), high), images, low, high)

    def extra_repr(self) -> str:
        return f"low={self.low:g}, high={self.high:g}"


FRONTS: dict[str, Callable[..., Front]] = {"rounding": Rounding, "clip": Clip}
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
