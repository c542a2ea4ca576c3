"""Curricula: pure functions from progress to ε, whose ends are exact."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from hardball import Constant, Dataset, Iterative, UserError, fit
from hardball.training import Curriculum
from hardball.training.curricula.base import check_course

Shape = Literal["linear", "exponential"]

radii = st.floats(0.001, 1.0)


@st.composite
def ramps(draw: st.DrawFn) -> Iterative:
    """Every kind of ramp."""
    target = draw(radii)
    start = draw(st.just(0.0) | st.floats(0.0, target, exclude_max=True))
    shapes: list[Shape] = ["linear", "exponential"] if start > 1e-9 else ["linear"]
    shape = draw(st.sampled_from(shapes))
    lengths = st.fixed_dictionaries({"ramp_epochs": st.none() | st.integers(1, 60)})
    increments = st.fixed_dictionaries({"increment": st.floats(target / 200, target)})
    return Iterative(
        target,
        start=start,
        shape=shape,
        per=draw(st.sampled_from(["epoch", "step"])),
        hold=draw(st.integers(0, 3)),
        beyond=draw(st.just(0.0) | st.floats(0.0, 0.1)),
        **draw(lengths | increments if shape == "linear" else lengths),
    )


def positions(ramp: Iterative, steps: int = 5) -> list[tuple[int, float]]:
    """Every (epoch, fraction) that training visits, in order."""
    return [(e, (s + 1) / steps) for e in range(ramp.total_epochs) for s in range(steps)]


@given(ramps())
def test_a_ramp_rises_from_start_to_target_and_holds_it(ramp: Iterative) -> None:
    eps = [ramp.eps_at(*position) for position in positions(ramp)]
    assert eps == sorted(eps)
    assert ramp.start <= eps[0] + 1e-12
    assert eps[-1] == ramp.largest
    held = [ramp.eps_at(e, f) for e, f in positions(ramp) if e >= ramp.ramp_length]
    assert held == [ramp.largest] * len(held)


@given(ramps())
def test_the_last_ramp_epoch_has_the_full_eps_and_none_before_it(ramp: Iterative) -> None:
    last = ramp.ramp_length - 1
    assert ramp.eps_at(last, 1.0) == ramp.largest
    if ramp.per == "epoch":
        assert ramp.eps_at(last, 0.01) == ramp.largest
    if last:
        # not reached sooner, but for what rounding at 12 digits brings
        assert ramp.eps_at(last - 1, 1.0) < ramp.largest or math.isclose(
            ramp.eps_at(last - 1, 1.0), ramp.largest, rel_tol=1e-7
        )


@given(ramps(), st.integers(0, 70), st.floats(0.01, 1.0))
def test_a_ramp_is_pure(ramp: Iterative, epoch: int, fraction: float) -> None:
    first = ramp.eps_at(epoch, fraction)
    for position in reversed(positions(ramp)):
        ramp.eps_at(*position)
    assert ramp.eps_at(epoch, fraction) == first


@given(ramps(), st.integers(0, 60))
def test_per_epoch_and_per_step_agree_at_the_ends_of_epochs(ramp: Iterative, epoch: int) -> None:
    other = Iterative(**{**vars(ramp), "per": "step" if ramp.per == "epoch" else "epoch"})
    assert ramp.eps_at(epoch, 1.0) == other.eps_at(epoch, 1.0)


@given(radii, st.integers(1, 200))
def test_an_increment_that_divides_the_target_takes_that_many_epochs(
    target: float, epochs: int
) -> None:
    ramp = Iterative(target, increment=target / epochs)
    assert ramp.total_epochs == epochs
    for epoch in range(epochs):
        assert ramp.eps_at(epoch) == pytest.approx(target * (epoch + 1) / epochs, rel=1e-9)


def test_the_papers_ramp() -> None:
    ramp = Iterative(0.4, increment=0.01)
    assert [ramp.eps_at(e) for e in range(ramp.total_epochs)] == [
        round(0.01 * (i + 1), 2) for i in range(40)
    ]


def test_an_increment_that_does_not_divide_the_target() -> None:
    per_epoch = Iterative(0.1, increment=0.03)
    assert [per_epoch.eps_at(e) for e in range(4)] == [0.03, 0.06, 0.09, 0.1]
    per_step = Iterative(0.1, increment=0.03, per="step")
    assert [per_step.eps_at(3, f) for f in (0.25, 0.5, 1.0)] == [0.0975, 0.1, 0.1]


def test_a_ramp_may_end_beyond_its_target() -> None:
    ramp = Iterative(0.4, ramp_epochs=7, hold=1, beyond=0.02)
    assert ramp.target == 0.4
    assert [ramp.eps_at(e) for e in (0, 5, 6, 7)] == [0.06, 0.36, 0.42, 0.42]
    assert Iterative(0.4, increment=0.01, beyond=0.02).total_epochs == 42


@given(radii, st.integers(2, 50))
def test_an_exponential_ramp_grows_by_equal_factors(target: float, epochs: int) -> None:
    ramp = Iterative(target, start=target / 100, ramp_epochs=epochs, shape="exponential")
    eps = [ramp.start] + [ramp.eps_at(e) for e in range(epochs)]
    for before, after in pairwise(eps):
        assert after / before == pytest.approx(100 ** (1 / epochs), rel=1e-5)


@given(radii, st.integers(1, 100), st.integers(0, 120), st.floats(0.01, 1))
def test_a_constant_is_constant(eps: float, epochs: int, epoch: int, fraction: float) -> None:
    curriculum = Constant(eps, epochs)
    assert curriculum.eps_at(epoch, fraction) == curriculum.target == curriculum.largest == eps
    assert (curriculum.total_epochs, curriculum.may_stop) == (epochs, False)


@given(ramps() | st.builds(Constant, radii, st.integers(1, 50)), st.integers(1, 200))
def test_lasting_changes_the_number_of_epochs_and_no_end(
    curriculum: Constant | Iterative, epochs: int
) -> None:
    try:
        longer: Curriculum = curriculum.lasting(epochs)
    except UserError as error:
        assert f"epochs={epochs}" in str(error)  # noqa: PT017 - refusal is the other lawful answer
        assume(False)
        return
    assert longer.total_epochs == epochs
    assert longer.largest == longer.eps_at(epochs - 1) == curriculum.largest
    assert longer.target == curriculum.target


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "negative": (lambda: Constant(-0.1), "eps=-0.1; allowed is a finite number, 0 or more"),
    "nan": (lambda: Constant(math.nan), "eps=nan; allowed"),
    "infinite": (lambda: Iterative(math.inf), "eps=inf; allowed"),
    "no epochs": (lambda: Constant(0.1, 0), "epochs=0; allowed is 1 or more"),
    "no epochs of a ramp": (lambda: Iterative(0.1).lasting(0), "epochs=0; allowed is 1 or more"),
    "all hold": (lambda: Iterative(0.1, hold=5).lasting(5), "epochs=5; allowed is 6 or more"),
    "too few": (lambda: Iterative(0.1, increment=0.01).lasting(9), "use 10 or more"),
    "start above": (lambda: Iterative(0.1, start=0.1), "start must be below eps"),
    "negative start": (lambda: Iterative(0.1, start=-1), "start=-1; allowed"),
    "two lengths": (
        lambda: Iterative(0.1, increment=0.01, ramp_epochs=3),
        "increment=0.01 and ramp_epochs=3; give only one",
    ),
    "zero increment": (lambda: Iterative(0.1, increment=0), "increment=0; allowed is above 0"),
    "huge increment": (lambda: Iterative(0.1, increment=0.2), "up to eps=0.1"),
    "no ramp": (lambda: Iterative(0.1, ramp_epochs=0), "ramp_epochs=0; allowed is 1 or more"),
    "negative beyond": (lambda: Iterative(0.1, beyond=-1), "beyond=-1; allowed"),
    "negative hold": (lambda: Iterative(0.1, hold=-1), "hold=-1; allowed is 0 or more"),
    "exponential from 0": (lambda: Iterative(0.1, shape="exponential"), "needs start > 0"),
    "exponential increment": (
        lambda: Iterative(0.1, start=0.01, shape="exponential", increment=0.01),
        "ramp_epochs instead of an increment",
    ),
    "shape": (
        lambda: Iterative(0.1, shape="cubic"),  # type: ignore[arg-type]
        "unknown ramp shape 'cubic'; there are: exponential, linear",
    ),
    "unit": (
        lambda: Iterative(0.1, per="day"),  # type: ignore[arg-type]
        "unknown ramp unit 'day'; there are: epoch, step",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_named_with_what_is_allowed(name: str) -> None:
    make, message = BAD[name]
    with pytest.raises(UserError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(ramps())
def test_every_ramp_passes_the_check_of_a_course(ramp: Iterative) -> None:
    check_course(ramp)
    check_course(Constant(ramp.target))


@dataclass(frozen=True)
class Listed(Constant):
    """ε as given for each epoch."""

    values: tuple[float, ...] = ()

    @property
    def total_epochs(self) -> int:
        return len(self.values)

    def eps_at(self, epoch: int, fraction: float = 1.0) -> float:
        return self.values[epoch]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0.1, 0.2, 0.15), r"Listed lowers ε from 0\.2 to 0\.15 in epoch 3; ε may rise or stay"),
        ((0.1, math.nan), r"Listed gives ε=nan in epoch 2; allowed is a finite number"),
        ((0.1, math.inf), r"Listed gives ε=inf in epoch 2"),
        ((-0.1,), r"Listed gives ε=-0\.1 in epoch 1"),
        ((0.1, 0.4), r"Listed gives ε=0\.4 in epoch 2, above its largest=0\.3"),
    ],
)
def test_a_course_that_falls_or_is_no_number_is_refused_before_training(
    values: tuple[float, ...], message: str, digits: Dataset
) -> None:
    linear = nn.Linear(64, 10)
    model, before = nn.Sequential(nn.Flatten(), linear), linear.weight.clone()
    with pytest.raises(UserError, match=message):
        fit(model, digits, curriculum=Listed(0.3, values=values))
    assert torch.equal(linear.weight, before)
