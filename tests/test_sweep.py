"""`hardball sweep`: many trainings at once, one table."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

from commands import Signal, run
from hardball.cli import main
from hardball.commands.sweep import trial as trials
from hardball.commands.sweep.grid import Grid
from hardball.commands.sweep.run import SweepConfig, plan, sweep
from hardball.commands.sweep.settings import complete
from hardball.commands.sweep.trial import Trial
from hardball.commands.train import train as train_really
from hardball.errors import Untrusted, UserError
from hardball.models import INITIALS, build, initialise
from hardball.runs import RunFolder

BASE = {
    "data": "digits",
    "model_args": {"width": 8},
    "eps": 0.03,
    "steps": 2,
    "epochs": 3,
    "lr": "1e-2",  # what YAML makes of 1e-2
    "validation": 500,
    "batch_size": 32,
}
PROBE = {"n": 40, "attacks": ["pgd-20"]}


@pytest.fixture(autouse=True)
def _no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardball.commands.sweep.run.MEASURED", 0.0)


def written(folder: Path, **content: Any) -> Path:
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({"base": BASE, "probe": PROBE, **content}))
    return path


def swept(path: Path, **more: Any) -> dict[str, Any]:
    config = SweepConfig(path, out=path.parent / "out", **more)
    return sweep(plan(config), config, Console(quiet=True))


def test_products_lists_and_samples() -> None:
    axes = [{"lr": [1, 2], "seed": [0, 1, 2]}, {"eps": [0.1]}]
    content = {"axes": axes, "trials": [{"norm": "l2"}]}
    found = Grid.of(content).own_settings()
    assert len(found) == 8
    assert found[4] == {"lr": 2, "seed": 1}
    assert found[-2:] == [{"eps": 0.1}, {"norm": "l2"}]
    drawn = Grid.of({**content, "sample": {"n": 3, "seed": 1}}).own_settings()
    assert len(drawn) == 3
    assert all(one in found for one in drawn)
    assert drawn == Grid.of({**content, "sample": {"n": 3, "seed": 1}}).own_settings()
    assert drawn != Grid.of({**content, "sample": {"n": 3, "seed": 2}}).own_settings()


def test_every_spelling_is_the_same_setting() -> None:
    plain = complete({"eps": "8/255"}, {"lr": "1e-2", "model-args": {"width": 2}}, trusted=False)
    assert plain["eps"] == 8 / 255
    full = {"optimizer.lr": 0.01, "model": {"args": {"width": 2}}}
    assert complete({"eps": 8 / 255}, full, trusted=False) == plain
    ramp = complete(
        {"eps": 0.4, "preset": "mnist-paper"}, {"curriculum": "iterative"}, trusted=False
    )
    assert ramp["curriculum"] == {"increment": 0.01, "name": "iterative"}
    assert "epochs" not in ramp  # those of the preset are for one ε
    assert complete({"eps": 1}, {"objective": "trades", "beta": 2}, trusted=False)["objective"] == {
        "name": "trades",
        "beta": 2,
    }


def test_identity_is_that_of_the_weights() -> None:
    first = Trial.of({**BASE}, {"lr": 0.1}, trusted=False)
    assert Trial.of({**BASE, "optimizer.lr": 0.1}, {}, trusted=False).identity == first.identity
    assert Trial.of({**BASE}, {"lr": 0.2}, trusted=False).identity != first.identity
    assert Trial.of({**BASE}, {"lr": 0.1, "init": "he"}, trusted=False).identity != first.identity


BAD = [
    ({"axis": {"lr": [1]}}, "did you mean 'axes'"),
    ({}, "nothing to try"),
    ({"axes": {"lr": 0.1}}, r"lr=0.1 is no list; write \[0.1\]"),
    ({"axes": {"lr": []}}, "the axis lr is empty"),
    ({"axes": {}}, "nothing to try"),
    ({"axes": [{}]}, "names no setting"),
    ({"axes": 3}, "axes=3 is no mapping"),
    ({"trials": {"lr": 1}}, "is no list"),
    ({"trials": [3]}, "trial 1 of trials=3 is no mapping"),
    ({"base": [1], "axes": {"lr": [1]}}, "is no mapping"),
    ({"axes": {"learning_rate": [1]}}, "unknown setting 'learning_rate'"),
    ({"axes": {"seed": list(range(200)), "lr": list(range(1, 60))}}, "11,800 trials"),
    ({"axes": {"lr": [0.1, 0.2]}, "sample": {"n": 3}}, "sample n=3 of 2"),
    ({"axes": {"lr": [0.1]}, "sample": {"count": 3}}, "count"),
    ({"axes": {"lr": [0.1, -1]}}, r"trial 2 \(lr=-1\): lr=-1"),
    ({"axes": {"lr": ["fast"]}}, "lr='fast'"),
    ({"axes": {"seed": [0]}, "base": {"epochs": 1}}, "no eps"),
    (
        {"trials": [{"reach": 1, "step_size": 0.1, "steps": None}]},
        r"trial 1 .*reach=1 with step_size",
    ),
    ({"trials": [{"increment": 0.1}]}, "unknown setting 'increment'"),
    ({"trials": [{"model_args": {"wide": 3}}]}, r"trial 1 .*wide"),
    ({"trials": [{"data": "digit"}]}, "did you mean 'digits'"),
    ({"trials": [{"validation": 5000}]}, "validation=5000 of 1437"),
    ({"trials": [{"devices": 2}]}, "one process each"),
    ({"trials": [{"init": "glorrot"}]}, "did you mean 'glorot'"),
    ({"axes": {"lr": [0.1, 0.1]}}, "are the same training"),
    ({"trials": [{"seed": 0, "save_minutes": 1}, {"seed": 0}]}, "are the same training"),
    ({"axes": {"seed": [0]}, "probe": {"n": 0}}, "probe n=0"),
    ({"axes": {"seed": [0]}, "probe": {"attacks": ["pdg-20"]}}, "pdg-20"),
    ({"axes": {"out": ["x"]}}, "unknown setting 'out'"),
]


@pytest.mark.parametrize(("content", "said"), BAD, ids=[said for _, said in BAD])
def test_mistakes_are_named_before_anything_starts(
    tmp_path: Path, content: dict[str, Any], said: str
) -> None:
    path = written(tmp_path, **content)
    with pytest.raises(UserError, match=said):
        plan(SweepConfig(path, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["- 1", "a: [", ""])
def test_no_sweep(tmp_path: Path, text: str) -> None:
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(UserError, match="is no sweep"):
        plan(SweepConfig(tmp_path / "grid.yaml"))
    with pytest.raises(UserError, match="cannot read"):
        plan(SweepConfig(tmp_path / "other.yaml"))


@pytest.mark.parametrize(
    "own",
    [
        {"model": "hardball_outside.network:Dense"},
        {"data": {"name": "hardball_outside.data:parity"}},
        {"curriculum": "hardball_outside.curriculum:Cosine", "ramp": 2},
        {"objective.name": "hardball_outside.objective:Margin"},
    ],
)
def test_a_file_does_not_run_code(tmp_path: Path, own: dict[str, Any]) -> None:
    path = written(tmp_path, trials=[own])
    with pytest.raises(Untrusted, match="code outside hardball"):
        plan(SweepConfig(path))
    fitting = {"data": "hardball_outside.data:parity", "model": "hardball_outside.network:Dense"}
    trusted = {**fitting, "model_args": {"width": 4}, **own}
    path = written(tmp_path, trials=[trusted])
    assert plan(SweepConfig(path, trust_model_code=True)).trials


def test_each_ends_as_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = [
        {},
        {"lr": 1e30},
        {"eps": 0.9, "epochs": 12, "optimizer": "sgd"},
        {"seed": 1},
        {"eps": 0.0},
    ]
    path = written(tmp_path, trials=own)
    real = train_really

    def train(config: Any, **more: Any) -> Any:
        if config.settings.seed == 1:
            raise MemoryError("batch too large")
        return real(config, **more)

    monkeypatch.setattr(trials, "train", train)
    found = swept(path)
    ended = {one["name"]: one for one in found["trials"]}
    assert found["counts"] == {"learned": 2, "masked": 0, "collapsed": 1, "failed": 2}
    assert ended["base"]["status"] == "learned"
    assert ended["base"]["probe"] <= ended["base"]["trained"] <= ended["base"]["clean"]
    assert ended["lr=1e+30"]["reason"] == "non-finite"
    assert ended["seed=1"]["reason"] == "MemoryError: batch too large"
    stuck = ended["epochs=12 eps=0.9 optimizer=sgd"]
    assert stuck["status"] == "collapsed"
    assert stuck["epochs"] < 12  # it ended early
    assert [one["status"] for one in found["trials"]] == [
        *["learned"] * 2,
        "collapsed",
        *["failed"] * 2,
    ]
    text = (tmp_path / "out" / "sweep.txt").read_text()
    assert "2 learned, 1 collapsed, 2 failed of 5 trials" in text
    assert all(f"| {name} |" in text for name in ended)
    # nothing is done twice, but what ended in an error is, where that is asked for
    monkeypatch.setattr(trials, "train", real)
    assert swept(path) == found
    assert swept(path, again=True)["counts"]["learned"] == 3


def test_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_measured", lambda *_: (0.9, 0.8, 0.3))
    found = swept(written(tmp_path, trials=[{"seed": 3}]))
    (one,) = found["trials"]
    assert one["status"] == "masked"
    assert one["reason"] == "80.0% under its own attack, 30.0% under pgd-20"


def test_no_time_and_then_some(tmp_path: Path) -> None:
    path = written(tmp_path, axes={"seed": [0, 1]})
    first = swept(path, hours=0.0)
    assert first["unfinished"] == ["seed=0", "seed=1"]
    assert swept(path)["counts"]["learned"] == 2
    # a larger grid, written in another way, finds them
    path = written(tmp_path, trials=[{"seed": 1, "lr": 0.01}, {"seed": 0}, {"seed": 2}])
    assert [one.trial.name for one in plan(SweepConfig(path, out=tmp_path / "out")).due] == [
        "seed=2"
    ]


def test_killed_it_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path, axes={"seed": [0, 1]})
    whole = swept(path)
    words = ["sweep", path, "--out", tmp_path / "again"]
    # the second trial is killed at the end of its second epoch, the fifth in all
    planned = Signal(at="hardball.training.loop:Trainer._finish_epoch", count=5)
    code, _, _ = run(words, tmp_path, planned=planned)
    assert code == -9
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "again").glob("seed=0*/*.json")}
    assert len(before) == 2  # its outcome and its result
    code, out, _ = run(words, tmp_path)
    assert code == 0
    assert "2 learned of 2 trials" in out
    assert before == {p: p.stat().st_mtime_ns for p in before}
    again = json.loads((tmp_path / "again" / "sweep.json").read_text())
    for one, other in zip(whole["trials"], again["trials"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
        weights = [
            RunFolder(tmp_path / out / one["folder"]).weights_file for out in ("out", "again")
        ]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, axes={"seed": [0]}, trials=[{"lr": 0.1}])
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["sweep", str(path), "--out", str(tmp_path / "out"), "--list"])
    shown = capsys.readouterr().out
    assert "lr=0.1" in shown
    assert (
        "2 of 2 trials to run: at most 16,866 sample-steps" in shown
    )  # 2 · 937 · 3 epochs · 3 passes
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["sweep", str(path), "--cpus", "-1"])
    assert "--cpus -1" in capsys.readouterr().err


@pytest.mark.parametrize("name", INITIALS)
def test_initial_weights(name: str) -> None:
    model = build("digits_cnn", (1, 8, 8), 10, {"width": 16})
    initialise(model, name)
    weight = model.get_parameter("hidden.weight")
    fan_out, fan_in = weight.shape
    expected = {
        "glorot": (2 / (fan_in + fan_out)) ** 0.5,
        "he": (2 / fan_in) ** 0.5,
        "orthogonal": max(fan_in, fan_out) ** -0.5,
    }
    assert float(weight.detach().std()) == pytest.approx(expected[name], rel=0.1)
    assert not torch.any(model.get_parameter("hidden.bias"))
