"""What every function of `hardball.theory` demands of its arguments.

Arrays may be numpy arrays or torch tensors on any device; nothing here imports torch.
"""

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardball.errors import UserError

Array = NDArray[Any]


def as_array(value: object, name: str) -> Array:
    """A numeric numpy array from an array, a nested list or a tensor; NaN and ∞ are refused."""
    detach = getattr(value, "detach", None)
    array = np.asarray(detach().cpu() if callable(detach) else value)
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name} has dtype {array.dtype}; give real numbers")
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise UserError(f"{name} holds {bad} NaN or infinite values; remove or repair those rows")
    return array


def as_labels(value: object, count: int, name: str = "labels") -> NDArray[np.int64]:
    """Whole-number labels, one per point."""
    labels = as_array(value, name)
    if labels.shape != (count,):
        raise UserError(f"{name} has shape {labels.shape}; give one label per point: ({count},)")
    whole = labels.astype(np.int64)
    if (whole != labels).any():
        raise UserError(f"{name} holds fractions; give whole numbers, one per class")
    return whole


def positive_int(value: int, name: str, least: int = 1) -> int:
    if isinstance(value, bool) or value != int(value) or value < least:
        raise UserError(f"`{name}={value}`; give a whole number of at least {least}")
    return int(value)


def radius(eps: float, name: str = "eps") -> float:
    """A finite radius of at least 0."""
    if not np.isfinite(eps) or eps < 0:
        raise UserError(f"`{name}={eps}`; give a finite radius of at least 0")
    return float(eps)


def flips(eps: float, name: str = "eps") -> int:
    """An ℓ0 radius: a whole number of changed features."""
    if radius(eps, name) != int(eps):
        raise UserError(
            f"`{name}={eps}`; an l0 radius counts changed features: give a whole number"
        )
    return int(eps)


def advantage(t: float) -> float:
    """The Bernoulli model's t, from (0, ½]."""
    if not 0 < t <= 0.5:
        raise UserError(
            f"`t={t}`; give a number above 0 and at most 0.5 (features agree with ½ + t)"
        )
    return float(t)


def exact(value: float, largest_denominator: int = 10_000) -> Fraction:
    """The number the user meant by a float.

    0.1 and 8/255 have no finite binary form, so 2·0.1·255 need not be 51 in floating point and a
    tie between two pixels would be decided by rounding. A float is therefore read as the fraction
    of denominator at most `largest_denominator` that rounds to that very float, if there is one,
    and as its exact binary value otherwise.
    """
    simple = Fraction(value).limit_denominator(largest_denominator)
    return simple if float(simple) == float(value) else Fraction(value)
