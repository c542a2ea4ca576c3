"""The detectors of collapse and of a sudden increase: planted cases and false alarms."""

import itertools
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import flat
from hardball import Constant, Dataset, Iterative, Run, build, fit, load_dataset
from hardball.runs import COLLAPSED, FINISHED, NON_FINITE
from hardball.training import stopping
from hardball.training.messages import non_finite_message

QUICK = flat.settings(steps=3, batch_size=32, lr=5e-3, validation=300)


@pytest.fixture(scope="module")
def train() -> Dataset:
    return load_dataset("digits")


def small(data: Dataset, width: int = 6) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build("digits_cnn", data.shape, data.classes, {"width": width})


# --- collapse


@given(st.lists(st.integers(1, 50), min_size=2, max_size=12))
def test_the_floor_is_the_best_constant_predictions_loss(counts: list[int]) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    floor = stopping.constant_loss(labels, len(counts))
    shares = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    best = nn.functional.cross_entropy(shares.log().expand(len(labels), -1), labels)
    assert floor == pytest.approx(float(best))
    assert floor <= math.log(len(counts)) + 1e-12


@pytest.mark.parametrize(
    ("loss", "one_class", "floor", "expected"),
    [
        (2.303, 1.0, 2.303, True),  # pinned at ln 10
        (2.45, 0.95, 2.303, True),  # above it, as at too high a learning rate
        (2.303, 0.3, 2.303, False),  # a hard ε, but it predicts several classes
        (0.2, 0.97, 0.25, False),  # almost all of one class in the data, and better than constant
        (1.9, 1.0, 2.303, False),
    ],
)
def test_collapse_needs_a_pinned_loss_and_one_class(
    loss: float, one_class: float, floor: float, expected: bool
) -> None:
    assert stopping.collapsed(loss, one_class, floor) is expected


def stretched(data: Dataset) -> Dataset:
    """Contrast ×4 around ½: digits as black and white as MNIST, where a large ε cannot be learned
    from random weights."""
    return replace(data, images=((data.images - 0.5) * 4 + 0.5).clamp(0, 1))


def direct(train: Dataset, **more: Any) -> Run:
    settings = flat.settings(QUICK, **more)
    data = stretched(train)
    return fit(small(data), data, curriculum=Constant(0.45, 8), settings=settings)


def test_direct_training_at_a_large_eps_collapses_and_says_what_to_do(train: Dataset) -> None:
    run = direct(train)
    assert run.outcome is not None
    assert run.outcome.status == COLLAPSED
    assert run.outcome.epochs < 8
    first = next(row for row in run.history if row["collapsed"])
    assert first["adv_loss"] == pytest.approx(math.log(10), rel=stopping.PINNED)
    assert first["epoch"] <= math.ceil(stopping.WARM_UP / (1137 / 32)) + 1
    for part in ("ε=0.45", "constant prediction", "--curriculum iterative --eps 0.45", "extend"):
        assert part in run.outcome.message


def test_a_collapse_may_be_sat_out(train: Dataset) -> None:
    run = direct(train, on_collapse="continue")
    assert run.outcome is not None
    assert run.outcome.epochs == 8
    assert run.outcome.status == COLLAPSED  # it never ended


class Constantly(nn.Module):
    """Ignores the image."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.linspace(0, 0.1, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.bias.expand(len(images), -1) + 0 * images.flatten(1).sum(1, keepdim=True)


def test_a_constant_predictor_has_collapsed(train: Dataset, tmp_path: Path) -> None:
    run = fit(Constantly(), train, curriculum=Constant(0.1, 6), settings=QUICK, out=tmp_path / "r")
    assert run.outcome is not None
    assert run.outcome.status == COLLAPSED
    assert (tmp_path / "r" / "outcome.json").exists()


def imbalanced(data: Dataset) -> Dataset:
    """95% of the examples are zeros."""
    zeros, others = data.labels == 0, data.labels != 0
    rows = torch.cat([zeros.nonzero().squeeze(1).repeat(7), others.nonzero().squeeze(1)[:60]])
    return data.rows(rows)


def test_healthy_training_is_no_collapse(train: Dataset) -> None:
    run = fit(small(train), train, curriculum=Constant(0.05, 3), settings=QUICK)
    assert run.outcome is not None
    assert run.outcome.status == FINISHED
    assert not any(row["collapsed"] for row in run.history)


def test_predicting_one_class_of_imbalanced_data_is_no_collapse(train: Dataset) -> None:
    data = imbalanced(train)
    settings = flat.settings(QUICK, validation=100)
    run = fit(small(data), data, curriculum=Constant(0.05, 6), settings=settings)
    assert run.outcome is not None
    assert run.outcome.status == FINISHED
    learning = run.history[3:]  # before that it is no better than a constant
    assert all(row["one_class"] >= stopping.ONE_CLASS for row in learning)
    assert not any(row["collapsed"] for row in learning)


# --- sudden increase


def first_stop(losses: list[float], classes: int = 10) -> tuple[int, int] | None:
    """(epoch after which the rule stops, last good epoch), counted from 0."""
    for n in range(1, len(losses) + 1):
        last_good = stopping.sudden_increase(losses[:n], classes)
        if last_good is not None:
            return n - 1, last_good
    return None


def noisy(losses: list[float], seed: int, size: float) -> list[float]:
    draw = random.Random(seed)
    return [loss + draw.uniform(-size, size) for loss in losses]


RAMP = [0.02 + 0.2 * (i / 40) ** 2 for i in range(41)]
"""The paper's Figure 7 to ε = 0.4: below 0.25."""


@pytest.mark.parametrize("seed", range(5))
def test_the_papers_figure_7_stops_near_eps_04(seed: int) -> None:
    losses = noisy([*RAMP, *[0.22 + 0.1 * i for i in range(1, 11)]], seed, 0.004)
    stop = first_stop(losses)
    assert stop is not None
    assert 40 <= stop[0] <= 43
    assert 38 <= stop[1] <= 41
    assert losses[stop[1]] < 0.3


@given(st.integers(4, 30), st.floats(0.5, 3.0))
def test_a_planted_jump_is_noticed_after_two_epochs(quiet: int, height: float) -> None:
    losses = [0.3] * quiet + [0.3 + height] * 3
    assert first_stop(losses) == (quiet + 1, quiet - 1)


@given(st.floats(0, 0.3), st.floats(0, 2), st.integers(2, 60))
def test_a_steady_rise_of_any_slope_is_no_jump(slope: float, start: float, epochs: int) -> None:
    assert first_stop([start + slope * i for i in range(epochs)]) is None


@given(st.integers(0, 10_000), st.floats(0, 0.011))
def test_small_noise_is_no_jump(seed: int, size: float) -> None:
    assert first_stop(noisy([0.3] * 40, seed, size)) is None


@given(st.integers(4, 20), st.integers(4, 20), st.floats(0.1, 3))
def test_one_noisy_epoch_is_no_jump(before: int, after: int, height: float) -> None:
    losses = [0.3] * before + [0.3 + height] + [0.3] * after
    assert first_stop(losses) is None
    assert not stopping.good_before_increase(losses[: before + 1], 10)
    assert stopping.good_before_increase(losses[: before + 2], 10)


@given(st.floats(0.5, 0.95), st.integers(3, 40))
def test_falling_losses_are_no_jump(factor: float, epochs: int) -> None:
    assert first_stop([2.3 * factor**i for i in range(epochs)]) is None


def test_a_real_ramp_with_nothing_wrong_is_not_stopped(train: Dataset) -> None:
    ramp = Iterative(0.1, ramp_epochs=7)
    run = fit(small(train), train, curriculum=ramp, settings=QUICK)
    assert run.outcome is not None
    assert run.outcome.status == FINISHED


# --- non-finite


class Breaks(nn.Module):
    """A network whose output becomes `value` in its `at`-th training pass."""

    def __init__(self, inner: nn.Module, at: int, value: float) -> None:
        super().__init__()
        self.inner, self.value = inner, value
        self._passes, self._at = itertools.count(1), at

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        if self.training and next(self._passes) == self._at:
            return logits * self.value
        return logits


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_loss_stops_before_the_update(
    value: float, train: Dataset, tmp_path: Path
) -> None:
    settings = flat.settings(QUICK, validation=1000)  # 14 updates per epoch
    eight = fit(small(train), train, curriculum=Constant(0.02, 8), settings=settings)
    broken = Breaks(small(train), at=8 * 14 + 5, value=value)
    run = fit(broken, train, curriculum=Constant(0.02, 9), settings=settings, out=tmp_path / "r")
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.epochs) == (NON_FINITE, 8)
    for part in ("ε=0.02", "epoch 9", "before the update", "smaller learning rate, e.g. lr=0.001"):
        assert part in run.outcome.message
    kept, expected = broken.inner.state_dict(), eight.model.state_dict()
    assert all(torch.equal(kept[name], expected[name]) for name in expected)


def test_a_non_finite_loss_in_the_first_epoch_leaves_finite_weights(train: Dataset) -> None:
    broken = Breaks(small(train), at=3, value=math.nan)
    run = fit(broken, train, curriculum=Constant(0.1, 2), settings=QUICK)
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.epochs) == (NON_FINITE, 0)
    assert all(v.isfinite().all() for v in broken.state_dict().values())


@given(st.floats(1e-6, 10))
def test_the_learning_rate_to_try_is_smaller(lr: float) -> None:
    tried = float(non_finite_message(0.1, 1, lr).rpartition("=")[2])
    assert lr / 35 < tried < lr / 3
