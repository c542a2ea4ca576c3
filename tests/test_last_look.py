"""The probe at the end of a training: it tells masking, changes nothing, and costs little."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flat
from commands import TINY, Signal, run, run_two
from hardball import (
    Constant,
    Dataset,
    GaussianNoise,
    Run,
    Settings,
    build,
    fit,
    load_dataset,
    storage,
)
from hardball.runs import FINISHED, RunFolder
from hardball.training import TrainingAttack
from hardball.training.curricula.steering import Probe
from hardball.training.last_look import LEAST, SHARE, is_masked
from test_resume import result

HIDING = TrainingAttack(steps=1, step_size=0.5, random_start=False)
"""One large step from the image itself: a network learns that attack, not the threat."""


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="module")
def bw() -> Dataset:
    return load_dataset("digits-bw")


def wide(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def probe_of(trained: Run) -> dict[str, Any]:
    assert trained.outcome is not None
    assert trained.outcome.probe is not None
    return trained.outcome.probe


@pytest.fixture(scope="module")
def hiding(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = flat.settings(batch_size=64, lr=3e-3, validation=300, final_probe=100)
    out = tmp_path_factory.mktemp("hiding") / "r"
    rule = Constant(0.3, epochs=30)
    return fit(wide(), digits, curriculum=rule, attack=HIDING, settings=settings, out=out)


def test_planted_masking_is_said(hiding: Run) -> None:
    found, outcome = probe_of(hiding), hiding.outcome
    assert outcome is not None
    assert outcome.status == FINISHED  # the weights are what was asked for; the message judges them
    assert (found["n"], found["masked"]) == (100, True)
    assert found["accuracy"] < 0.6 * found["trained"]
    assert outcome.message.startswith("finished 30 epochs at ε=0.3; probe of 100 held-out images")
    shown = (
        f"{found['trained']:.1%} withstand the training attack, {found['accuracy']:.1%} stronger"
    )
    assert shown in outcome.message
    assert ": masked, " in outcome.message
    assert "hardball train --curriculum adaptive --eps 0.3" in outcome.message


def test_the_figures_are_those_of_the_first_held_out_images(hiding: Run, digits: Dataset) -> None:
    """The training attack has no random start, so it can be repeated by hand: one step along the
    gradient's sign. What it breaks, the probe counts as broken; the probe breaks more."""
    settings = Settings(validation=300)
    some = settings.hold_out(digits)[1].rows(slice(0, 100))
    images = some.images.clone().requires_grad_()
    model = hiding.model.eval()
    loss = nn.functional.cross_entropy(model(images), some.labels, reduction="sum")
    (slope,) = torch.autograd.grad(loss, images)
    moved = (some.images + (0.5 * slope.sign()).clamp(-0.3, 0.3)).clamp(0, 1)
    right = (model(moved).argmax(dim=1) == some.labels).float().mean()
    found = probe_of(hiding)
    assert found["trained"] == pytest.approx(float(right), abs=0.011)
    left = [found["trained"], *found["by"].values()]
    assert left == sorted(left, reverse=True)  # each attack begins with what the last one left
    assert found["accuracy"] == left[-1]


def test_a_network_that_does_not_hide_is_not_accused(bw: Dataset) -> None:
    settings = flat.settings(steps=5, batch_size=16, lr=1e-2, validation=1000, final_probe=100)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build("digits_cnn", bw.shape, bw.classes, {"width": 8})
    trained = fit(network, bw, curriculum=Constant(0.05, epochs=6), settings=settings)
    found = probe_of(trained)
    assert found["trained"] > 0.5
    assert found["accuracy"] > 0.8 * found["trained"]
    assert not found["masked"]
    assert trained.outcome is not None
    assert trained.outcome.message == "finished 6 epochs at ε=0.05"


def test_it_changes_nothing_else(digits: Dataset, hiding: Run) -> None:
    settings = flat.settings(batch_size=64, lr=3e-3, validation=300, final_probe=0)
    rule = Constant(0.3, epochs=30)
    without = fit(wide(), digits, curriculum=rule, attack=HIDING, settings=settings)
    assert without.outcome is not None
    assert without.outcome.probe is None
    ours, theirs = without.model.state_dict(), hiding.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    same = ("epoch", "adv_loss", "val_adv_loss", "sample_steps")
    for mine, other in zip(without.history, hiding.history, strict=True):
        assert [mine[name] for name in same] == [other[name] for name in same]
    assert hiding.outcome is not None
    assert without.outcome.sample_steps == hiding.outcome.sample_steps


class Counts(nn.Module):
    """Counts the images that it is shown."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.seen = inner, 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        logits: Tensor = self.inner(images)
        return logits


def test_it_costs_little_of_a_training_and_nothing_of_a_short_one(digits: Dataset) -> None:
    def seen(epochs: int, asked: int | None) -> tuple[int, int]:
        settings = flat.settings(steps=2, batch_size=256, validation=100, final_probe=asked)
        model = Counts(wide())
        trained = fit(model, digits, curriculum=Constant(0.1, epochs=epochs), settings=settings)
        assert trained.outcome is not None
        return model.seen, (trained.outcome.probe or {"n": 0})["n"]

    assert seen(2, None) == seen(2, 0)
    (without, none), (usual, n) = seen(60, 0), seen(60, None)
    assert none == 0
    assert LEAST <= n < 100
    # in images shown to the network: a pass forward alone counts as one here, and as a third there
    assert 0 < usual - without < 3 * SHARE * without


@pytest.mark.parametrize("kind", ["clean", "noise"])
def test_where_nothing_attacks_nothing_is_probed(digits: Dataset, kind: str) -> None:
    settings = flat.settings(batch_size=256, validation=100, final_probe=50)
    objective, eps = (GaussianNoise(), 0.25) if kind == "noise" else (None, 0.0)
    rule = Constant(eps, epochs=1)
    trained = fit(wide(), digits, curriculum=rule, settings=settings, objective=objective)
    assert trained.outcome is not None
    assert trained.outcome.probe is None


WORDS = ("train", "--data", "digits-bw", *TINY, "--eps", 0.1, "--final-probe", 30, "--epochs", 2)


def test_the_command_says_it_after_the_last_epoch(tmp_path: Path) -> None:
    code, out, err = run([*WORDS, "--out", "r"], tmp_path)
    assert (code, err) == (0, "")
    *_, epoch, said, last = out.splitlines()
    assert epoch.startswith("epoch 2 ")
    found = RunFolder(tmp_path / "r").outcome()
    assert found is not None
    assert found.probe is not None
    assert said == (
        f"probe of 30 held-out images at ε=0.1: {found.probe['trained']:.1%} withstand the training "
        f"attack, {found.probe['accuracy']:.1%} stronger ones as well"
    )
    assert last == "finished: r"


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    """From the same weights, of which a learning rate of nearly nothing leaves the accuracies."""
    words = [*WORDS, "--lr", 1e-12, "--out"]
    assert run([*words, "one"], tmp_path)[0] == 0
    assert [code for code, *_ in run_two([*words, "two"], tmp_path)] == [0, 0]
    one, two = (RunFolder(tmp_path / name).outcome() for name in ("one", "two"))
    assert one is not None
    assert two is not None
    assert one.probe is not None
    assert one.probe == two.probe


def test_killed_in_the_probe_it_is_made_again(tmp_path: Path) -> None:
    assert run([*WORDS, "--out", "whole"], tmp_path)[0] == 0
    kill = Signal(at="hardball.training.last_look:probe", count=1)
    assert run([*WORDS, "--out", "r"], tmp_path, planned=kill)[0] == -signal.SIGKILL
    assert RunFolder(tmp_path / "r").outcome() is None
    assert run(["train", "--resume", "r"], tmp_path)[0] == 0
    assert result(tmp_path / "r") == result(tmp_path / "whole")
    ours, theirs = (RunFolder(tmp_path / name).outcome() for name in ("r", "whole"))
    assert ours is not None
    assert theirs is not None
    assert ours.probe == theirs.probe


def test_a_run_of_an_earlier_version_has_none(hiding: Run) -> None:
    assert hiding.folder is not None
    content = json.loads(hiding.folder.outcome_file.read_text())
    del content["probe"]
    text = json.dumps(content | {storage.SEAL: storage.UNSEALED}, indent=2, ensure_ascii=False)
    older = RunFolder(hiding.folder.path.parent / "older")
    older.path.mkdir()
    older.outcome_file.write_bytes(storage.sealed(text.encode()))
    found = older.outcome()
    assert found is not None
    assert (found.status, found.probe) == (FINISHED, None)


@pytest.mark.parametrize(
    ("n", "trained", "accuracy", "chance", "expected"),
    [
        (100, 0.9, 0.53, 0.1, True),
        (100, 0.9, 0.54, 0.1, False),
        (100, 0.2, 0.1, 0.1, True),  # no more than chance is left
        (100, 0.15, 0.0, 0.1, False),  # nothing was learned that could be hidden
        (20, 0.2, 0.0, 0.1, False),  # four of twenty are no more than luck
        (1000, 0.2, 0.11, 0.1, True),
        (50, 1.0, 0.5, 0.5, True),
    ],
)
def test_who_is_called_masked(
    n: int, trained: float, accuracy: float, chance: float, expected: bool
) -> None:
    found = Probe(n=n, trained=trained, accuracy=accuracy, by={}, sample_steps=1)
    assert is_masked(found, chance) == expected
