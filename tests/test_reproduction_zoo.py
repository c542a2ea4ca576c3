"""The paper's figures from the zoo's weights, without their trainings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import hardball as hb
from hardball import reproduction, zoo
from hardball.commands.reproduce.config import ReproduceConfig
from hardball.commands.reproduce.from_zoo import placed
from hardball.commands.reproduce.remake import reproduce
from hardball.commands.reproduce.trainings import estimate
from hardball.commands.train import TrainConfig
from hardball.errors import UserError
from hardball.report.reproduction_text import trainings
from hardball.reproduction import BUDGETS, TRAININGS
from hardball.reproduction.plan import sample_steps
from hardball.runs import RunFolder

FROM_ZOO = [name for name, training in TRAININGS.items() if training.zoo]


def asked(out: Path, *names: str, **more: Any) -> ReproduceConfig:
    return ReproduceConfig(list(names), budget="full", zoo=True, out=out, **more)


@pytest.mark.parametrize("name", FROM_ZOO)
def test_an_entry_was_trained_as_the_paper_says(name: str) -> None:
    training = TRAININGS[name]
    wanted = TrainConfig.of(training.values(BUDGETS["full"]))
    known = zoo.entry(str(training.zoo)).config["training"]
    assert known["epochs"] == wanted.curriculum.total_epochs
    passes = sample_steps(wanted.curriculum, wanted.settings.attack.pgd, 59_000)
    assert known["sample_steps"] == passes - 59_000 * known["epochs"]  # without the updates
    assert known["seed"] == training.seed
    assert known["origin"] == training.start
    assert f"weights of the zoo, trained in {known['precision']}" in asked(Path()).cut("mnist")
    assert "zoo" in asked(Path()).cut("mnist", [name, "standard"])
    assert "zoo" not in asked(Path()).cut("mnist", ["iat-0.5"])  # nothing is taken from there


@pytest.mark.parametrize("name", FROM_ZOO)
def test_placed_as_a_run(name: str, tmp_path: Path) -> None:
    config = asked(tmp_path, "table1")
    for one in filter(None, [TRAININGS[name].start, name]):
        wanted = TrainConfig.of(TRAININGS[one].values(config.size))
        said = placed(config, one, TRAININGS[one], wanted)
    run = hb.load_run(tmp_path / "zoo" / name)
    images = torch.rand(5, 1, 28, 28)
    known = hb.load(str(TRAININGS[name].zoo))
    assert torch.equal(run.model.eval()(images), known(images))
    assert run.outcome is not None
    assert run.outcome.eps == TRAININGS[name].eps
    start = TRAININGS[name].start
    origin = RunFolder(config.folder(name)).config()["origin"]
    assert (origin is None) == (start is None)
    assert said["zoo"] == TRAININGS[name].zoo
    assert "| of the zoo |" in trainings([{"trainings": {name: said}}])
    trained = {**said, "minutes": 7.5}
    # a training of one's own is the one to tell of
    for order in ([said, trained], [trained, said]):
        assert "| 7.5 |" in trainings([{"trainings": {name: one}} for one in order])


def test_another_network_in_its_place(tmp_path: Path) -> None:
    config = asked(tmp_path, "table1")
    other = replace(TRAININGS["at-0.3"], eps=0.25)
    wanted = TrainConfig.of(other.values(config.size))
    with pytest.raises(UserError, match=r"mnist-linf-0\.3 is not the network of at-0\.3.*zoo"):
        placed(config, "at-0.3", other, wanted)
    assert not config.folder("at-0.3").exists()


def test_no_epochs_from_the_zoo(tmp_path: Path) -> None:
    for name in ("fig1", "fig2", "fig8", "fig10", "eps05"):
        with pytest.raises(
            UserError, match=rf"{name} is about the epochs of e?at-0\.\d, and the zoo"
        ):
            estimate(asked(tmp_path, "fig4", name))
    with pytest.raises(UserError, match=r"zoo=true.*budget=quick.*full"):
        ReproduceConfig(["fig4"], zoo=True)


def test_remade_without_training(
    tmp_path: Path, mnist_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(reproduction.BUDGETS, "full", replace(BUDGETS["full"], grid=3))
    config = asked(tmp_path, "fig5", "l2-remark", n=5, n_strong=1, data_root=mnist_root)
    assert not estimate(config).due
    found = reproduce(config, Console(quiet=True))
    assert {*found["fig5"]["trainings"]} == {"at-0.3", "eat-0.4", "eat-0.5"}
    assert found["fig5"]["command"].endswith("fig5 --budget full --zoo true --n 5 --n-strong 1")
    assert "weights of the zoo" in found["fig5"]["cut"]
    assert (tmp_path / "fig5.png").exists()
    assert not (tmp_path / "runs").exists()
    again = reproduce(config, Console(quiet=True))  # placed once, measured once
    assert again["fig5"]["answers"] == found["fig5"]["answers"]
