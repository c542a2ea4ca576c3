"""Attacks on the optimal rules attain the formulas: theory and PGD check each other.

Features are mapped into [0,1] so that the box never binds where the formulas know no box.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import hardball as hb
from hardball.theory import Bernoulli, Gaussian
from hardball.theory import bernoulli as formulas
from hardball.theory.gaussian import LinearRule, rule_error

COUNT = 20_000


def logits(score: Tensor) -> Tensor:
    return torch.stack([-score, score], dim=1)


def attacked_error(
    model, points: np.ndarray, labels: np.ndarray, threat: hb.ThreatModel, attack: hb.PGD
) -> float:
    images = torch.from_numpy(points)
    answers = torch.from_numpy((labels > 0).astype(np.int64))
    generator = torch.Generator().manual_seed(0)
    return attack(model, images, answers, threat, generator=generator).fooled.double().mean().item()


def close(measured: float, expected: float) -> bool:
    return abs(measured - expected) < 4 * math.sqrt(expected * (1 - expected) / COUNT)


@pytest.mark.parametrize(("norm", "threat"), [("l2", hb.L2), ("linf", hb.LInf)])
@pytest.mark.parametrize("bayes", [True, False])
def test_pgd_on_gaussian_rules_attains_the_closed_form(norm, threat, bayes):
    mean = np.array([1.2, 0.5, 0.1])
    model = Gaussian(mean, -mean, 0.8)
    eps, shrink = 0.4, 1 / 20
    rule: LinearRule = model.rule() if bayes else model.rule(eps, norm)
    points, labels = model.sample(COUNT, np.random.default_rng(4))
    weight = torch.from_numpy(rule.weight)
    images = points * shrink + 0.5
    assert images.min() > eps * shrink
    assert images.max() < 1 - eps * shrink

    measured = attacked_error(
        lambda x: logits((x - 0.5) / shrink @ weight + rule.offset),
        images, labels, threat(eps * shrink), hb.PGD(steps=20, step_size=eps * shrink / 4),
    )  # fmt: skip
    assert close(measured, rule_error(rule, model, eps, norm))
    if not bayes:
        assert close(measured, model.robust_error(eps, norm))


def bernoulli_sample(k: int, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Points in [0,1], −1 at ¼ and 1 at ¾, of θ^(1) = 1 and θ^(−1) = −1."""
    ones = np.ones(k, dtype=np.int64)
    points, labels = Bernoulli(ones, -ones, t).sample(COUNT, np.random.default_rng(5))
    return points / 4 + 0.5, labels


def rounded(x: Tensor) -> Tensor:
    """Signs whose gradient is that of the features, so that PGD has something to follow."""
    signs = torch.where(x >= 0.5, 1.0, -1.0).double()
    return signs.detach() + 4 * (x - x.detach())


@pytest.mark.parametrize("eps", [0.25, 0.5, 0.9])
def test_pgd_attains_the_linf_errors_with_and_without_rounding(eps):
    k, t = 11, 0.25
    points, labels = bernoulli_sample(k, t)
    threat, attack = hb.LInf(eps / 4), hb.PGD(steps=10, step_size=eps / 8)
    with_rounding = attacked_error(
        lambda x: logits(rounded(x).sum(1)), points, labels, threat, attack
    )
    without = attacked_error(lambda x: logits((4 * x - 2).sum(1)), points, labels, threat, attack)
    assert close(with_rounding, formulas.linf_error(k, t, eps))
    assert close(without, formulas.unrounded_linf_error(k, t, eps))


def test_pgd_breaks_the_rounded_rule_past_the_linf_limit():
    points, labels = bernoulli_sample(11, 0.25)
    measured = attacked_error(
        lambda x: logits(rounded(x).sum(1)), points, labels, hb.LInf(1.01 / 4),
        hb.PGD(steps=10, step_size=0.1),
    )  # fmt: skip
    assert measured == 1.0


@pytest.mark.parametrize("eps", [1, 3])
def test_pgd_attains_the_l0_error_of_the_optimal_threshold(eps):
    k, t = 15, 0.3
    points, labels = bernoulli_sample(k, t)
    threshold, expected = formulas.l0_error(k, t, eps)

    def model(x: Tensor) -> Tensor:
        misses = (k - rounded(x).sum(1)) / 2
        return logits(threshold + 0.5 - misses)

    measured = attacked_error(
        model, points, labels, hb.L0(eps), hb.PGD(steps=10, step_size=1.0, random_start=False)
    )
    assert close(measured, expected)
