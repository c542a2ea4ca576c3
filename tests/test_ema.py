"""The moving average of the weights."""

import math
from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import flat
from hardball import Constant, Dataset, build, fit, load_dataset
from hardball.training.ema import Average
from hardball.training.update import Update


class Scalar(nn.Module):
    """One weight and a counter."""

    count: torch.Tensor

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(0))


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=30), st.floats(0.01, 0.999))
def test_it_is_the_weighted_sum_that_its_formula_says(values: list[float], decay: float) -> None:
    model = Scalar(values[0])
    average = Average(model, decay)
    for update, value in enumerate(values[1:]):
        model.weight.data.fill_(value)
        average.add(model, update)
    decays = [min(decay, (1 + t) / (10 + t)) for t in range(len(values) - 1)]
    shares = [1.0, *(1 - d for d in decays)]
    expected = sum(
        value * share * math.prod(decays[index:])
        for index, (value, share) in enumerate(zip(values, shares, strict=True))
    )
    assert float(average.weights["weight"]) == pytest.approx(expected, abs=1e-9)


def test_counters_are_copied_and_nothing_is_shared_with_the_model() -> None:
    model = Scalar(1.0)
    average = Average(model, 0.9)
    model.count.fill_(7)
    model.weight.data.fill_(2.0)
    assert float(average.weights["weight"]) == 1.0
    average.add(model, 10**6)
    assert int(average.weights["count"]) == 7
    assert float(average.weights["weight"]) == pytest.approx(1.1)


def test_inside_the_model_has_the_average_and_afterwards_its_own_weights_again() -> None:
    model = Scalar(1.0)
    average = Average(model, 0.9)
    parameter = model.weight
    model.weight.data.fill_(5.0)
    with suppress(RuntimeError), average.inside(model):
        assert model.weight.item() == 1.0
        raise RuntimeError
    assert model.weight.item() == 5.0
    assert model.weight is parameter


def start(data: Dataset) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return build("digits_cnn", data.shape, data.classes, {"width": 8})


def test_training_is_the_same_with_it_and_what_is_kept_is_the_average(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train = load_dataset("digits")
    settings = flat.settings(steps=2, batch_size=64, lr=5e-3, validation=1000)
    seen: list[torch.Tensor] = []
    apply = Update.apply

    def noted(update: Update) -> None:
        apply(update)
        seen.append(update.model.get_parameter("logits.weight").detach().clone())

    monkeypatch.setattr(Update, "apply", noted)
    first = start(train)
    expected = first.get_parameter("logits.weight").detach().clone()
    plain = fit(start(train), train, curriculum=Constant(0.1, 3), settings=settings)
    assert len(seen) == 21
    for update, weight in enumerate(seen):
        share = 1 - min(0.8, (1 + update) / (10 + update))
        expected += share * (weight - expected)
    averaged = fit(
        start(train),
        train,
        curriculum=Constant(0.1, 3),
        settings=flat.settings(settings, average=0.8),
    )
    found = averaged.model.get_parameter("logits.weight")
    assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.allclose(found, seen[-1], atol=1e-3)
    pairs = list(zip(plain.history, averaged.history, strict=True))
    for name in ("adv_loss", "adv_accuracy", "one_class"):
        assert [a[name] for a, _ in pairs] == [b[name] for _, b in pairs]
    assert all(a["val_adv_loss"] != b["val_adv_loss"] for a, b in pairs)
