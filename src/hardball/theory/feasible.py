"""How large can ε be? The exact answer for a finite data set.

Two images of different class whose closed ε-balls meet (‖x − x′‖ ≤ 2ε) cannot both be robustly
right, whatever the classifier: it gives one answer to the point their balls share. Conversely, a
set of images without such conflicts can be got right all at once, by labelling each ball. So the
least robust error that ε forces on the data is the size of a minimum vertex cover of the conflict
graph. It binds memorising classifiers too; on the training set it bounds what training can reach.

The box [0,1] changes nothing: the midpoint of two images (ℓ∞, ℓ2), or the mixture that takes half
of the differing features from each (ℓ0), lies in the box and in both balls. In ℓ0 the balls of two
images with d differing features meet if ⌈d/2⌉ ≤ ε, that is d ≤ 2ε for whole ε.

N images. Radii and distances are in the images' own units (pixels in [0,1]); ℓ0 counts features
(single colour values). See `distances` for how ties are decided and `cover` for the optimisation.
A classifier here is a function. A randomised one may err less in expectation on three or more
classes, but not less than the fractional matching's weight, which bounds it too.

Sources: Bhagoji, Cullina and Mittal (2019), the matching bound for two classes; Dai et al. (2023),
randomised classifiers of several classes; Yang et al. (2020), closest pairs of common data sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hardball.errors import UserError
from hardball.theory.arguments import positive_int
from hardball.theory.conflict_graph import Pile
from hardball.theory.distances import (
    Points,
    labelled_points,
    nearest_pair,
    norm_named,
    pairs_within,
)
from hardball.theory.vertex_cover import Cover, Indices, least_cover

_MOST_CONFLICTS = 5_000_000


@dataclass(frozen=True, kw_only=True)
class ClosestPair:
    """The closest two images of different class; of equals, the first in order of class and index.

    first, second: their indices.
    distance: in the norm; 0 for one image with two labels.
    """

    norm: str
    first: int
    second: int
    distance: float

    @property
    def limit(self) -> float:
        """Half the distance: every ε strictly below it (ℓ0: every whole one) forces no error."""
        return self.distance / 2


@dataclass(frozen=True, kw_only=True)
class ForcedError:
    """What ε forces on a data set of `points` images.

    Attributes:
        conflicts: pairs of different class whose balls meet.
        lower, upper: bounds on the number of images any classifier gets wrong; equal if solved.
        proof: "no conflicts"; "every pair conflicts", when all but the largest class are lost;
            "matching" or "integer program" if solved (see `cover.Cover`); else "bounds".
        wrong: indices of `upper` images; without them no conflict is left.
        matching, weights: conflicts [M, 2], weighted [M] by at most 1 in total per image; their sum
            proves `lower` (unless the integer program raised it, or every pair conflicts).
    """

    norm: str
    eps: float
    points: int
    conflicts: int
    lower: int
    upper: int
    proof: str
    wrong: Indices = field(repr=False)
    matching: Indices = field(repr=False)
    weights: NDArray[np.float64] = field(repr=False)

    @property
    def exact(self) -> bool:
        return self.lower == self.upper

    @property
    def error(self) -> tuple[float, float]:
        """Bounds on the least forced robust error, as a share of the images."""
        return self.lower / self.points, self.upper / self.points


def closest_pair(images: object, labels: object, norm: str = "linf") -> ClosestPair:
    """min ‖x_i − x_j‖ over i, j of different label, exactly.

    Args:
        images: [N, ...] numbers, usually pixels in [0,1].
        labels: [N] whole numbers.
        norm: "linf", "l2" or "l0".

    Raises:
        UserError: unknown norm, NaN, mismatched shapes, one class only, uint8 images.

    Example:
        >>> from hardball.theory import closest_pair
        >>> print(closest_pair([[0.0], [0.25], [1.0]], [0, 1, 0]).distance)
        0.25
    """
    row = norm_named(norm)
    points = _pixel_points(images, labels)
    i, j, accumulated = nearest_pair(points, row)
    first, second = sorted((int(points.order[i]), int(points.order[j])))
    distance = row.length(accumulated, points.scale)
    return ClosestPair(norm=norm, first=first, second=second, distance=distance)


def conflicts(
    images: object,
    labels: object,
    norm: str = "linf",
    *,
    eps: float,
    most: int = _MOST_CONFLICTS,
) -> tuple[Indices, NDArray[np.float64]]:
    """All pairs of different label whose closed ε-balls meet.

    Returns:
        (pairs [E, 2] of indices, distances [E]), the closest first, then by index.

    Raises:
        UserError: as `closest_pair`; ε negative (or fractional for ℓ0); more than `most` conflicts.
    """
    row = norm_named(norm)
    points = _pixel_points(images, labels)
    cap, room = points.cap(row.check(eps), row), positive_int(most, "most")
    parts, total = [], 0
    for part in pairs_within(points, row, cap):
        parts.append(part)
        total += len(part[0])
        if total > room:
            raise UserError(
                f"`eps={eps}` gives more than `most={most}` conflicts; raise `most`, or ask "
                "forced_error, which needs no list"
            )
    i, j, accumulated = (np.concatenate(column) for column in zip(*parts, strict=True))
    pairs = np.sort(np.stack([points.order[i], points.order[j]], axis=1), axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], accumulated))
    distances = np.array([row.length(a, points.scale) for a in accumulated[order]])
    return pairs[order], distances


def forced_error(
    images: object,
    labels: object,
    norm: str = "linf",
    *,
    eps: float,
    seconds: float = 60.0,
    most: int = _MOST_CONFLICTS,
) -> ForcedError:
    """The least robust error that any classifier has on the data at ε; see `forced_errors`.

    Example:
        >>> from hardball.theory import forced_error
        >>> found = forced_error([[0.0], [0.25], [1.0]], [0, 1, 0], eps=0.2)
        >>> print(found.conflicts, found.lower, found.upper, found.proof)
        1 1 1 matching
    """
    return forced_errors(images, labels, norm, eps=[eps], seconds=seconds, most=most)[0]


def forced_errors(
    images: object,
    labels: object,
    norm: str = "linf",
    *,
    eps: Sequence[float],
    seconds: float = 60.0,
    most: int = _MOST_CONFLICTS,
) -> list[ForcedError]:
    """The least forced robust error at each ε, in the order given, from one pass over all pairs.

    Args:
        images, labels, norm: as in `closest_pair`.
        eps: radii.
        seconds: for the integer programs of one ε. A result they cannot finish has
            `lower` < `upper`, and may then depend on the machine's speed.
        most: conflicts kept in memory (16 bytes each, and about ten times that to solve). At an ε
            with more of them only a greedy matching bounds the error.

    Raises:
        UserError: as `closest_pair`; no radius, or one that is negative (or fractional for ℓ0).

    Example:
        >>> from hardball.theory import forced_errors
        >>> [found.upper for found in forced_errors([[0.0], [0.25]], [0, 1], eps=[0.1, 0.2])]
        [0, 1]
    """
    row = norm_named(norm)
    if len(eps) == 0:
        raise UserError("`eps=[]`; give at least one radius")
    ascending = sorted({row.check(e) for e in eps})
    points = _pixel_points(images, labels)
    pile = Pile(points, row, ascending, positive_int(most, "most"))
    solved = {e: _solve(pile, k, norm, seconds) for k, e in enumerate(ascending)}
    return [solved[float(e)] for e in eps]


def _pixel_points(images: object, labels: object) -> Points:
    dtype = str(getattr(images, "dtype", ""))
    if dtype.endswith("uint8"):
        raise UserError("images are uint8 and radii are in pixels of [0,1]; divide them by 255")
    return labelled_points(images, labels)


def _solve(pile: Pile, k: int, norm: str, seconds: float) -> ForcedError:
    """The result at radius k of the pile."""
    points = pile.points
    cover = _cover_at(pile, k, seconds)
    total = pile.count(k)
    if pile.saturated(k):
        proof = "every pair conflicts"
    else:
        proof = cover.proof if total else "no conflicts"
    return ForcedError(
        norm=norm,
        eps=pile.radii[k],
        points=len(points.labels),
        conflicts=total,
        lower=cover.lower,
        upper=cover.upper,
        proof=proof,
        wrong=np.sort(points.order[cover.vertices]),
        matching=points.order[cover.matching],
        weights=cover.weights,
    )


def _cover_at(pile: Pile, k: int, seconds: float) -> Cover:
    """The least cover found, in the sorted order of the points."""
    labels = pile.points.labels
    _, starts, sizes = np.unique(labels, return_index=True, return_counts=True)
    # Answering the largest class everywhere is always possible, and best once all pairs conflict.
    others = np.flatnonzero(labels != labels[starts[sizes.argmax()]])
    if pile.saturated(k):
        return Cover(others, len(others), np.empty((0, 2), dtype=np.int64), np.empty(0))
    if k < pile.kept:
        i, j, _ = pile.within(k)
        cover = least_cover(len(labels), np.stack([i, j], axis=1).astype(np.int64), seconds=seconds)
    else:
        pairs = pile.matching(k)
        cover = Cover(np.unique(pairs), len(pairs), pairs, np.ones(len(pairs)))
    return replace(cover, vertices=others) if len(others) < cover.upper else cover
