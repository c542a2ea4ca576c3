"""Why optimal robust classifiers are hard to find: a graph becomes a finite distribution.

**What the paper proves (Theorem 1, arXiv 2003.13370), and what it does not.** Its Lemma 1 turns a
graph on k vertices into k points, each with its own label, adjacent ones at distance exactly ε and
others farther. With an adversary who moves only to support points (domain "support") the best
robust accuracy is then (1/k) · the size of a maximum distance-3 independent set of the graph, which
is NP-hard to find. The proof needs that domain (its Remark 2). With an adversary free in R^d the
same points at the same ε prove nothing, for any p: all pairs are within 2ε, so every two points
conflict and a constant is optimal. But at radius ε/2 exactly the
adjacent points conflict, the best accuracy is (1/k) · the size of a maximum independent set, and
NP-hardness holds in R^d too. `graph_distribution(..., domain="space")` builds that variant, scaled
so that ε means the radius.

k vertices, d features.
"""

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hardball.errors import UserError, unknown
from hardball.theory.arguments import radius
from hardball.theory.finite import DOMAINS, FiniteDistribution, Floats, check_p
from hardball.theory.vertex_cover import Indices, integer_cover

if TYPE_CHECKING:
    import networkx as nx


def graph_distribution(
    graph: "nx.Graph[object]", *, eps: float, p: float, domain: str = "support"
) -> FiniteDistribution:
    """Lemma 1: k points, one per vertex with its own label, adjacent ones exactly ε apart.

    One coordinate per pair of vertices, k(k−1)/2 in all. For p ≥ 1 row i has ±λ at its own pairs,
    λ = ε/(2k−4)^(1/p) (λ = ε for p = ∞): opposite signs if the pair is no edge, equal if it is one.
    For p = 0 (the paper's Remark 1) all entries of a coordinate differ, except that an edge's two
    ends agree on their coordinate; the distances d and d − 1 fix ε, see `l0_radius`.

    With domain "space" the points are twice as far apart, so that balls of radius ε meet exactly
    for adjacent vertices. For p = 0 distances cannot be scaled; where d − 1 is odd, one more
    coordinate in which all vertices differ makes it even.

    Args:
        graph: simple, undirected, of at least 3 vertices.
        eps: the radius at which to classify; for p = 0 it must be `l0_radius(k, domain)`.
        p: 0, or at least 1, or ∞.

    Raises:
        UserError: loops, directed graphs or multigraphs, fewer than 3 vertices, ε not positive.
    """
    check_p(p)
    if domain not in DOMAINS:
        raise unknown("domain", domain, DOMAINS)
    adjacent = _adjacency(graph)
    k = len(adjacent)
    labels = np.arange(k)
    if p == 0:
        if eps != l0_radius(k, domain):
            raise UserError(f"`eps={eps}`; with `p=0` and {k} vertices give {l0_radius(k, domain)}")
        return FiniteDistribution(_l0_points(adjacent, domain), labels)
    if radius(eps) == 0:
        raise UserError("`eps=0`; give a positive radius")
    reach = eps if domain == "support" else 2 * eps
    size = reach if math.isinf(p) else reach / (2 * k - 4) ** (1 / p)
    points = np.zeros((k, k * (k - 1) // 2))
    for c, (i, j) in enumerate(itertools.combinations(range(k), 2)):
        points[i, c] = size
        points[j, c] = size if adjacent[i, j] else -size
    return FiniteDistribution(points, labels)


def l0_radius(k: int, domain: str = "support") -> int:
    """The whole ε that the p = 0 construction on k vertices is for.

    Its distances are d − 1 (adjacent) and d: ε = d − 1 on the support and (d − 1)/2 in space.
    """
    pairs = k * (k - 1) // 2
    return pairs - 1 if domain == "support" else pairs // 2


def _l0_points(adjacent: NDArray[np.bool_], domain: str) -> Floats:
    k = len(adjacent)
    pairs = k * (k - 1) // 2
    points = np.arange(k)[:, None] * pairs + np.arange(pairs)
    for c, (i, j) in enumerate(itertools.combinations(range(k), 2)):
        if adjacent[i, j]:
            points[[i, j], c] = min(points[i, c], points[j, c])
    if domain == "space" and pairs % 2 == 0:
        points = np.column_stack([points, np.arange(k)])
    return points.astype(np.float64)


def distance_3_independent_set(graph: "nx.Graph[object]", *, seconds: float = 60.0) -> Indices:
    """A largest set of vertices (as positions) any two of which are at distance 3 or more."""
    adjacent = _adjacency(graph)
    reach = adjacent | np.eye(len(adjacent), dtype=bool)
    close = (reach.astype(np.int64) @ reach.astype(np.int64)) > 0
    edges = np.argwhere(np.triu(close, k=1)).astype(np.int64)
    cover, _ = integer_cover(edges, np.ones(len(adjacent)), seconds=seconds)
    if cover is None:
        raise UserError(f"`seconds={seconds}` is too short for this graph; allow more")
    return np.setdiff1d(np.arange(len(adjacent)), cover)


def _adjacency(graph: "nx.Graph[object]") -> NDArray[np.bool_]:
    import networkx as nx

    loops = nx.number_of_selfloops(graph)
    if loops:
        raise UserError(f"the graph has {loops} loops; remove them (nx.selfloop_edges)")
    if graph.is_directed() or graph.is_multigraph():
        raise UserError(f"the graph is a {type(graph).__name__}; give a simple nx.Graph")
    if len(graph) < 3:
        raise UserError(f"the graph has {len(graph)} vertices; give at least 3")
    return np.asarray(nx.to_scipy_sparse_array(graph, weight=None).toarray() > 0)
