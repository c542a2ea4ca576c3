"""Doubtful input: a named warning, recorded too, and every example still counts."""

import itertools
import warnings
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hardball import PGD, evaluate, fgsm
from hardball.attacks import AutoAttackPart
from hardball.evaluation.sanity import UNLIKELY, Doubt, chance_of_at_most
from hardball.evaluation.witnesses import as_safetensors

ATTACKS = {"sign": fgsm(), "pgd": PGD(steps=3), "margin": PGD(steps=2, loss="dlr")}


@pytest.fixture(scope="module")
def some(digits):
    return digits.rows(slice(0, 120))


def doubted(name, model, data, **more):
    """The evaluation of what raises exactly one warning, of this name."""
    with pytest.warns(Doubt) as noted:
        found = evaluate(model, data, **dict[str, Any](eps=0.1, attacks=ATTACKS) | more)
    assert [str(note.message).partition(":")[0] for note in noted] == [name]
    assert found.doubts == tuple(str(note.message) for note in noted)
    assert found.as_json()["warnings"] == list(found.doubts)
    assert found.clean.n == len(data)
    return found


def test_a_healthy_evaluation_raises_none(digits_net, some):
    with warnings.catch_warnings(action="error"):
        found = evaluate(digits_net, some, eps=0.1, attacks=ATTACKS)
    assert found.doubts == ()
    assert 0 < found.clean.right < 120


def test_labels_that_are_predictions(digits_net, some):
    with torch.no_grad():
        predicted = digits_net(some.images).argmax(1)
    same = replace(some, labels=predicted)
    assert doubted("labels like predictions", digits_net, same).clean.right == 120
    with warnings.catch_warnings(action="error"):  # of few images all may well be right
        evaluate(digits_net, same.rows(slice(0, 99)), eps=0.1, attacks=ATTACKS)


def test_absent_classes(digits_net, some):
    kept = (some.labels != 3) & (some.labels != 7)
    found = doubted("absent classes", digits_net, some.rows(kept))
    assert "no image of class 3, 7 among" in found.doubts[0]
    with warnings.catch_warnings(action="error"):  # what chance leaves out is no doubt
        evaluate(digits_net, some.rows(slice(0, 4)), eps=0.1, attacks=ATTACKS)


@given(classes=st.integers(1, 4), n=st.integers(1, 6), present=st.integers(0, 4))
def test_the_chance_of_few_classes_equals_enumeration(classes, n, present):
    draws = [len(set(draw)) for draw in itertools.product(range(classes), repeat=n)]
    expected = sum(found <= present for found in draws) / len(draws)
    assert chance_of_at_most(min(present, classes), n, classes) == pytest.approx(expected)


def test_a_sorted_selection_is_doubted_at_once():
    """Twenty images of one class out of ten: no accident."""
    assert chance_of_at_most(1, 20, 10) < UNLIKELY < chance_of_at_most(9, 20, 10)


def test_nothing_to_attack(digits_net, some):
    with torch.no_grad():
        predicted = digits_net(some.images).argmax(1)
    wrong = replace(some, labels=(predicted + 1) % 10)
    found = doubted("nothing to attack", digits_net, wrong)
    assert found.worst[0.1].right == found.clean.right == 0
    assert [score.attacked for score in found.scores] == [0, 0, 0]
    assert set(found.broken_by) == {"none"}


class SometimesNaN(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images):
        dark = images.flatten(1).mean(1, keepdim=True) < 0.27
        return torch.where(dark, torch.nan, self.model(images))


def test_nan_outputs_count_as_errors(digits_net, some):
    dark = some.images.flatten(1).mean(1) < 0.27
    assert 0 < dark.sum() < 60
    found = doubted("NaN outputs", SometimesNaN(digits_net), some)
    assert f"no numbers for {int(dark.sum())} of 120 images" in found.doubts[0]
    assert (found.broken_at[dark] == 0).all()
    assert found.worst[0.1].right > 0


class LeftOn(nn.Module):
    """Dropout that no mode turns off, drawn anew at each pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images):
        return F.dropout(self.model(images), 0.3, training=True)


def test_a_model_that_stays_stochastic(digits_net, some):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        doubted("stochastic model", LeftOn(digits_net), some, attacks={"sign": fgsm()})


def test_dropout_left_in_training_mode_is_switched_off(digits_net, some):
    model = nn.Sequential(deepcopy(digits_net), nn.Dropout(0.5)).train()
    with warnings.catch_warnings(action="error"):
        found = evaluate(model, some, eps=0.1, attacks=ATTACKS)
    assert found.worst == evaluate(digits_net, some, eps=0.1, attacks=ATTACKS).worst
    assert model.training


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_evaluated_as_it_is(dtype, digits_net, some):
    model = deepcopy(digits_net).to(dtype)
    found = doubted("half precision", model, some)
    whole = evaluate(digits_net, some, eps=0.1, attacks=ATTACKS)
    assert found.witnesses.dtype == torch.float32
    assert abs(found.worst[0.1].right - whole.worst[0.1].right) <= 6
    as_safetensors(model, some, found, weights_sha256="", data_sha256="")


def test_double_precision_is_no_doubt(digits_net, some):
    model = deepcopy(digits_net).double()
    with warnings.catch_warnings(action="error"):
        found = evaluate(model, some, eps=0.1, attacks=ATTACKS)
    assert found.clean == evaluate(digits_net, some, eps=0.1, attacks=ATTACKS).clean


class Squashed(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images).softmax(dim=1)


def test_autoattacks_own_flags_are_told_where_it_runs(digits_net, some):
    few = some.rows(slice(0, 20))
    part = AutoAttackPart(name="square", queries=2)
    model = Squashed(deepcopy(digits_net)).to(memory_format=torch.channels_last)
    found = doubted("AutoAttack flag", model, few, attacks={"square": part})
    assert "probabilities: the outputs are probabilities" in found.doubts[0]
    assert "return what goes into the softmax" in found.doubts[0]
    with warnings.catch_warnings(action="error"):
        evaluate(digits_net, few, eps=0.1, attacks={"square": part})
        evaluate(model, few, eps=0.1, attacks={"sign": fgsm()})


def test_a_model_without_gradients_raises_no_flag(digits_net, some):
    """They look at gradients, which Square does not need."""
    few, part = some.rows(slice(0, 20)), AutoAttackPart(name="square", queries=2)
    with warnings.catch_warnings(action="error"):
        evaluate(lambda x: digits_net(x).detach(), few, eps=0.1, attacks={"square": part})
