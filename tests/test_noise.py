"""Training with Gaussian noise: what is trained on, what is measured, and the curricula along σ."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor, nn

import flat
from commands import Signal, run
from hardball import (
    Adaptive,
    Constant,
    Dataset,
    GaussianNoise,
    Iterative,
    Settings,
    TrainingAttack,
    UserError,
    build,
    fit,
    load_dataset,
    load_run,
)
from hardball.commands.measure import trained_eps
from hardball.runs import COLLAPSED, FINISHED, noise_of
from hardball.training.messages import of_noise
from test_resume import result

NOISE = Settings(objective=GaussianNoise(), batch_size=32, validation=1000)
QUICK = flat.settings(NOISE, lr=5e-3)


@pytest.fixture(scope="module")
def train() -> Dataset:
    return load_dataset("digits")


def small(data: Dataset, width: int = 8) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build("digits_cnn", data.shape, data.classes, {"width": width})


class Seen(nn.Module):
    """A network that keeps what it was given in training mode, and in evaluation mode."""

    def __init__(self, data: Dataset) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, data.classes))
        self.trained: list[Tensor] = []
        self.measured: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        (self.trained if self.training else self.measured).append(images.detach().clone())
        logits: Tensor = self.net(images)
        return logits


def grey(data: Dataset) -> Dataset:
    """Every pixel ½: what differs from it is noise."""
    return Dataset(
        name="grey",
        images=torch.full_like(data.images, 0.5),
        labels=data.labels,
        classes=data.classes,
    )


def test_training_examples_are_the_images_and_unclipped_gaussian_noise(train: Dataset) -> None:
    data = grey(train)
    model = Seen(data)
    course = Iterative(2.0, ramp_epochs=2, per="step", may_stop=False)
    fit(model, data, curriculum=course, settings=QUICK)
    steps = len(model.trained) // 2
    for place, batch in enumerate(model.trained):
        sigma = min(2.0, 2.0 * (place + 1) / (2 * steps))
        noise = (batch - 0.5) / sigma
        assert kstest(noise.flatten().numpy(), "norm").pvalue > 1e-5
    assert model.trained[-1].max() > 4
    assert model.trained[-1].min() < -3
    drawn = torch.cat(model.trained)
    assert len(drawn.flatten(1).unique(dim=0)) == len(drawn)  # new noise for every image and epoch


def test_validation_is_under_the_same_noise_in_every_epoch(train: Dataset) -> None:
    data = grey(train)
    model = Seen(data)
    found = fit(model, data, curriculum=Constant(0.5, epochs=2), settings=QUICK)
    noisy = [batch for batch in model.measured if (batch != 0.5).any()]
    first, second = noisy[: len(noisy) // 2], noisy[len(noisy) // 2 :]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert float((first[0] - 0.5).std()) == pytest.approx(0.5, rel=0.02)
    assert {"val_accuracy", "val_adv_accuracy", "val_adv_loss"} <= found.history[0].keys()
    # one sample-step for each noisy example
    assert [row["sample_steps"] for row in found.history] == [437.0, 874.0]


def test_it_learns_to_see_through_noise(train: Dataset) -> None:
    model = small(train)
    found = fit(model, train, curriculum=Constant(0.3, epochs=8), settings=QUICK)
    assert found.outcome is not None
    assert found.outcome.status == FINISHED
    assert "σ=0.3" in found.outcome.message
    assert found.config["norm"] == "l2"
    assert found.config["objective"]["name"] == "noise"
    assert found.history[-1]["val_adv_accuracy"] > 0.5
    assert found.history[-1]["val_accuracy"] > found.history[-1]["val_adv_accuracy"]
    assert noise_of(found.config) == 0.3
    with pytest.raises(UserError, match="trained with noise, not for an ε"):
        trained_eps(Path("runs/x"), found.config)


def test_noise_that_drowns_everything_is_seen_as_a_collapse(train: Dataset) -> None:
    hard = flat.settings(QUICK, lr=0.5, collapse_patience=1)
    found = fit(small(train), train, curriculum=Constant(100.0, epochs=6), settings=hard)
    assert found.outcome is not None
    assert found.outcome.status == COLLAPSED
    assert "collapse at σ=100" in found.outcome.message
    assert "--noise 100" in found.outcome.message
    assert "ε" not in found.outcome.message


def test_the_adaptive_curriculum_finds_a_largest_sigma_without_a_probe(
    train: Dataset, tmp_path: Path
) -> None:
    rule = Adaptive(50.0, increment=10.0, resolution=5.0, patience=2, longest=6, finish=2)
    found = fit(small(train), train, curriculum=rule, settings=QUICK, out=tmp_path / "r")
    assert found.outcome is not None
    assert 0 <= found.outcome.eps < 50
    lines = (tmp_path / "r" / "decisions.jsonl").read_text().splitlines()
    assert all(json.loads(line)["evidence"]["probe"] is None for line in lines)
    assert not any("ε" in json.loads(line)["reason"] for line in lines)


def test_a_budget_counts_noisy_examples(train: Dataset) -> None:
    with pytest.raises(UserError, match="an epoch of 437 sample-steps"):
        fit(small(train), train, curriculum=Adaptive(1.0, budget_steps=400), settings=QUICK)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"attack": TrainingAttack(steps=20)}, "steps=20 in training with noise"),
        ({"attack": TrainingAttack(carry=True)}, "carry=True in training with noise"),
        ({"norm": "l0"}, "norm=l0"),
    ],
)
def test_settings_of_an_attack_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Settings(objective=GaussianNoise(), **values)


def test_sigma_zero_is_refused(train: Dataset) -> None:
    with pytest.raises(UserError, match="noise=0; allowed is a σ above 0"):
        fit(small(train), train, curriculum=Constant(0.0), settings=QUICK)


def test_messages_speak_of_sigma() -> None:
    said = of_noise("raise ε: hardball train --eps-max 1, or hardball extend RUN --eps 2")
    assert said == "raise σ: hardball train --noise 1, or hardball extend RUN --noise 2"


# --- the command

TINY = ("--batch-size", "64", "--validation", "1000", "--model-args", "{width: 4}")
KINDS = {
    "constant": ("--noise", 0.5, "--epochs", 3),
    "ramp": ("--noise", 0.5, "--curriculum", "iterative", "--ramp-epochs", 3, "--average", 0.9),
    "adaptive": (
        *("--noise", 0.6, "--curriculum", "adaptive", "--increment", 0.2, "--epochs", 4),
        *("--finish", 1),
    ),
}
UPDATE = "hardball.training.update:Update.apply"


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_resumed_ends_bitwise_as_without_the_kill(kind: str, tmp_path: Path) -> None:
    def words(out: str, *more: object) -> list[object]:
        return ["train", *TINY, *KINDS[kind], "--out", out, *more]

    assert run(words("whole"), tmp_path)[0] == 0
    kill = Signal(at=UPDATE, count=11, number=signal.SIGKILL)
    assert run(words("r", "--save-minutes", 0), tmp_path, planned=kill)[0] == -signal.SIGKILL
    assert run(["train", "--resume", "r"], tmp_path)[0] == 0
    assert result(tmp_path / "r") == result(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--noise 1 --eps 0.3", "--eps 0.3 beside --noise 1"),
        ("--noise 1 --eps-max 0.3 --curriculum adaptive", "--eps-max 0.3 beside --noise 1"),
        ("--noise=1 --norm linf", "--norm linf beside --noise 1"),
        ("--noise 1 --objective trades", "--objective trades beside --noise 1"),
        ("--noise 1 --steps 20", "steps=20 in training with noise"),
        ("--noise 0", "noise=0; allowed is a finite σ above 0"),
        ("--noise -1", "noise=-1; allowed"),
        ("--noise inf", "noise=inf; allowed"),
        ("--noise much", "noise=much; allowed"),
        ("--noise 1 --resume r", "--resume r beside --noise 1"),
        ("--config c.yaml", "noise=1 in a --config file"),
        ("--config e.yaml --noise 1", "--eps 0.3 beside --noise 1"),
    ],
)
def test_contradictions_are_one_line(words: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("noise: 1\neps: 0.2\n")
    (tmp_path / "e.yaml").write_text("eps: 0.3\n")
    code, _, err = run(["train", *words.split()], tmp_path)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_extensions_from_an_attack_to_noise_and_back(tmp_path: Path) -> None:
    attack = ("--norm", "l2", "--steps", 2, "--objective", "trades")
    begun = ["train", "--eps", 0.1, "--epochs", 1, *attack, *TINY, "--out", "a"]
    assert run(begun, tmp_path)[0] == 0
    assert run(["extend", "a", "--noise", 0.5, "--epochs", 1], tmp_path)[0] == 0
    folder = tmp_path / "runs" / "a-to-noise-0.5-seed0"
    found = load_run(folder)
    assert found.config["objective"]["name"] == "noise"
    assert found.config["attack"]["steps"] is None
    # on to a larger σ, along a ramp from where it is
    more = ("--noise", 1, "--curriculum", "iterative", "--start", 0.5, "--epochs", 2)
    assert run(["extend", folder, *more, "--out", "b"], tmp_path)[0] == 0
    with (tmp_path / "b" / "metrics.csv").open() as file:
        assert [float(row["eps"]) for row in csv.DictReader(file)] == [0.75, 1.0]
    code, _, err = run(["extend", "b", "--eps", 0.3], tmp_path)
    assert code == 2
    assert "was trained with noise; give --noise 0.3" in err
    back = ["extend", "b", "--eps", 0.3, "--objective", "adversarial", "--norm", "linf"]
    assert run([*back, "--steps", 2, "--epochs", 1, "--out", "c"], tmp_path)[0] == 0
    assert load_run(tmp_path / "c").config["objective"]["name"] == "adversarial"
