"""Learning-rate schedules and optimisers, by name."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import flat
from hardball import PGD, DecayingPGD, UserError
from hardball.training.attack import TrainingAttack
from hardball.training.optim import OPTIMIZERS, SCHEDULES, Optimizer

AT = {
    # progress → factor
    "constant": {0.0: 1.0, 0.5: 1.0, 0.99: 1.0},
    "steps": {0.0: 1.0, 0.33: 1.0, 1 / 3: 0.1, 0.5: 0.1, 2 / 3: 0.01, 0.99: 0.01},
    "linear-tail": {0.0: 1.0, 0.59: 1.0, 0.6: 1.0, 0.8: 0.51, 1.0: 0.02},
    "cosine": {0.0: 1.0, 0.5: 0.5, 1.0: 0.0},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_values_at_known_points(name: str) -> None:
    for progress, factor in AT[name].items():
        assert SCHEDULES[name](progress) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
@given(one=st.floats(0, 0.9999), other=st.floats(0, 0.9999))
def test_factors_fall_from_one_and_stay_positive(name: str, one: float, other: float) -> None:
    early, late = sorted((one, other))
    schedule = SCHEDULES[name]
    assert 0 < schedule(late) <= schedule(early) <= 1


@given(st.integers(1, 40), st.integers(1, 30))
def test_the_papers_thirds_change_at_whole_epochs(third: int, steps: int) -> None:
    epochs = 3 * third
    for epoch in range(epochs):
        rates = {SCHEDULES["steps"]((epoch + step / steps) / epochs) for step in range(steps)}
        assert rates == {0.1 ** (epoch // third)}


def updated(name: str, **more: float) -> tuple[float, float]:
    """A trained and a frozen weight of 1 after one update with gradient 2."""
    model = nn.ParameterList([torch.ones(()), torch.ones(())])
    model[1].requires_grad_(False)
    optimizer = Optimizer(**dict[str, Any](name=name, lr=0.1, momentum=0) | more).of(model)
    (2 * model[0]).backward()
    optimizer.step()
    return float(model[0].detach()), float(model[1])


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("sgd", {}, 1 - 0.1 * 2),
        ("sgd", {"weight_decay": 0.5}, 1 - 0.1 * 2.5),
        ("adam", {}, 1 - 0.1),  # the first step is of size lr, whatever the gradient
        ("adamw", {"weight_decay": 0.5}, 1 - 0.1 * 0.5 - 0.1),
    ],
)
def test_an_update_by_hand_and_frozen_parameters_stay(
    name: str, more: dict[str, float], expected: float
) -> None:
    moved, frozen = updated(name, **more)
    assert moved == pytest.approx(expected, abs=1e-6)
    assert frozen == 1.0


def test_every_schedule_and_optimiser_is_a_setting() -> None:
    for name in SCHEDULES:
        assert Optimizer(schedule=name).schedule == name
    for name in OPTIMIZERS:
        assert Optimizer(name=name).name == name
    assert math.isclose(Optimizer().lr, 1e-3)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("schedule", "x", "unknown schedule 'x'; there are: constant, cosine, linear-tail, steps"),
        (
            "optimizer",
            "adm",
            "unknown optimizer 'adm'; did you mean 'adam'? there are: adam, adamw, sgd",
        ),
        ("precision", "16", "unknown precision '16'; there are: 32-true, bf16-mixed"),
        ("attack_mode", "x", "unknown attack mode 'x'; there are: eval, train"),
        ("on_collapse", "x", "unknown on_collapse 'x'; there are: continue, stop"),
        ("norm", "l1", "unknown norm to train with 'l1'; there are: l0, l2, linf"),
        ("direction", "x", "unknown direction 'x'"),
        ("lr", 0, "lr=0; allowed is a positive number"),
        ("lr", math.nan, "lr=nan; allowed is a positive number"),
        ("momentum", 1, "momentum=1; allowed are"),
        ("weight_decay", -1, "weight_decay=-1, momentum"),
        ("average", 1, "average=1; allowed is a number in [0, 1), 0 for none"),
        ("average", -0.1, "average=-0.1; allowed is"),
        ("average", math.nan, "average=nan; allowed is"),
        ("batch_size", 0, "batch_size=0; allowed is 1 or more"),
        ("validation", 0, "validation=0; allowed is 1 or more"),
        ("validation_steps", 0, "validation_steps=0; allowed is 1 or more"),
        ("reach", 0, "reach=0; allowed is a positive number, in radii"),
        ("reach", math.inf, "reach=inf; allowed"),
        ("finish_reach", 3, "finish_reach=3 with finish_epochs=0; give finish_epochs and"),
        ("finish_epochs", -1, "finish_epochs=-1; allowed is 0 or more"),
        ("finish_epochs", 2, "finish_epochs=2 with finish_steps=None; give both, or neither"),
        ("finish_steps", 3, "finish_epochs=0 with finish_steps=3; give both, or neither"),
        ("finish_steps", 0, "finish_steps=0; allowed is 1 or more"),
        ("keep_every", 0, "keep_every=0; allowed is 1 or more"),
        ("final_probe", -1, "final_probe=-1; allowed is 0 or more"),
        ("devices", 0, "devices=0; allowed is 1 or more"),
        ("num_nodes", 0, "num_nodes=0; allowed is 1 or more"),
        ("collapse_patience", 0, "collapse_patience=0; allowed is 1 or more"),
        ("seed", -1, "seed=-1; allowed is 0 or more"),
        ("save_minutes", math.nan, "save_minutes=nan; allowed is 0 or more"),
        ("steps", 0, "steps=0; allowed is 1 or more"),
        ("step_size", -0.1, "step_size=-0.1; allowed is a positive number"),
    ],
)
def test_bad_settings_are_named_with_what_is_allowed(
    setting: str, value: Any, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        flat.settings(**{setting: value})
    assert message in str(caught.value)


def test_reach_is_what_the_steps_add_up_to() -> None:
    for eps in (0.01, 0.2, 0.42):
        attack = TrainingAttack(steps=3, reach=1.5).at(eps)
        assert attack.steps == 3
        assert attack.steps * (attack.step_size or 0) == pytest.approx(1.5 * eps)
    assert TrainingAttack(steps=3).at(0.2) == TrainingAttack(steps=3).pgd.at(0.2)
    with pytest.raises(UserError, match=r"reach=2 with step_size=0\.1, which it would set"):
        TrainingAttack(reach=2, step_size=0.1)


def test_the_last_epochs_take_more_and_smaller_steps() -> None:
    attack = TrainingAttack(steps=2, reach=1.5, finish_epochs=3, finish_steps=8)
    early, late = attack.at(0.4), attack.at(0.4, finishing=True)
    assert early.steps == 2
    assert early.step_size == pytest.approx(0.3)
    assert late == PGD(steps=8, keep="last")  # steps of 2.5·ε/8
    far = TrainingAttack(steps=2, finish_epochs=3, finish_steps=8, finish_reach=10, step_decay=True)
    assert far.at(0.4) == DecayingPGD(steps=2, keep="last")
    assert far.at(0.4, finishing=True) == DecayingPGD(steps=8, step_size=0.5, keep="last")


def test_the_validation_part_is_attacked_as_asked() -> None:
    assert TrainingAttack(steps=2, reach=1.5).validation_at(0.3).steps == 2
    found = TrainingAttack(steps=2, reach=1.5, validation_steps=20).validation_at(0.3)
    assert (found.steps, found.step_size) == (20, None)
    assert TrainingAttack(step_size=0.1, validation_steps=20).validation_at(0.3).step_size is None
    leaping = TrainingAttack(
        steps=2, reach=1.5, loss="margin", validation_steps=20, validation_leap=True
    )
    wanted = DecayingPGD(steps=20, leap=True, keep="last")
    assert leaping.validation_at(0.3) == wanted
    assert TrainingAttack(step_size=0.1, validation_leap=True).validation_at(0.4) == replace(
        wanted, steps=10
    )


def test_carrying_perturbations_of_images_that_move_is_refused() -> None:
    with pytest.raises(UserError, match=r"carry with augment: an image moves .* leave one of them"):
        flat.settings(carry=True, augment=True)


@pytest.mark.parametrize(
    ("settings", "eps", "message"),
    [
        (flat.settings(), 1.5, r"eps=1\.5 for linf"),
        (flat.settings(step_size=0.5), 0.1, r"leaves no step .* use step_size ≤ 0\.25"),
    ],
)
def test_a_target_without_a_step_or_outside_the_box_is_refused(
    settings, eps: float, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        settings.check_target(eps)


@given(st.integers(1, 100))
def test_the_rounding_of_the_papers_step_rule_loses_no_step(hundredths: int) -> None:
    # int(2.5·ε/0.01) is one short at ε = 0.18 and 0.36
    attack = TrainingAttack(step_size=0.01).pgd.at(hundredths / 100)
    assert attack.steps in (math.floor(2.5 * hundredths), math.ceil(2.5 * hundredths))
    assert TrainingAttack(step_size=0.01).pgd.at(0.18).steps == 45
    assert TrainingAttack(step_size=0.01).pgd.at(0.36).steps == 90
