"""Training: what it learns, what it keeps, and what it leaves alone."""

import csv
import math
import os
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

import flat
from hardball import (
    Constant,
    Dataset,
    Iterative,
    Run,
    UserError,
    build,
    evaluate,
    fit,
    load_dataset,
    load_run,
    protocols,
)
from hardball.data import split_validation
from hardball.runs import FINISHED, INTERRUPTED, STOPPED
from hardball.seeding import derive
from hardball.storage import load_weights

QUICK = flat.settings(steps=3, batch_size=64, lr=5e-3, validation=300)


@pytest.fixture(scope="module")
def train() -> Dataset:
    return load_dataset("digits")


def small(data: Dataset, width: int = 8) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return build("digits_cnn", data.shape, data.classes, {"width": width})


def batch_norm_net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2),
            nn.Linear(288, 10),
        )  # fmt: skip


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def status(run: Run) -> str:
    assert run.outcome is not None
    return run.outcome.status


# --- what it learns


@pytest.mark.parametrize("make", [small, lambda _: batch_norm_net()], ids=["cnn", "batch norm"])
def test_adversarial_training_learns_held_out_digits(
    make: object, train: Dataset, digits: Dataset
) -> None:
    eps = 0.1
    run = fit(make(train), train, curriculum=Constant(eps, 12), settings=QUICK)  # type: ignore[operator]
    found = evaluate(run.model, digits, eps=eps, attacks=protocols.quick)
    assert status(run) == FINISHED
    assert found.clean.value > 0.8
    assert found.worst[eps].value > 0.55
    losses = [row["adv_loss"] for row in run.history]
    assert losses[-1] < losses[0] / 2


def test_adversarial_training_beats_standard_training_under_attack(
    train: Dataset, digits: Dataset
) -> None:
    scores = {}
    for eps in (0.0, 0.15):
        run = fit(small(train), train, curriculum=Constant(eps, 10), settings=QUICK)
        found = evaluate(run.model, digits, eps=0.15, attacks=protocols.quick)
        scores[eps] = found.worst[0.15].value
    assert scores[0.15] > scores[0.0] + 0.2


def test_at_eps_0_it_is_plain_training_bit_for_bit(train: Dataset) -> None:
    settings = flat.settings(QUICK, schedule="cosine")
    run = fit(small(train), train, curriculum=Constant(0.0, 2), settings=settings)

    model = small(train).to(memory_format=torch.channels_last)
    part, _ = split_validation(train, 300, settings.seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.optimizer.lr, fused=True)
    steps = math.ceil(len(part) / settings.batch_size)
    for epoch in range(2):
        shuffle = torch.Generator().manual_seed(derive(settings.seed, epoch))
        order = torch.randperm(len(part), generator=shuffle)
        for step, rows in enumerate(order.split(settings.batch_size)):
            optimizer.param_groups[0]["lr"] = (
                settings.optimizer.lr * (1 + math.cos(math.pi * (epoch + step / steps) / 2)) / 2
            )
            optimizer.zero_grad()
            images = part.images[rows].contiguous(memory_format=torch.channels_last)
            losses = nn.functional.cross_entropy(model(images), part.labels[rows], reduction="none")
            (losses.sum() * (1 / len(rows))).backward()
            optimizer.step()
    assert same(weights(run.model), weights(model))


def test_extending_starts_from_the_weights_given(train: Dataset) -> None:
    first = fit(small(train), train, curriculum=Constant(0.05, 8), settings=QUICK)
    wide = fit(first.model, train, curriculum=Constant(0.1), epochs=2, settings=QUICK)
    fresh = fit(small(train), train, curriculum=Constant(0.1, 2), settings=QUICK)
    assert wide.history[0]["adv_loss"] < 0.6 * fresh.history[0]["adv_loss"]
    assert wide.model is first.model


def test_the_same_call_gives_the_same_weights_and_another_seed_others(train: Dataset) -> None:
    ramp = Iterative(0.1, ramp_epochs=2, per="step")
    one, again, other = (
        weights(
            fit(small(train), train, curriculum=ramp, settings=flat.settings(QUICK, seed=s)).model
        )
        for s in (0, 0, 1)
    )
    assert same(one, again)
    assert not same(one, other)


@pytest.mark.parametrize(
    "more",
    [
        {"norm": "l2", "steps": 3},
        {"norm": "l2", "direction": "raw", "step_size": 5.0},
        {"optimizer": "sgd", "lr": 0.05, "schedule": "steps", "weight_decay": 5e-4},
        {"optimizer": "adamw", "schedule": "linear-tail", "random_start": False},
        {"augment": True, "attack_mode": "train"},
        {"precision": "bf16-mixed"},
        {"batch_size": 5000},
        {"batch_size": 1136},  # one example is left for the last update
    ],
    ids=str,
)
def test_every_setting_trains(more: dict[str, Any], train: Dataset) -> None:
    settings = flat.settings(QUICK, **more)
    run = fit(small(train), train, curriculum=Constant(0.1, 2), settings=settings)
    assert status(run) == FINISHED
    assert all(math.isfinite(value) for row in run.history for value in row.values())


# --- what it keeps


class Worsening(nn.Module):
    """Adversarially fine until the `at`-th epoch, then its logits are spoiled for good."""

    def __init__(self, inner: nn.Module, updates: int) -> None:
        super().__init__()
        self.inner = inner
        self.left = updates

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        if self.training and torch.is_grad_enabled():
            self.left -= 1
        return logits if self.left >= 0 else logits.roll(1, dims=1) * 3


def test_the_automatic_stop_keeps_the_last_good_weights(train: Dataset, tmp_path: Path) -> None:
    settings = flat.settings(QUICK, lr=1e-3, validation=1000)  # 7 updates per epoch
    ramp = Iterative(0.1, ramp_epochs=20)
    started = weights(fit(small(train), train, curriculum=Constant(0.05, 12), settings=QUICK).model)

    def begun() -> nn.Module:
        model = small(train)
        model.load_state_dict(started)
        return model

    model = Worsening(begun(), updates=7 * 8)
    run = fit(model, train, curriculum=ramp, settings=settings, out=tmp_path / "r")
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.epochs) == (STOPPED, 10)
    assert run.outcome.eps == run.history[7]["eps"] == ramp.eps_at(7)
    for part in ("asked for ε=0.1", "learned up to ε=0.04", "weights of ε=0.04 are kept"):
        assert part in run.outcome.message
    eight = Iterative(ramp.eps_at(7), ramp_epochs=8)
    alone = fit(begun(), train, curriculum=eight, settings=settings)
    assert same(weights(model.inner), weights(alone.model))
    from_file = Worsening(small(train), updates=0)
    load_weights(from_file, tmp_path / "r" / "weights.safetensors")
    assert same(weights(from_file), weights(model))


def test_without_permission_to_stop_it_goes_on(train: Dataset) -> None:
    model = Worsening(small(train), updates=7 * 5)
    ramp = Iterative(0.05, ramp_epochs=9, may_stop=False)
    settings = flat.settings(QUICK, validation=1000, on_collapse="continue")
    run = fit(model, train, curriculum=ramp, settings=settings)
    assert len(run.history) == 9


# --- what it writes


def test_the_run_folder_says_what_was_asked_and_what_came_of_it(
    train: Dataset, tmp_path: Path
) -> None:
    about = {
        "data": {"name": "digits", "root": "data"},
        "model": {"name": "digits_cnn", "args": {"width": 8}, "shape": [1, 8, 8], "classes": 10},
    }
    ramp = Iterative(0.09, increment=0.04, per="step")
    run = fit(small(train), train, curriculum=ramp, settings=QUICK, out=tmp_path / "r", about=about)
    with (tmp_path / "r" / "metrics.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    assert rows == run.history
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["eps"] for row in rows] == [0.04, 0.08, 0.09]
    assert [row["sample_steps"] for row in rows] == [3 * 1137, 6 * 1137, 9 * 1137]

    events = EventAccumulator(str(tmp_path / "r"))
    events.Reload()
    for name in rows[0].keys() - {"epoch"}:
        found = {event.step: event.value for event in events.Scalars(name)}
        assert found == {row["epoch"]: pytest.approx(row[name], rel=1e-6) for row in rows}

    again = load_run(tmp_path / "r")
    assert same(weights(again.model), weights(run.model))
    assert again.outcome == run.outcome
    assert again.config == run.config


def test_the_weights_of_some_epochs_are_kept_on_request(train: Dataset, tmp_path: Path) -> None:
    settings = flat.settings(QUICK, validation=1000, keep_every=2, average=0.5)
    run = fit(
        small(train), train, curriculum=Constant(0.1, 5), settings=settings, out=tmp_path / "r"
    )
    assert run.folder is not None
    kept = sorted((tmp_path / "r" / "epochs").iterdir())
    assert kept == [run.folder.epoch_file(2), run.folder.epoch_file(4)]
    alone = fit(small(train), train, curriculum=Constant(0.1, 4), settings=settings)
    again = small(train)
    load_weights(again, kept[-1])
    assert same(weights(again), weights(alone.model))


def test_nothing_is_written_without_a_folder(
    train: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit(small(train), train, curriculum=Constant(0.1, 1), settings=QUICK)
    assert not list(tmp_path.iterdir())


# --- what it leaves alone


def test_the_callers_random_state_and_data_are_untouched(train: Dataset) -> None:
    def states() -> tuple[object, ...]:
        return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())  # noqa: NPY002

    before, images = states(), train.images.clone()
    settings = flat.settings(QUICK, augment=True)
    fit(batch_norm_net(), train, curriculum=Constant(0.1, 1), settings=settings)
    assert states() == before
    assert torch.equal(train.images, images)


def test_the_validation_part_is_never_trained_on(train: Dataset) -> None:
    part, held = split_validation(train, 300, QUICK.seed)
    assert len(part) + len(held) == len(train)
    spoiled = replace(held, labels=(held.labels + 1) % 10, images=1 - held.images)
    runs = [
        fit(small(train), part, curriculum=Constant(0.1, 2), settings=QUICK, validation=v)
        for v in (held, spoiled)
    ]
    implied = fit(small(train), train, curriculum=Constant(0.1, 2), settings=QUICK)
    assert same(weights(runs[0].model), weights(runs[1].model))
    assert same(weights(runs[0].model), weights(implied.model))
    assert runs[1].history[-1]["val_accuracy"] < runs[0].history[-1]["val_accuracy"]


def test_more_validation_steps_find_more_and_change_no_weight(train: Dataset) -> None:
    weak = flat.settings(QUICK, steps=1, reach=0.5)
    runs = [
        fit(small(train), train, curriculum=Constant(0.1, 2), settings=settings)
        for settings in (weak, flat.settings(weak, validation_steps=20))
    ]
    assert same(weights(runs[0].model), weights(runs[1].model))
    assert runs[1].history[-1]["val_adv_loss"] > runs[0].history[-1]["val_adv_loss"]
    assert runs[1].history[-1]["sample_steps"] == runs[0].history[-1]["sample_steps"]


def test_a_finish_trains_its_epochs_as_if_they_were_steps_of_their_own(train: Dataset) -> None:
    """Their number, from fresh starts whatever was carried before."""
    part, held = split_validation(train, 300, QUICK.seed)

    def weights_after(carry: bool, **more: int) -> tuple[dict[str, torch.Tensor], list[float]]:
        settings = flat.settings(QUICK, steps=1, carry=carry, **more)
        run = fit(
            small(train), part, curriculum=Constant(0.1, 3), settings=settings, validation=held
        )
        return weights(run.model), [row["sample_steps"] for row in run.history]

    finished, cost = weights_after(False, finish_epochs=2, finish_steps=3)
    assert cost == [n * len(part) for n in (1, 4, 7)]
    # nothing is carried into the finish or inside it; before it, the first epoch has nothing yet
    assert same(finished, weights_after(True, finish_epochs=2, finish_steps=3)[0])
    assert not same(finished, weights_after(False)[0])
    # a finish as long as the training is training with its steps
    throughout = flat.settings(QUICK, steps=3, reach=2.5)
    run = fit(small(train), part, curriculum=Constant(0.1, 3), settings=throughout, validation=held)
    assert same(weights(run.model), weights_after(True, finish_epochs=3, finish_steps=3)[0])


class Watching(nn.Module):
    """Notes the mode and the largest value of every pass."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.modes: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append(self.training)
        logits: Tensor = self.inner(images)
        return logits


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_batch_norm_sees_each_batch_once_in_either_attack_mode(mode: str, train: Dataset) -> None:
    model = Watching(batch_norm_net())
    settings = flat.settings(QUICK, attack_mode=mode, validation=1000)
    fit(model, train, curriculum=Constant(0.1, 1), settings=settings)
    counted = model.inner.get_buffer("1.num_batches_tracked")
    assert int(counted) == 7  # updates; the attack's 3 passes in each leave no trace
    assert sum(model.modes) == (7 if mode == "eval" else 7 * 4 + 3 * 2)


def test_a_layer_kept_in_evaluation_mode_stays_so(train: Dataset) -> None:
    model = batch_norm_net()
    model.get_submodule("1").eval()
    fit(model, train, curriculum=Constant(0.1, 1), settings=QUICK)
    assert int(model.get_buffer("1.num_batches_tracked")) == 0


# --- refusals


class Pair(nn.Linear):
    def forward(self, images: Tensor) -> Tensor:  # a tuple, in fact
        return super().forward(images.flatten(1)), None  # type: ignore[return-value]


class Flat(nn.Linear):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.flatten(1)).flatten()


REFUSED: dict[str, tuple[nn.Module | None, dict[str, Any], str]] = {
    "classes": (nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), {}, "7 outputs for the 10 classes"),
    "no logits": (Flat(64, 1), {}, r"the model returned shape \[2\] for 2 images"),
    "no parameters": (nn.Flatten(), {}, "nothing to train"),
    "a tuple": (Pair(64, 10), {}, "the model returned tuple"),
    "validation": (None, {"settings": flat.settings(validation=1437)}, "`validation=1437` of 1437"),
    "eps": (None, {"curriculum": Constant(1.2)}, r"eps=1\.2 for linf"),
    "accelerator": (None, {"settings": flat.settings(accelerator="abacus")}, "accelerator=abacus"),
    "strategy": (None, {"settings": flat.settings(strategy="hope")}, "strategy=hope"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_before_anything_is_written(
    name: str, train: Dataset, tmp_path: Path
) -> None:
    model, more, message = REFUSED[name]
    arguments: dict[str, Any] = {"curriculum": Constant(0.1, 1), "out": tmp_path / "r", **more}
    with pytest.raises(UserError, match=message) as caught:
        fit(model or small(train), train, **arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()


def test_a_folder_that_holds_a_run_is_refused_and_left_whole(
    train: Dataset, tmp_path: Path
) -> None:
    fit(small(train), train, curriculum=Constant(0.1, 1), settings=QUICK, out=tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match="already holds a run; continue it with `resume="):
        fit(small(train), train, curriculum=Constant(0.2, 1), settings=QUICK, out=tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


class Signalled(nn.Module):
    """Sends its process a signal in the twentieth pass."""

    def __init__(self, net: nn.Module, number: signal.Signals) -> None:
        super().__init__()
        self.net, self.number, self.passes = net, number, 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        if self.passes == 20:
            os.kill(os.getpid(), self.number)
        logits: Tensor = self.net(images)
        return logits


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_the_script_unless_a_folder_keeps_the_state(number, train, tmp_path):
    def trained(out: Path | None = None) -> Run:
        model = Signalled(small(train), number)
        return fit(model, train, curriculum=Constant(0.1), epochs=2, settings=QUICK, out=out)

    with pytest.raises(KeyboardInterrupt, match="epoch 1; give out= a folder"):
        trained()
    run = trained(tmp_path / "run")
    assert run.outcome is not None
    assert run.outcome.status == INTERRUPTED
    assert str(tmp_path / "run") in run.outcome.message
