"""How much of an image rounding takes out of an adversary's hands.

Behind x ↦ 1[x > t] an ℓ∞ adversary moves a pixel only if x − ε ≤ t < x + ε. The others are *fixed*,
below or above. A threshold is of use if many pixels are fixed on both sides: one at which nearly all
pixels lie on the same side fixes many too, and says nothing.
"""

from dataclasses import dataclass

import numpy as np

from hardball.errors import UserError
from hardball.theory.arguments import Array, as_array

GRID = 1024
"""Values that pixels are rounded to for the search, if they have more than so many."""

DIGITS = 6
"""Decimals to which places where a pixel changes sides are told apart: float32 knows no more."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The best threshold at ε, and the shares of all pixels that are fixed or can be moved there."""

    eps: float
    threshold: float
    below: float
    above: float

    @property
    def movable(self) -> float:
        """Share of pixels within ε of the threshold."""
        return 1 - self.below - self.above


def best_threshold(images: object, eps: float) -> Threshold:
    """The threshold in (0, 1) at which the rarer side has the most fixed pixels; of equals the one at
    which the fewest can be moved, then the nearest to ½.

    Args:
        images: [N, ...] pixels in [0, 1].
        eps: ℓ∞ radius in [0, 1].

    Raises:
        UserError: no pixel, or pixels or a radius outside [0, 1].
    """
    pixels = as_array(images, "images").astype(np.float64).ravel()
    if not pixels.size or pixels.min() < 0 or pixels.max() > 1:
        raise UserError(
            "a threshold is for pixels in [0, 1]; give at least one, divide uint8 by 255"
        )
    if not 0 <= eps <= 1:
        raise UserError(f"`eps={eps}`; allowed is a number in [0, 1]")
    values, counts = np.unique(pixels, return_counts=True)
    if len(values) > GRID:
        values, counts = np.unique(np.round(pixels * GRID) / GRID, return_counts=True)
    share = np.concatenate([[0.0], np.cumsum(counts) / pixels.size])
    tried = _between(np.concatenate([values - eps, values + eps]))
    below = share[np.searchsorted(values, tried - eps, side="right")]
    above = 1 - share[np.searchsorted(values, tried + eps, side="right")]
    rarer = np.minimum(below, above)
    order = np.lexsort((np.abs(tried - 0.5), -below - above, -rarer))
    best = order[0]
    return Threshold(
        eps=float(eps),
        threshold=float(tried[best]),
        below=float(below[best]),
        above=float(above[best]),
    )


def _between(changes: Array) -> Array:
    """One threshold for each stretch of (0, 1) in which no pixel changes sides, and ½."""
    changes = np.append(changes, [0.0, 1.0]).clip(0, 1).round(DIGITS)
    inside = np.unique(changes)
    middle: Array = np.append((inside[1:] + inside[:-1]) / 2, 0.5)
    return middle
