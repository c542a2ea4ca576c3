"""The Bernoulli closed forms against exact fractions, every classifier, minimum cuts, sampling."""

import itertools
import math
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hardball.errors import UserError
from hardball.theory import bernoulli as b


def ones(count: int) -> NDArray[np.int64]:
    return np.ones(count, dtype=np.int64)


T = st.sampled_from([0.01, 0.1, 0.25, 0.3, 0.45, 0.5])


def exact_distribution(k: int, p: Fraction) -> list[Fraction]:
    pmf = [math.comb(k, m) * p**m * (1 - p) ** (k - m) for m in range(k + 1)]
    return list(itertools.accumulate(pmf))


def exact_l0_error(k: int, p: Fraction, eps: int) -> Fraction:
    table = exact_distribution(k, p)

    def F(m: int) -> Fraction:
        return Fraction(0) if m < 0 else Fraction(1) if m >= k else table[m]

    errors = [(F(s + eps) + F(k - s + eps - 1)) / 2 for s in range(k)]
    return min([*errors, Fraction(1, 2)])


@given(st.integers(1, 60), st.integers(0, 60), T)
def test_l0_error_equals_exact_fractions(k, eps, t):
    _, error = b.l0_error(k, t, eps)
    expected = exact_l0_error(k, Fraction(1, 2) + Fraction(t), eps)
    assert error == pytest.approx(float(expected), rel=1e-9, abs=1e-300)
    assert (eps <= b.l0_largest_eps(k, t)) == (expected < Fraction(1, 2))


@given(st.integers(1, 80), T)
def test_bayes_error_is_the_papers_sum_and_the_l0_error_at_0(k, t):
    p = Fraction(1, 2) + Fraction(t)
    pmf = np.diff([Fraction(0), *exact_distribution(k, p)])
    expected = sum(pmf[: (k + 1) // 2], Fraction(0)) + (pmf[k // 2] / 2 if k % 2 == 0 else 0)
    assert b.bayes_error(k, t) == pytest.approx(float(expected), rel=1e-9, abs=1e-300)
    assert b.l0_error(k, t, 0)[1] == pytest.approx(b.bayes_error(k, t), rel=1e-9, abs=1e-300)


@given(st.integers(1, 200), T)
def test_l0_error_is_monotone_and_at_most_one_half(k, t):
    errors = [b.l0_error(k, t, eps)[1] for eps in range(0, k + 1, max(1, k // 10))]
    assert errors == sorted(errors)
    assert errors[-1] <= 0.5


def probabilities(d: int, t: float) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """All sign vectors and their probabilities given y = 1 (θ all ones) and y = −1."""
    cube = list(itertools.product((1, -1), repeat=d))
    misses = np.array([x.count(-1) for x in cube])
    p, q = 0.5 + t, 0.5 - t
    return cube, np.stack([p ** (d - misses) * q**misses, p**misses * q ** (d - misses)]) / 2


@pytest.mark.parametrize("d", [1, 2, 3, 4])
@pytest.mark.parametrize("t", [0.1, 0.3, 0.5])
def test_no_classifier_on_the_cube_beats_the_threshold(d, t):
    """All 2^(2^d) classifiers, so the assumption of Theorem 4 is not assumed."""
    cube, chances = probabilities(d, t)
    hamming = np.array(
        [[sum(a != c for a, c in zip(x, z, strict=True)) for z in cube] for x in cube]
    )
    answers = np.array(list(itertools.product((True, False), repeat=len(cube))))
    for eps in range(d + 1):
        near = (hamming <= eps).astype(np.int64)
        other_in_reach = answers.astype(np.int64) @ near > 0  # some point of the ball is called +1
        own_in_reach = (~answers).astype(np.int64) @ near > 0
        errors = own_in_reach @ chances[0] + other_in_reach @ chances[1]
        assert errors.min() == pytest.approx(b.l0_error(d, t, eps)[1], abs=1e-12)


@pytest.mark.parametrize("k", [5, 6])
@pytest.mark.parametrize("eps", [0, 1, 2])
def test_threshold_is_optimal_by_minimum_cut(k, eps):
    """Points that clash (Hamming ≤ 2ε) cannot both be right: a minimum cut over all classifiers."""
    cube, chances = probabilities(k, 0.3)
    graph: nx.DiGraph[object] = nx.DiGraph()
    for i, x in enumerate(cube):
        graph.add_edge("source", (1, i), capacity=chances[0, i])
        graph.add_edge((-1, i), "sink", capacity=chances[1, i])
        for j, z in enumerate(cube):
            if sum(a != c for a, c in zip(x, z, strict=True)) <= 2 * eps:
                graph.add_edge((1, i), (-1, j))
    cut = nx.minimum_cut_value(graph, "source", "sink")
    assert cut == pytest.approx(b.l0_error(k, 0.3, eps)[1], abs=1e-12)


def test_sampled_rules_agree_within_four_standard_errors():
    rng = np.random.default_rng(1)
    positive = rng.choice([-1, 1], size=30)
    negative = positive.copy()
    negative[:21] *= -1
    model = b.Bernoulli(positive, negative, 0.2)
    assert model.k == 21
    points, labels = model.sample(100_000, rng)

    def check(wrong, expected):
        assert abs(wrong.mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / len(labels))

    check(model.bayes_rule(points) != labels, b.bayes_error(21, 0.2))
    shift = rng.uniform(-0.99, 0.99, size=points.shape)
    check(model.linf_rule(points + shift) != labels, b.linf_error(21, 0.2, 0.99))
    s, expected = b.l0_error(21, 0.2, 2)
    check(model.l0_rule(flipped(points, labels, model, 2), s) != labels, expected)


def flipped(points, labels, model, eps):
    """The best attack: `eps` effective features that agree with the point's own θ are turned."""
    attacked = points.copy()
    for x, y in zip(attacked, labels, strict=True):
        theta = model.positive if y > 0 else model.negative
        turn = np.flatnonzero(model.effective & (x == theta))[:eps]
        x[turn] *= -1
    return attacked


def test_linf_limit_is_one_and_rounding_matters():
    assert b.linf_error(9, 0.3, 0.999) == b.bayes_error(9, 0.3)
    assert b.linf_error(9, 0.3, 1.0) == 0.5
    assert b.unrounded_linf_error(9, 0.3, 0) == b.bayes_error(9, 0.3)
    assert b.unrounded_linf_error(9, 0.3, 0.7) > 0.5 > b.linf_error(9, 0.3, 0.7)


@given(st.integers(1, 40), st.integers(0, 40), T)
def test_unrounded_error_equals_the_sum(k, sixteenths, t):
    eps = sixteenths / 16
    p, bound = Fraction(1, 2) + Fraction(t), k * (1 + Fraction(eps))
    pmf = np.diff([Fraction(0), *exact_distribution(k, p)])
    expected = sum(pmf[m] * (2 if 2 * m < bound else 2 * m == bound) for m in range(k + 1)) / 2
    assert b.unrounded_linf_error(k, t, eps) == pytest.approx(float(expected), rel=1e-9, abs=1e-300)


def test_a_hundred_thousand_features_stay_in_logarithms():
    k, t = 100_000, 0.3
    p, q = 0.5 + t, 0.5 - t
    half = k // 2
    # log of the central term, C(k, k/2) by Stirling; the tail below it is geometric, ratio q/p
    central = k * math.log(2) - math.log(math.pi * half) / 2 - 1 / (4 * k) + half * math.log(p * q)
    expected = central + math.log(0.5 + (q / p) / (1 - q / p))
    assert b.log_bayes_error(k, t) == pytest.approx(expected, abs=1e-3)
    assert b.bayes_error(k, t) == 0.0
    assert b.l0_largest_eps(k, t) == pytest.approx(t * k, rel=1e-3)
    errors = b.l0_log_errors(k, t, 1000)
    assert np.isfinite(errors).all()
    assert errors.argmin() - 1 in (half, half - 1)


def test_surface_of_figure_12():
    surface = b.l0_surface(50, 0.30)
    assert surface.shape == (51, 52)
    assert np.all(surface[:, [0, -1]] == pytest.approx(0.5))
    for eps in (0, 7, 20):
        assert surface[eps].min() == pytest.approx(b.l0_error(50, 0.30, eps)[1], rel=1e-12)


def two(k=3, t=0.2):
    return b.Bernoulli(np.ones(k), -np.ones(k), t)


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: two(t=0.0), "t=0.0"),
        (lambda: two(t=0.51), "t=0.51"),
        (lambda: two(t=math.nan), "t=nan"),
        (lambda: b.bayes_error(0, 0.1), "k=0"),
        (lambda: b.Bernoulli(ones(2), ones(2), 0.1), "k=0"),
        (lambda: b.Bernoulli(ones(2), -ones(3), 0.1), "one length"),
        (lambda: b.Bernoulli(0 * ones(2), ones(2), 0.1), "−1 and 1"),
        (lambda: b.l0_error(5, 0.1, 1.5), "eps=1.5"),
        (lambda: b.l0_error(5, 0.1, -1), "eps=-1"),
        (lambda: b.linf_error(5, 0.1, -0.5), "eps=-0.5"),
        (lambda: two().bayes_rule(np.ones((2, 4))), r"\(2, 4\)"),
    ],
)
def test_bad_input_names_the_value(build, word):
    with pytest.raises(UserError, match=word) as caught:
        build()
    assert "\n" not in str(caught.value)
