"""The presets hold the paper's settings (its sections 3 and A, and the authors' public code)."""

from pathlib import Path

import pytest
import yaml

from hardball import UserError, build
from hardball.cli.main import main
from hardball.presets import PRESETS, preset

SHORT = {
    "data": "data.name", "model": "model.name", "model_args": "model.args", "optimizer": "optimizer.name",
    "attack_mode": "attack.mode", "front": "model.front", "front_args": "model.front_args",
} | {
    name: f"{group}.{name}"
    for group, names in {
        "attack": (
            "steps", "step_size", "reach", "carry", "finish_epochs", "finish_steps",
            "validation_steps",
        ),
        "optimizer": ("lr", "momentum", "weight_decay", "schedule", "average"),
        "curriculum": ("increment", "ramp_epochs", "hold", "per", "beyond"),
    }.items()
    for name in names
}  # fmt: skip
"""Short name → key of the nested values."""

MNIST = {"data": "mnist", "model": "mnist_cnn", "optimizer": "adam", "lr": 1e-3, "batch_size": 128}
FAST = {**MNIST, "lr": 2e-3, "batch_size": 64, "steps": 2, "carry": True}
FAST |= {"finish_epochs": 3, "finish_steps": 8}
FRONT = {
    **MNIST,
    "model": "strided_cnn",
    "lr": 1e-3,
    "batch_size": 64,
    "steps": 4,
    "augment": "shifts",
}
CLIP = {"front": "clip", "front_args": {"low": 0.41, "high": 0.59}}
FRONT |= {"average": 0.998, "schedule": "linear-tail", "validation_steps": 20, "carry": False}
CIFAR10 = {"data": "cifar10", "model": "resnet50", "optimizer": "sgd", "momentum": 0.9}
CIFAR10 |= {"weight_decay": 5e-4, "batch_size": 128, "step_size": 2 / 255}

EXPECTED = {
    ("mnist-paper", "constant"): {
        **MNIST, "epochs": 30, "step_size": 0.05, "model_args": {"padding": True},
    },
    ("mnist-paper", "iterative"): {**MNIST, "increment": 0.01, "step_size": 0.05},
    ("mnist-paper", "extend"): {**MNIST, "epochs": 5, "step_size": 0.05},
    ("mnist-authors-code", "constant"): {
        **MNIST, "epochs": 30, "step_size": 0.01, "attack_mode": "train", "model_args": {},
    },
    ("mnist-authors-code", "iterative"): {
        **MNIST, "increment": 0.01, "step_size": 0.01, "attack_mode": "train",
    },
    ("mnist-authors-code", "extend"): {
        **MNIST, "epochs": 5, "step_size": 0.005, "attack_mode": "train",
    },
    ("mnist-fast", "constant"): {**FAST, "epochs": 8, "reach": 1.5, "step_size": None},
    ("mnist-fast", "iterative"): {
        **FAST, "reach": 1.5, "average": 0.998, "validation_steps": 20,
        "schedule": "linear-tail", "ramp_epochs": 5, "hold": 3, "per": "step", "beyond": 0.02,
    },
    ("mnist-fast", "extend"): {**FAST, "epochs": 3},
    ("mnist-front", "constant"): {**FRONT, **CLIP, "epochs": 15},
    ("mnist-front", "iterative"): {**FRONT, **CLIP, "ramp_epochs": None},
    ("mnist-front", "extend"): {**FRONT, "epochs": 3},
    ("cifar10-paper", "constant"): {
        **CIFAR10, "epochs": 150, "lr": 0.1, "schedule": "steps", "augment": True,
    },
    ("cifar10-paper", "iterative"): {**CIFAR10, "lr": 0.1, "schedule": "steps", "augment": True},
    ("cifar10-paper", "extend"): {
        **CIFAR10, "epochs": 5, "lr": 1e-3, "schedule": "constant", "augment": False,
    },
}  # fmt: skip

COMMANDS = {
    "constant": ["train", "--eps", "0.3"],
    "iterative": ["train", "--eps", "0.4", "--curriculum", "iterative"],
    "extend": ["extend", "weights.safetensors", "--eps", "0.4"],
}


def settings(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """What a command would do, from its --print_config."""
    with pytest.raises(SystemExit) as ended:
        main([*words, "--print_config"])
    assert ended.value.code == 0
    nested: dict[str, object] = yaml.safe_load(capsys.readouterr().out)
    found = dict(nested)
    for short, key in SHORT.items():
        group, _, leaf = key.partition(".")
        inner = nested[group]
        assert isinstance(inner, dict)
        if leaf in inner:
            found[short] = inner[leaf]
    return found


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"")


@pytest.mark.parametrize(("name", "kind"), EXPECTED)
def test_values(name: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = settings([*COMMANDS[kind], "--preset", name], capsys)
    expected = EXPECTED[name, kind]
    assert {key: found[key] for key in expected} == expected


def test_every_preset_and_kind_is_looked_at() -> None:
    assert {name for name, _ in EXPECTED} == set(PRESETS)
    assert {kind for kinds in PRESETS.values() for kind in kinds} == {"all", *COMMANDS}


def test_a_preset_may_say_eps(capsys: pytest.CaptureFixture[str]) -> None:
    assert settings(["train", "--preset", "mnist-front"], capsys)["eps"] == 0.4
    found = settings(["train", "--preset", "mnist-front", "--eps", "0.3"], capsys)
    assert (found["eps"], found["epochs"]) == (0.3, 15)


def test_another_model_or_front_gets_no_arguments_of_the_presets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paper = ["train", "--preset", "mnist-paper", "--eps", "0.3"]
    assert settings([*paper, "--model", "strided_cnn"], capsys)["model_args"] == {}
    assert settings([*paper, "--model=mnist_cnn"], capsys)["model_args"] == {"padding": True}
    (tmp_path / "c.yaml").write_text("model:\n  name: strided_cnn\n")
    found = settings([*paper, "--config", str(tmp_path / "c.yaml")], capsys)
    assert (found["model"], found["model_args"]) == ("strided_cnn", {})
    front = ["train", "--preset", "mnist-front"]
    assert settings([*front, "--front", "rounding"], capsys)["front_args"] == {}
    thresholds = ["--front-args", "{threshold: [0.42, 0.58]}"]
    found = settings([*front, "--front", "rounding", *thresholds], capsys)
    assert found["front_args"] == {"threshold": [0.42, 0.58]}
    assert settings([*front, "--front", "clip"], capsys)["front_args"] == CLIP["front_args"]


@pytest.mark.parametrize("source", ["flag", "file"])
def test_a_flag_overrides_a_preset_wherever_it_is_named(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("preset: mnist-paper\n")
    named = ["--preset=mnist-paper"] if source == "flag" else ["--config", "c.yaml"]
    found = settings(["train", "--lr", "0.5", "--eps", "0.3", *named], capsys)
    assert (found["lr"], found["step_size"], found["epochs"]) == (0.5, 0.05, 30)


@pytest.mark.parametrize(("padding", "parameters"), [(False, 1_111_946), (True, 3_274_634)])
def test_the_papers_network_has_its_size(padding: bool, parameters: int) -> None:
    model = build("mnist_cnn", [1, 28, 28], 10, {"padding": padding})
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_an_unknown_preset_lists_those_that_exist() -> None:
    with pytest.raises(UserError, match="'x'; there are: cifar10-paper, mnist-authors-code, mnist"):
        preset("x", "constant")
