"""Minimum vertex covers of conflict graphs, with proofs.

A conflict is a pair of examples that no classifier gets both robustly right. The examples it gets
wrong therefore meet every conflict: they are a vertex cover, and the least forced error is the
weight of a minimum vertex cover. Any fractional matching (weights on conflicts, at most 1 in total
at each example) is a lower bound, so a cover and a matching of equal size prove each other.

* Bipartite components (all of them, if there are two classes): equality holds (König 1931), and
  Hopcroft–Karp finds both.
* Others: the linear program is half-integral and again a matching, in the bipartite double cover;
  where it says 0 or 1 some optimum agrees (Nemhauser and Trotter 1975). What it leaves at ½ goes
  to an integer program, component by component.

V vertices, E edges.
"""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Indices = NDArray[np.int64]

# An integer program above this many edges is not tried: its linear bound is as good as we get.
_LARGEST_PROGRAM = 500_000


@dataclass(frozen=True)
class Cover:
    """A vertex cover, and why no cover can be much smaller.

    vertices: ascending indices; every edge has an end among them.
    lower: no cover has fewer vertices.
    matching: edges [M, 2] with `weights` [M] of ½ or 1, at most 1 in total at any vertex. Their sum
        is at most `lower`, which an integer program may have raised.
    proof: "matching" if the matching alone proves the cover least, "integer program" if the
        solver's bound does, "bounds" if lower and upper differ.
    """

    vertices: Indices
    lower: int
    matching: Indices
    weights: NDArray[np.float64]

    @property
    def upper(self) -> int:
        return len(self.vertices)

    @property
    def proof(self) -> str:
        if math.ceil(self.weights.sum()) == self.upper:
            return "matching"
        return "integer program" if self.lower == self.upper else "bounds"


def check_cover(cover: Cover, vertices: int, edges: Indices) -> bool:
    """Whether the certificate holds, by arithmetic alone: every edge is covered, the matching uses
    edges of the graph and no vertex more than once."""
    inside = np.zeros(vertices, dtype=bool)
    inside[cover.vertices] = True
    load = np.zeros(vertices)
    for end in (0, 1):
        np.add.at(load, cover.matching[:, end], cover.weights)
    known = np.isin(_codes(cover.matching, vertices), _codes(edges, vertices)).all()
    covered = (inside[edges[:, 0]] | inside[edges[:, 1]]).all()
    return bool(known and covered and (load <= 1).all() and cover.weights.sum() <= cover.upper)


def _codes(edges: Indices, vertices: int) -> Indices:
    ordered = np.sort(edges.astype(np.int64), axis=1)
    return ordered[:, 0] * vertices + ordered[:, 1]


def least_cover(vertices: int, edges: Indices, *, seconds: float = 60.0) -> Cover:
    """A minimum vertex cover of a graph without loops, each vertex counting 1.

    Args:
        vertices: how many there are; ends of edges are 0 … vertices − 1.
        edges: [E, 2]
        seconds: for the integer programs together. When they run out, or a component is too large
            for one, `lower` and `upper` are bounds.
    """
    bipartite, side = _two_colour(vertices, edges)
    easy = bipartite[edges[:, 0]]
    matched, inside = _bipartite_cover(vertices, edges[easy], side)
    pieces, lower = [matched], len(matched)
    weights = [np.ones(len(matched))]
    if not easy.all():
        hard = edges[~easy]
        pairs, value = _fractional_cover(vertices, hard)
        pieces.append(pairs)
        weights.append(np.full(len(pairs), 0.5))
        inside |= value == 1.0
        chosen, bound = _cover_kernel(hard, value, time.monotonic() + seconds)
        inside[chosen] = True
        lower += int((value == 1.0).sum()) + bound
    matching, weight = np.concatenate(pieces), np.concatenate(weights)
    return Cover(np.flatnonzero(inside), max(lower, math.ceil(weight.sum())), matching, weight)


def _sparse(rows: Indices, columns: Indices, shape: tuple[int, int]) -> "csr_matrix":
    from scipy.sparse import coo_matrix, csr_matrix

    ones = np.ones(len(rows), dtype=np.int8)
    return csr_matrix(coo_matrix((ones, (rows, columns)), shape=shape))


def _double(edges: Indices) -> tuple[Indices, Indices]:
    """The bipartite double cover: edge {u, v} becomes left u – right v and left v – right u."""
    u, v = edges[:, 0], edges[:, 1]
    return np.concatenate([u, v]), np.concatenate([v, u])


def _two_colour(vertices: int, edges: Indices) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each vertex, whether its component is bipartite and, if so, which side it is on.

    A connected graph is bipartite if and only if its double cover falls into two parts.
    """
    from scipy.sparse.csgraph import connected_components

    left, right = _double(edges)
    graph = _sparse(left, right + vertices, (2 * vertices, 2 * vertices))
    _, part = connected_components(graph, directed=False)
    return part[:vertices] != part[vertices:], part[:vertices] < part[vertices:]


def _koenig(
    left: Indices, right: Indices, size: int
) -> tuple[Indices, NDArray[np.bool_], NDArray[np.bool_]]:
    """Maximum matching [M, 2] and minimum cover (masks of left and right) of a bipartite graph.

    The cover is the left vertices not reachable from an unmatched left vertex by an alternating
    path, and the right vertices that are.
    """
    from scipy.sparse.csgraph import breadth_first_order, maximum_bipartite_matching

    graph = _sparse(left, right, (size, size))
    partner = maximum_bipartite_matching(graph, perm_type="column").astype(np.int64)
    used = np.flatnonzero(partner >= 0)
    matching = np.stack([used, partner[used]], axis=1)
    loose = np.setdiff1d(left, used)
    source = 2 * size
    tails = np.concatenate([left, matching[:, 1] + size, np.full(len(loose), source)])
    heads = np.concatenate([right + size, matching[:, 0], loose])
    paths = _sparse(tails, heads, (source + 1, source + 1))
    reached = np.zeros(source + 1, dtype=bool)
    reached[breadth_first_order(paths, source, return_predecessors=False)] = True
    covered = np.zeros(size, dtype=bool)
    covered[left] = ~reached[left]
    return matching, covered, reached[size:source]


def _bipartite_cover(
    vertices: int, edges: Indices, side: NDArray[np.bool_]
) -> tuple[Indices, NDArray[np.bool_]]:
    """Matching and cover mask, of equal size, of edges that join the two sides."""
    swap = ~side[edges[:, 0]]
    left = np.where(swap, edges[:, 1], edges[:, 0])
    right = np.where(swap, edges[:, 0], edges[:, 1])
    matching, covered_left, covered_right = _koenig(left, right, vertices)
    return matching, covered_left | covered_right


def _fractional_cover(vertices: int, edges: Indices) -> tuple[Indices, NDArray[np.float64]]:
    """Matching whose edges weigh ½ each, and the fractional cover (0, ½, 1) of the same weight."""
    left, right = _double(edges)
    matching, covered_left, covered_right = _koenig(left, right, vertices)
    return matching, (covered_left.astype(np.float64) + covered_right) / 2


def _cover_kernel(
    edges: Indices, value: NDArray[np.float64], deadline: float
) -> tuple[Indices, int]:
    """Cover of the edges among vertices of value ½, and a lower bound on any such cover."""
    from scipy.sparse.csgraph import connected_components

    half = value == 0.5
    inner = edges[half[edges[:, 0]] & half[edges[:, 1]]]
    names, flat = np.unique(inner, return_inverse=True)
    local = flat.reshape(-1, 2).astype(np.int64)
    count, part = connected_components(
        _sparse(local[:, 0], local[:, 1], (len(names), len(names))), directed=False
    )
    home = part[local[:, 0]]
    order = np.argsort(home, kind="stable")
    cuts = np.searchsorted(home[order], np.arange(count + 1))
    chosen: list[Indices] = []
    lower = 0
    for c in range(count):
        mine, flat = np.unique(local[order[cuts[c] : cuts[c + 1]]], return_inverse=True)
        cover, bound = _cover_component(
            len(mine), flat.reshape(-1, 2).astype(np.int64), deadline - time.monotonic()
        )
        chosen.append(names[mine[cover]])
        lower += bound
    return np.concatenate([*chosen, np.empty(0, dtype=np.int64)]), lower


def _cover_component(size: int, edges: Indices, seconds: float) -> tuple[Indices, int]:
    """Cover and lower bound of one connected component whose linear bound is size/2."""
    linear = -(-size // 2)
    greedy = _greedy_cover(size, edges)
    if len(greedy) == linear or seconds <= 0 or len(edges) > _LARGEST_PROGRAM:
        return greedy, linear
    weights = np.ones(size)
    cover, bound = integer_cover(edges, weights, seconds=seconds)
    if cover is None:
        return greedy, linear
    best = cover if len(cover) < len(greedy) else greedy
    return best, max(linear, min(len(best), math.ceil(bound - 1e-6)))


def _greedy_cover(size: int, edges: Indices) -> Indices:
    """All but a maximal independent set, grown from the vertices of fewest conflicts."""
    left, right = _double(edges)
    graph = _sparse(left, right, (size, size))
    alone = np.zeros(size, dtype=bool)
    inside = np.zeros(size, dtype=bool)
    for v in np.argsort(np.diff(graph.indptr), kind="stable"):
        if not inside[v]:
            alone[v] = True
            inside[graph.indices[graph.indptr[v] : graph.indptr[v + 1]]] = True
    return np.flatnonzero(~alone)


def integer_cover(
    edges: Indices, weights: NDArray[np.float64], *, seconds: float = 60.0
) -> tuple[Indices | None, float]:
    """min Σ w_v x_v over covers x ∈ {0, 1}^V, by branch and bound (HiGHS).

    The edges are gathered into cliques, of each of which a cover holds all vertices but one:
    Σ_{v ∈ C} x_v ≥ |C| − 1. Images of several classes form many; the bound is far better.

    Returns:
        The cover found, or None, and the solver's lower bound on the weight of any cover.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix

    size = len(weights)
    if len(edges) == 0:
        return np.empty(0, dtype=np.int64), 0.0
    cliques = _cliques(size, edges)
    sizes = np.array([len(clique) for clique in cliques])
    rows = np.repeat(np.arange(len(cliques)), sizes)
    members = csr_matrix(
        (np.ones(len(rows)), (rows, np.concatenate(cliques))), (len(cliques), size)
    )
    result = milp(
        weights,
        integrality=np.ones(size),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(members, lb=sizes - 1),
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    bound = 0.0 if result.mip_dual_bound is None else float(result.mip_dual_bound)
    if result.x is None:
        return None, bound
    return np.flatnonzero(result.x > 0.5), bound


def _cliques(size: int, edges: Indices) -> list[list[int]]:
    """Cliques that hold every edge, each grown from an edge not yet held. Sets are bit masks."""
    around = [0] * size
    for u, v in edges.tolist():
        around[u] |= 1 << v
        around[v] |= 1 << u
    held = [0] * size
    cliques = []
    for u, v in edges.tolist():
        if held[u] >> v & 1:
            continue
        clique, common = [u, v], around[u] & around[v]
        while common:
            new = common & ~held[u] or common  # rather one whose edges are not yet held
            w = (new & -new).bit_length() - 1
            clique.append(w)
            common &= around[w]
        mask = sum(1 << w for w in clique)
        for w in clique:
            held[w] |= mask
        cliques.append(clique)
    return cliques
