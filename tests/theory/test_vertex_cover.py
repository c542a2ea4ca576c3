"""Vertex covers: König duality, half-integrality and optimality on random graphs."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardball.theory import vertex_cover as c


def edges_of(graph: "nx.Graph[int]") -> np.ndarray:
    return np.array(graph.edges, dtype=np.int64).reshape(-1, 2)


def smallest_cover(graph: "nx.Graph[int]") -> int:
    """An independent implementation: all vertices less a maximum clique of the complement."""
    clique, _ = nx.max_weight_clique(nx.complement(graph), weight=None)
    return len(graph) - len(clique)


GRAPHS = st.builds(
    lambda n, p, seed: nx.gnp_random_graph(n, p, seed=seed),
    st.integers(1, 14), st.sampled_from([0.05, 0.15, 0.3, 0.7]), st.integers(0, 10**6),
)  # fmt: skip
BIPARTITE = st.builds(
    lambda a, b, p, seed: nx.bipartite.random_graph(a, b, p, seed=seed),
    st.integers(1, 20), st.integers(1, 20), st.sampled_from([0.05, 0.2, 0.6]),
    st.integers(0, 10**6),
)  # fmt: skip


@settings(deadline=None)
@given(BIPARTITE, st.integers(0, 10**6))
def test_koenig_duality_holds_on_bipartite_graphs(graph, seed):
    order = np.random.default_rng(seed).permutation(len(graph))  # the sides are not told apart
    edges = order[edges_of(graph)].reshape(-1, 2)
    found = c.least_cover(len(graph), edges)
    assert c.check_cover(found, len(graph), edges)
    assert found.proof == "matching"
    assert found.weights.sum() == found.upper == found.lower
    sides = {v for v in graph if graph.nodes[v]["bipartite"] == 0}
    assert found.upper == len(nx.bipartite.maximum_matching(graph, sides)) // 2


@settings(deadline=None)
@given(GRAPHS)
def test_cover_is_least_and_its_bounds_hold(graph):
    edges = edges_of(graph)
    found = c.least_cover(len(graph), edges)
    assert c.check_cover(found, len(graph), edges)
    assert found.lower == found.upper == smallest_cover(graph)
    assert found.weights.sum() <= found.lower


@settings(deadline=None)
@given(GRAPHS)
def test_without_time_the_bounds_still_enclose_the_optimum(graph):
    edges = edges_of(graph)
    found = c.least_cover(len(graph), edges, seconds=0)
    assert c.check_cover(found, len(graph), edges)
    assert found.lower <= smallest_cover(graph) <= found.upper


@settings(deadline=None)
@given(GRAPHS, st.integers(0, 10**6))
def test_weighted_program_equals_the_heaviest_independent_set(graph, seed):
    weights = np.random.default_rng(seed).integers(1, 20, size=len(graph))
    others = nx.complement(graph)
    nx.set_node_attributes(others, dict(enumerate(weights.tolist())), "weight")
    _, heaviest = nx.max_weight_clique(others)
    chosen, bound = c.integer_cover(edges_of(graph), weights.astype(float))
    assert weights[chosen].sum() == weights.sum() - heaviest == pytest.approx(bound)


def test_odd_cycles_are_proved_by_halves_and_dense_graphs_by_the_solver():
    cycle = nx.cycle_graph(9)
    found = c.least_cover(9, edges_of(cycle))
    assert (found.upper, found.proof, found.weights.sum()) == (5, "matching", 4.5)
    complete = nx.complete_graph(7)
    found = c.least_cover(7, edges_of(complete))
    assert (found.upper, found.proof, found.weights.sum()) == (6, "integer program", 3.5)


def test_a_tampered_certificate_is_refused():
    edges = edges_of(nx.path_graph(4))
    good = c.least_cover(4, edges)
    assert c.check_cover(good, 4, edges)
    short = c.Cover(good.vertices[:-1], good.lower, good.matching, good.weights)
    heavy = c.Cover(good.vertices, good.lower, good.matching, good.weights * 2)
    alien = c.Cover(good.vertices, good.lower, np.array([[0, 3]]), np.ones(1))
    for bad in (short, heavy, alien):
        assert not c.check_cover(bad, 4, edges)
