"""Distances between all points of different class, exactly and in bounded memory.

Pixels that are whole multiples of 1/255 (or of 1/16, as in the digits, or whole numbers) are
compared as bytes, so that ties, which abound under ℓ∞ and ℓ0, are decided exactly. Any other
floats are compared in double precision, where a distance counts as within a reach if it exceeds
it by no more than the rounding of the input's own type could explain.

N points, F features per point. Complexity: O(N²F) time at worst, O(NF) memory.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hardball.errors import UserError, unknown
from hardball.theory.arguments import Array, as_array, as_labels, exact, flips, radius
from hardball.theory.layout import L0, L2, LINF, blocked

_STRIP_BYTES = 1 << 28

# ℓ2 distances are roots, which no float need hold exactly: half of one must still reach it. The
# squares compared are whole numbers far below 10¹², so nothing else slips in.
_ROOT_SLACK = 1 + Fraction(1, 10**12)


@dataclass(frozen=True)
class Norm:
    """How one norm is accumulated over features, and turned back into a distance.

    `whole` and `real` give the largest accumulated value within a reach: over points scaled to
    integers by `scale`, and over floats whose distance carries an error of `slack` per √feature.
    """

    code: int
    whole: Callable[[Fraction, int], int]
    real: Callable[[float, float, int], float]
    length: Callable[[float, int], float]
    check: Callable[[float], float]


NORMS: dict[str, Norm] = {
    "linf": Norm(
        code=LINF,
        whole=lambda reach, scale: math.floor(reach * scale),
        real=lambda reach, slack, width: reach + slack,
        length=lambda accumulated, scale: accumulated / scale,
        check=radius,
    ),
    "l2": Norm(
        code=L2,
        whole=lambda reach, scale: math.floor((reach * scale) ** 2 * _ROOT_SLACK),
        real=lambda reach, slack, width: (reach + slack * math.sqrt(width)) ** 2,
        length=lambda accumulated, scale: math.sqrt(accumulated) / scale,
        check=radius,
    ),
    "l0": Norm(
        code=L0,
        whole=lambda reach, scale: math.floor(reach),
        real=lambda reach, slack, width: math.floor(reach),
        length=lambda accumulated, scale: float(accumulated),
        check=flips,
    ),
}


def norm_named(name: str) -> Norm:
    if name not in NORMS:
        raise unknown("norm", name, NORMS)
    return NORMS[name]


@dataclass(frozen=True)
class Points:
    """Labelled points sorted by class, laid out for the kernel.

    values: bytes, or floats where no common scale makes them bytes. [N, F]
    scale: what the features were multiplied by to become bytes; 1 for floats.
    labels: of the sorted points. [N]
    order: the caller's index of each sorted point. [N]
    first: where the classes after each point's own begin; its partners start there. [N]
    """

    values: Array
    scale: int
    labels: Array
    order: Array
    first: Array

    @property
    def beyond(self) -> float | int:
        """More than any accumulated value."""
        if self.values.dtype == np.uint8:
            return int(np.iinfo(np.int64).max)
        return float(np.finfo(np.float64).max)

    def cap(self, eps: float, norm: Norm) -> float | int:
        """The largest accumulated value at which two closed balls of radius eps meet (d ≤ 2ε)."""
        if self.values.dtype == np.uint8:
            return norm.whole(2 * exact(eps), self.scale)
        slack = 4.0 * float(np.finfo(self.values.dtype).eps * np.abs(self.values).max(initial=0))
        return norm.real(2.0 * eps, slack, self.values.shape[1])

    def diameter(self, norm: Norm) -> float | int:
        """An accumulated value no pair exceeds: that of the corners of the bounding box."""
        from hardball.theory.kernel import scan

        low, high = self.values.min(axis=0), self.values.max(axis=0)
        corners = blocked(np.stack([low, high]))
        _, _, lengths = scan(corners, np.array([1, 2]), range(1), norm.code, self.beyond, room=1)
        return lengths[0, 0].item()  # type: ignore[no-any-return]


def _as_bytes(points: Array) -> tuple[Array, int]:
    """The points as bytes with the factor that made them so, or unchanged floats with factor 1."""
    floats = points if points.dtype.kind == "f" else points.astype(np.float64)
    parts = np.array_split(floats, max(1, floats.nbytes >> 26))  # views, so copies stay small
    for scale in (1, 16, 255):
        if all(_is_whole(part, scale) for part in parts):
            return np.concatenate([np.rint(part * scale).astype(np.uint8) for part in parts]), scale
    return floats, 1


def _is_whole(part: Array, scale: int) -> bool:
    scaled = np.rint(part * scale)
    if scaled.min(initial=0) < 0 or scaled.max(initial=0) > 255:
        return False
    return np.array_equal((scaled / scale).astype(part.dtype), part)


def labelled_points(points: object, labels: object) -> Points:
    """Check points [N, ...] and labels [N], flatten, scale and sort them.

    Raises:
        UserError: NaN features, a label count that is not N, or fewer than two classes.
    """
    array = as_array(points, "points")
    if array.ndim < 2 or array.shape[0] == 0:
        raise UserError(f"points have shape {array.shape}; give at least one point: [N, ...]")
    flat = array.reshape(array.shape[0], -1)
    classes = as_labels(labels, flat.shape[0])
    if np.unique(classes).size < 2:
        raise UserError(f"all {classes.size} labels are {classes[0]}; give at least two classes")
    values, scale = _as_bytes(flat)
    order = np.argsort(classes, kind="stable")
    classes = classes[order]
    first = np.searchsorted(classes, classes, side="right")
    return Points(np.ascontiguousarray(values[order]), scale, classes, order, first)


def _strips(count: int) -> Iterator[range]:
    """Rows to compare at a time, so that even rows full of partners fit `_STRIP_BYTES`."""
    rows = max(1, min(256, _STRIP_BYTES // (12 * count)))
    return (range(top, min(top + rows, count)) for top in range(0, count, rows))


def nearest_pair(points: Points, norm: Norm) -> tuple[int, int, float | int]:
    """Sorted indices and accumulated value of the closest pair of different class.

    Of equally close pairs the first in the sorted order.
    """
    from hardball.theory.kernel import scan

    features = blocked(points.values)
    best: tuple[int, int, float | int] = (-1, -1, points.beyond)
    for rows in _strips(len(points.values)):
        found, columns, lengths = scan(
            features, points.first, rows, norm.code, best[2], room=1, shrink=True
        )
        lengths = np.where(found > 0, lengths[:, 0], best[2])
        row = int(lengths.argmin())
        if lengths[row] < best[2]:
            best = (rows.start + row, int(columns[row, 0]), lengths[row].item())
    return best


def pairs_within(
    points: Points, norm: Norm, cap: float | int
) -> Iterator[tuple[Array, Array, Array]]:
    """All pairs of different class whose accumulated value is at most `cap`, strip by strip.

    Yields (i, j, accumulated), sorted indices with i < j, in lexicographic order.
    """
    from hardball.theory.kernel import scan

    features = blocked(points.values)
    room = 64
    for rows in _strips(len(points.values)):
        found, columns, lengths = scan(features, points.first, rows, norm.code, cap, room=room)
        if found.max() > room:
            room = int(found.max())
            found, columns, lengths = scan(features, points.first, rows, norm.code, cap, room=room)
        kept = np.arange(room) < found[:, None]
        i = np.repeat(np.arange(rows.start, rows.stop, dtype=np.int32), found)
        yield i, columns[kept], lengths[kept]
