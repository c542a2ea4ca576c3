"""The Gaussian closed forms against the paper, quadrature, sampling and other rules."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm as normal

from hardball.errors import UserError
from hardball.theory.gaussian import Gaussian, LinearRule, rule_error

RADII = st.floats(0, 10)
NORMS = ("l2", "linf")


@st.composite
def models(draw: st.DrawFn) -> Gaussian:
    d = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Gaussian(rng.normal(size=d), rng.normal(size=d), draw(st.floats(0.2, 3)))


@given(models(), RADII)
def test_l2_error_is_the_papers_formula(model, eps):
    w = np.linalg.norm(model.positive - model.negative)
    formula = normal.cdf((-w + 2 * eps) / (2 * model.sigma))
    assert model.robust_error(eps) == pytest.approx(min(0.5, formula), rel=1e-9)
    assert model.largest_eps() == pytest.approx(w / 2)


@given(models(), st.sampled_from(NORMS))
def test_eps_0_gives_bayes(model, norm):
    w = np.linalg.norm(model.positive - model.negative)
    assert model.robust_error(0, norm) == pytest.approx(normal.cdf(-w / (2 * model.sigma)))
    assert model.bayes_error() == model.robust_error(0, norm)


@given(models(), RADII, RADII, st.sampled_from(NORMS))
def test_error_is_monotone_and_never_above_the_constant_rule(model, a, b, norm):
    low, high = sorted((a, b))
    assert model.robust_error(low, norm) <= model.robust_error(high, norm) <= 0.5


@given(models(), st.floats(0, 0.99), st.sampled_from(NORMS))
def test_optimal_rule_attains_the_error_and_no_other_linear_rule_beats_it(model, share, norm):
    eps = share * model.largest_eps(norm)
    rule = model.rule(eps, norm)
    assert rule_error(rule, model, eps, norm) == pytest.approx(model.robust_error(eps, norm), 1e-7)
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = LinearRule(
            rule.weight + rng.normal(size=rule.weight.size), rule.offset + rng.normal()
        )
        assert rule_error(other, model, eps, norm) >= model.robust_error(eps, norm) - 1e-12


@pytest.mark.parametrize("norm", NORMS)
def test_no_classifier_beats_it_once_the_classes_are_shifted_together(norm):
    """½∫min(f₁, f₋₁) of the two densities after the best shift bounds every classifier (d = 1)."""
    model = Gaussian(np.array([1.3]), np.array([-0.4]), 0.7)
    eps = 0.5
    positive, negative = normal(1.3 - eps, 0.7).pdf, normal(-0.4 + eps, 0.7).pdf
    overlap, _ = quad(lambda x: min(positive(x), negative(x)) / 2, -12, 12, points=[0.45])
    assert model.robust_error(eps, norm) == pytest.approx(overlap, rel=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_two_dimensional_quadrature_of_the_attacked_rule(norm):
    """P(some x+δ is misclassified), integrated along the rule's normal."""
    model = Gaussian(np.array([1.0, 0.25]), np.array([-0.5, 0.0]), 0.8)
    eps = 0.3
    rule = model.rule(eps, norm)
    w = rule.weight / np.linalg.norm(rule.weight)
    reach = eps * (1 if norm == "l2" else np.abs(w).sum())
    boundary = -rule.offset / np.linalg.norm(rule.weight)
    wrong = [
        quad(normal(w @ model.positive, 0.8).pdf, -10, boundary + reach)[0],
        quad(normal(w @ model.negative, 0.8).pdf, boundary - reach, 10)[0],
    ]
    assert model.robust_error(eps, norm) == pytest.approx(np.mean(wrong), abs=1e-9)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("d", [1, 3, 40])
def test_sampling_agrees_within_four_standard_errors(norm, d):
    rng = np.random.default_rng(d)
    mean = rng.normal(size=d) / math.sqrt(d)
    model = Gaussian(mean + 0.3, -mean, 0.6)
    eps = 0.4 * model.largest_eps(norm)
    rule = model.rule(eps, norm)
    points, labels = model.sample(100_000, rng)
    direction = rule.weight / np.linalg.norm(rule.weight) if norm == "l2" else np.sign(rule.weight)
    attacked = points - eps * labels[:, None] * direction
    error, expected = np.mean(rule(attacked) != labels), model.robust_error(eps, norm)
    assert abs(error - expected) < 4 * math.sqrt(expected * (1 - expected) / len(labels))


def test_tails_stay_finite_in_logarithms():
    model = Gaussian(np.full(10_000, 1.0), np.full(10_000, -1.0))
    assert model.robust_error(10) == 0.0
    # Mills: log Φ(−x) = −x²/2 − log(x√2π) − O(1/x²), here with x = 100 − 10
    assert model.log_robust_error(10) == pytest.approx(
        -(90**2) / 2 - math.log(90 * math.sqrt(2 * math.pi)), abs=1e-3
    )


def test_beyond_the_largest_eps_the_rule_is_constant_and_errs_on_half():
    model = Gaussian(np.array([1.0, 0.0]), np.array([-1.0, 0.0]))
    for norm in NORMS:
        rule = model.rule(1.0, norm)
        assert model.robust_error(1.0, norm) == 0.5
        assert rule_error(rule, model, 1.0, norm) == 0.5
        assert set(rule(np.zeros((3, 2)))) == {1}


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: Gaussian(np.zeros(2), np.zeros(3)), "one length"),
        (lambda: Gaussian(np.zeros(2), np.zeros(2)), "equal"),
        (lambda: Gaussian(np.array([np.nan]), np.ones(1)), "NaN"),
        (lambda: Gaussian(np.zeros(1), np.ones(1), 0.0), "sigma=0.0"),
        (lambda: Gaussian(np.zeros(1), np.ones(1)).robust_error(-0.1), "eps=-0.1"),
        (lambda: Gaussian(np.zeros(1), np.ones(1)).robust_error(0.1, "l3"), "'l3'"),
        (lambda: Gaussian(np.zeros(1), np.ones(1)).sample(0, np.random.default_rng()), "count=0"),
    ],
)
def test_bad_input_names_the_value(build, word):
    with pytest.raises(UserError, match=word) as caught:
        build()
    assert "\n" not in str(caught.value)
