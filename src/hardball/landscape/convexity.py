"""How far a sampled function of one variable is from convex, in three numbers.

A function is given by its values ℓ₀ … ℓₙ at increasing places α₀ … αₙ. All three numbers are in the
unit of ℓ and never negative.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardball.errors import UserError

Values = Sequence[float] | NDArray[Any]


def chord_violation(alpha: Values, loss: Values) -> float:
    """How far the function rises above the straight line between its two ends:

        max_i ℓᵢ − c(αᵢ),  c(α) = ((αₙ − α)·ℓ₀ + (α − α₀)·ℓₙ) / (αₙ − α₀).

    0 for every convex function; 0 also for some that are not (a wave below its chord).

    Example:
        >>> hb.landscape.chord_violation([0.0, 0.5, 1.0], [1.0, 1.5, 1.0])
        0.5
    """
    places, values = _checked(alpha, loss)
    ends = [0, -1]
    return float((values - np.interp(places, places[ends], values[ends])).max())


def convexity_violation(alpha: Values, loss: Values) -> float:
    """How far any point lies above the chord of any two others on both sides of it:

        max over i < j < k of ℓⱼ − ((αₖ − αⱼ)·ℓᵢ + (αⱼ − αᵢ)·ℓₖ) / (αₖ − αᵢ), or 0.

    It is 0 exactly if the samples are those of some convex function, and at least `chord_violation`.
    It equals the largest distance of the samples above their lower convex envelope, which takes one
    pass: the envelope at αⱼ is the lowest of the chords over αⱼ, and of ℓⱼ itself.

    Example:
        >>> hb.landscape.convexity_violation([0.0, 0.5, 1.0], [1.0, 0.2, 1.0])
        0.0
    """
    places, values = _checked(alpha, loss)
    corners: list[int] = []
    for j in range(len(places)):
        while len(corners) > 1 and _is_above(places, values, corners[-2], corners[-1], j):
            corners.pop()
        corners.append(j)
    envelope = np.interp(places, places[corners], values[corners])
    return float((values - envelope).max())


def barrier(loss: Values) -> float:
    """How far one has to climb from the higher end: max_i ℓᵢ − max(ℓ₀, ℓₙ). 0 if an end is highest.

    Example:
        >>> hb.landscape.barrier([1.0, 3.0, 0.5])
        2.0
    """
    values = np.asarray(loss, dtype=np.float64)
    return float(values.max() - max(values[0], values[-1]))


def _is_above(
    places: NDArray[np.float64], values: NDArray[np.float64], i: int, j: int, k: int
) -> bool:
    """Point j lies on or above the chord from i to k."""
    left = (values[j] - values[i]) * (places[k] - places[i])
    right = (values[k] - values[i]) * (places[j] - places[i])
    return bool(left >= right)


def _checked(alpha: Values, loss: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    places, values = np.asarray(alpha, dtype=np.float64), np.asarray(loss, dtype=np.float64)
    if len(places) < 2 or places.shape != values.shape or not (np.diff(places) > 0).all():
        raise UserError(
            f"{len(values)} values at {len(places)} places; allowed are 2 or more values at as many "
            "increasing places"
        )
    return places, values
