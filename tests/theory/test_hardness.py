"""Optimal robust classifiers of finite distributions against brute force and graph theory."""

import itertools
import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardball.errors import UserError
from hardball.theory.finite import FiniteDistribution, brute_force, distances, optimal_robust
from hardball.theory.hardness import distance_3_independent_set, graph_distribution, l0_radius

POWERS = [0, 1, 2, 3, math.inf]
DOMAINS = ["support", "space"]


def random_graphs():
    for seed in range(6):
        yield nx.gnp_random_graph(3 + seed, 0.4, seed=seed)
    yield nx.path_graph(7)
    yield nx.star_graph(5)
    yield nx.complete_graph(4)
    yield nx.empty_graph(4)


def largest_independent(graph: "nx.Graph[object]", least_distance: int) -> int:
    """By trying every set of vertices."""
    length = dict(nx.all_pairs_shortest_path_length(graph))
    for size in range(len(graph), 0, -1):
        for chosen in itertools.combinations(graph, size):
            if all(
                length[u].get(v, math.inf) >= least_distance
                for u, v in itertools.combinations(chosen, 2)
            ):
                return size
    return 0


def radius_for(graph: "nx.Graph[object]", p: float, domain: str) -> float:
    return l0_radius(len(graph), domain) if p == 0 else 0.37


@pytest.mark.parametrize("p", POWERS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_adjacent_points_are_exactly_at_the_construction_distance(p, domain):
    for graph in random_graphs():
        eps = radius_for(graph, p, domain)
        found = distances(graph_distribution(graph, eps=eps, p=p, domain=domain).points, p)
        adjacent = nx.to_numpy_array(graph) > 0
        apart = ~adjacent & ~np.eye(len(graph), dtype=bool)
        reach = eps if domain == "support" else 2 * eps
        assert np.allclose(found[adjacent], reach, rtol=1e-12)
        assert (found[apart] > reach * (1 + 1e-6)).all()


@pytest.mark.parametrize("p", POWERS)
def test_support_optimum_is_the_distance_3_independent_set(p):
    """Lemma 1, with the maximum found by trying all sets and by the integer program."""
    for graph in random_graphs():
        eps = radius_for(graph, p, "support")
        optimum = optimal_robust(graph_distribution(graph, eps=eps, p=p), eps=eps, p=p)
        expected = largest_independent(graph, 3)
        assert optimum.accuracy == pytest.approx(expected / len(graph))
        assert optimum.bound == pytest.approx(optimum.accuracy)
        assert len(distance_3_independent_set(graph)) == expected


@pytest.mark.parametrize("p", POWERS)
def test_space_optimum_is_the_independent_set(p):
    for graph in random_graphs():
        eps = radius_for(graph, p, "space")
        points = graph_distribution(graph, eps=eps, p=p, domain="space")
        optimum = optimal_robust(points, eps=eps, p=p, domain="space")
        assert optimum.accuracy == pytest.approx(largest_independent(graph, 2) / len(graph))


@pytest.mark.parametrize("p", POWERS)
def test_the_papers_points_prove_nothing_in_space(p):
    for graph in random_graphs():
        eps = radius_for(graph, p, "support")
        points = graph_distribution(graph, eps=eps, p=p)
        optimum = optimal_robust(points, eps=eps, p=p, domain="space")
        assert optimum.accuracy == pytest.approx(1 / len(graph))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 3), st.sampled_from(POWERS),
    st.integers(0, 3),
)  # fmt: skip
def test_integer_program_equals_every_classifier(seed, count, labels, p, eps):
    """Points on a small grid, so that ties, duplicates and contradicting labels abound."""
    rng = np.random.default_rng(seed)
    distribution = FiniteDistribution(
        rng.integers(0, 4, size=(count, 2)).astype(float),
        rng.integers(0, labels, size=count),
        rng.random(count),
    )
    optimum = optimal_robust(distribution, eps=eps, p=p)
    assert optimum.accuracy == pytest.approx(brute_force(distribution, eps=eps, p=p))
    assert optimum.accuracy == pytest.approx(optimum.bound)
    edges = distribution.conflicts(eps, p)
    assert not np.isin(edges, optimum.right).all(axis=1).any()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([0, 2, math.inf]))
def test_space_equals_support_once_the_meeting_points_are_in_it(seed, count, p):
    """Midpoints (p = 0: mixtures) added with weight 0 make the support rich enough for R^d."""
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 3, size=(count, 3)).astype(float)
    labels, weights = rng.integers(0, 3, size=count), rng.random(count) + 0.1
    eps = 1
    if p == 0:
        masks = np.array(list(itertools.product((False, True), repeat=3)))
        extra = [np.where(m, x, z) for x in points for z in points for m in masks]
    else:
        extra = [(x + z) / 2 for x in points for z in points]
    rich = FiniteDistribution(
        np.concatenate([points, extra]),
        np.concatenate([labels, np.zeros(len(extra), dtype=int)]),
        np.concatenate([weights, np.zeros(len(extra))]),
    )
    free = optimal_robust(FiniteDistribution(points, labels, weights), eps=eps, p=p, domain="space")
    assert optimal_robust(rich, eps=eps, p=p).accuracy == pytest.approx(free.accuracy)


@pytest.mark.parametrize("domain", DOMAINS)
def test_optimum_is_monotone_and_at_least_the_best_constant(domain):
    rng = np.random.default_rng(3)
    labels, weights = rng.integers(0, 3, size=15), rng.random(15)
    distribution = FiniteDistribution(rng.normal(size=(15, 2)), labels, weights)
    found = [
        optimal_robust(distribution, eps=eps, p=2, domain=domain).accuracy
        for eps in (0, 0.1, 0.3, 0.6, 1, 10)
    ]
    constant = max(distribution.mass[labels == y].sum() for y in range(3))
    assert found[0] == pytest.approx(1.0)
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(constant)


def finite(**changes):
    settings = {"points": np.eye(3), "labels": np.arange(3), "weights": None} | changes
    return FiniteDistribution(**settings)


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: finite(labels=np.arange(2)), r"\(2,\)"),
        (lambda: finite(labels=np.full(3, 0.5)), "fractions"),
        (lambda: finite(points=np.full((3, 1), np.nan)), "NaN"),
        (lambda: finite(weights=-np.ones(3)), "-1.0"),
        (lambda: finite(weights=np.ones(2)), r"\(2,\)"),
        (lambda: optimal_robust(finite(), eps=-1, p=2), "eps=-1"),
        (lambda: optimal_robust(finite(), eps=0.5, p=0), "eps=0.5"),
        (lambda: optimal_robust(finite(), eps=1, p=0.5), "p=0.5"),
        (lambda: optimal_robust(finite(), eps=1, p=2, domain="sky"), "'sky'"),
        (lambda: graph_distribution(nx.Graph([(0, 1), (1, 2), (2, 2)]), eps=1, p=2), "1 loops"),
        (lambda: graph_distribution(nx.path_graph(2), eps=1, p=2), "2 vertices"),
        (lambda: graph_distribution(nx.DiGraph([(0, 1), (1, 2)]), eps=1, p=2), "DiGraph"),
        (lambda: graph_distribution(nx.path_graph(3), eps=0, p=2), "eps=0"),
        (lambda: graph_distribution(nx.path_graph(3), eps=5, p=0), "give 2"),
        (
            lambda: brute_force(finite(points=np.eye(30), labels=np.arange(30)), eps=1, p=2),
            "1000000",
        ),
    ],
)  # fmt: skip
def test_bad_input_names_the_value(build, word):
    with pytest.raises(UserError, match=word) as caught:
        build()
    assert "\n" not in str(caught.value)
