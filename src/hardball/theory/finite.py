"""Optimal robust classifiers of finite distributions.

A distribution puts weight w_i on point x_i with label y_i. Which points can be robustly right
together depends on where the adversary, and hence the classifier, lives (`domain`):

* "support": the adversary moves only to points of the distribution. Two points of different label
  conflict when some point of the support lies within ε of both.
* "space": the adversary moves anywhere in R^d. They conflict when their ε-balls meet
  (‖x − x′‖ ≤ 2ε; for p = 0, d differing features and ⌈d/2⌉ ≤ ε).

Either way a set of points can be right at once if no two of them conflict, so the best robust
accuracy is the weight of a maximum-weight independent set of the conflict graph. That is NP-hard to
find: see `hardness`.

N points, d features.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardball.errors import UserError, unknown
from hardball.theory.arguments import as_array, as_labels, flips, radius
from hardball.theory.vertex_cover import Indices, integer_cover

Floats = NDArray[np.float64]

# Distances of the construction are equal only up to rounding; a gap below this is a tie.
_TIE = 1e-9


def _conflicts_in_support(distance: Floats, eps: float) -> NDArray[np.bool_]:
    near = (distance <= eps * (1 + _TIE)).astype(np.int64)
    return near @ near.T > 0


def _conflicts_in_space(distance: Floats, eps: float) -> NDArray[np.bool_]:
    return distance <= 2 * eps * (1 + _TIE)


DOMAINS = {"support": _conflicts_in_support, "space": _conflicts_in_space}


@dataclass(frozen=True, eq=False)
class FiniteDistribution:
    """Points [N, d], labels [N] and weights [N] (equal, if not given; they need not sum to 1).

    One point may appear with several labels. Labels need not differ.

    Raises:
        UserError: mismatched shapes, NaN, or weights that are negative or all zero.
    """

    points: Floats
    labels: NDArray[np.int64]
    weights: Floats | None = None

    def __post_init__(self) -> None:
        points = as_array(self.points, "points").astype(np.float64)
        if points.ndim != 2 or len(points) == 0:
            raise UserError(f"points have shape {points.shape}; give [N, d] with N of at least 1")
        weights = np.ones(len(points)) if self.weights is None else self.weights
        weights = as_array(weights, "weights").astype(np.float64)
        if weights.shape != (len(points),) or (weights < 0).any() or weights.sum() == 0:
            raise UserError(
                f"weights have shape {weights.shape}, least {weights.min(initial=0)} and sum "
                f"{weights.sum()}; give one of at least 0 per point ({len(points)}), not all 0"
            )
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "labels", as_labels(self.labels, len(points)))
        object.__setattr__(self, "weights", weights / weights.sum())

    @property
    def mass(self) -> Floats:
        """The weights, summing to 1. [N]"""
        assert self.weights is not None
        return self.weights

    def conflicts(self, eps: float, p: float, domain: str = "support") -> Indices:
        """Pairs [E, 2] of points of different label that cannot both be robustly right.

        Args:
            eps: radius; a whole number for p = 0.
            p: 0, or at least 1, or ∞.
            domain: "support" or "space".
        """
        check_p(p)
        eps = flips(eps) if p == 0 else radius(eps)
        if domain not in DOMAINS:
            raise unknown("domain", domain, DOMAINS)
        clash = DOMAINS[domain](distances(self.points, p), eps)
        clash &= self.labels[:, None] != self.labels
        return np.argwhere(np.triu(clash)).astype(np.int64)


@dataclass(frozen=True)
class RobustOptimum:
    """The best a classifier can do.

    accuracy: of the optimum, a probability; the least robust error is 1 − accuracy.
    right: indices of points it gets robustly right, in one optimum.
    bound: no classifier exceeds this accuracy; equals `accuracy` unless time ran out.
    """

    accuracy: float
    right: Indices
    bound: float


def distances(points: Floats, p: float) -> Floats:
    """‖x_i − x_j‖_p for all pairs; p = 0 counts the features that differ. [N, d] → [N, N]"""
    check_p(p)
    if p == 0:
        return np.asarray((points[:, None] != points).sum(axis=2), dtype=np.float64)
    from scipy.spatial.distance import cdist

    if math.isinf(p):
        return np.asarray(cdist(points, points, "chebyshev"))
    return np.asarray(cdist(points, points, "minkowski", p=p))


def optimal_robust(
    distribution: FiniteDistribution,
    *,
    eps: float,
    p: float,
    domain: str = "support",
    seconds: float = 60.0,
) -> RobustOptimum:
    """max_h P(∀ ‖δ‖_p ≤ ε : h(x+δ) = y), x+δ in the domain, over all h, by integer programming.

    NP-hard (see above): exact within `seconds`, else `bound` > `accuracy`.

    Raises:
        UserError: ε negative (or fractional for p = 0), p between 0 and 1, unknown domain.

    Example:
        >>> from hardball.theory import FiniteDistribution, optimal_robust
        >>> points = FiniteDistribution(points=[[0.0], [0.2], [1.0]], labels=[0, 1, 2])
        >>> print(round(optimal_robust(points, eps=0.15, p=2, domain="space").accuracy, 4))
        0.6667
    """
    edges = distribution.conflicts(eps, p, domain)
    mass = distribution.mass
    cover, least = integer_cover(edges, mass, seconds=seconds)
    if cover is None:  # out of time before any solution: one label everywhere
        kept = max(
            np.unique(distribution.labels), key=lambda y: mass[distribution.labels == y].sum()
        )
        cover = np.flatnonzero(distribution.labels != kept)
    right = np.setdiff1d(np.arange(len(mass)), cover)
    accuracy = float(mass[right].sum())
    return RobustOptimum(accuracy, right, max(accuracy, min(1.0, 1.0 - least)))


def brute_force(distribution: FiniteDistribution, *, eps: float, p: float) -> float:
    """The best robust accuracy by trying every classifier on the support (`domain="support"`).

    Labels to the power of distinct points many: for checking small cases only.

    Raises:
        UserError: more than 10⁶ classifiers.
    """
    check_p(p)
    eps = flips(eps) if p == 0 else radius(eps)
    places, where = np.unique(distribution.points, axis=0, return_inverse=True)
    where = where.reshape(-1)
    labels = np.unique(distribution.labels)
    if len(labels) ** len(places) > 1_000_000:
        raise UserError(
            f"{len(labels)} labels on {len(places)} points are {len(labels) ** len(places):.0e} "
            "classifiers, more than 1000000; use optimal_robust"
        )
    near = distances(places, p)[where] <= eps * (1 + _TIE)  # [N, places]
    best = 0.0
    for answers in itertools.product(labels, repeat=len(places)):
        agrees = np.asarray(answers) == distribution.labels[:, None]
        best = max(best, float(distribution.mass[(agrees | ~near).all(axis=1)].sum()))
    return best


def check_p(p: float) -> None:
    if not (p == 0 or p >= 1):
        raise UserError(f"`p={p}`; give 0, a number of at least 1, or inf")
