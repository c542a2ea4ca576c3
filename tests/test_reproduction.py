"""The paper's figures, remade."""

import json
import shutil
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import claims
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from contexts import SMALL
from hardball import reproduction
from hardball.cli.main import main
from hardball.commands.reproduce.config import ReproduceConfig
from hardball.commands.reproduce.remake import reproduce
from hardball.commands.reproduce.trainings import estimate
from hardball.commands.sweep.grid import Grid
from hardball.commands.sweep.trial import Trial
from hardball.commands.train import TrainConfig
from hardball.data import cifar_files, load_dataset
from hardball.errors import UserError
from hardball.evaluation.checks.budget import BUDGETS as CHECKS
from hardball.evaluation.sanity import Doubt
from hardball.presets import merged
from hardball.report import reproduction_figures
from hardball.reproduction import BUDGETS, RECIPES, TRAININGS, plan
from hardball.reproduction.answers import answers
from hardball.reproduction.parts import Accuracy, Checks, Part
from hardball.reproduction.plan import sample_steps
from hardball.training import Constant, Iterative
from hardball.training.attack import TrainingAttack


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick budget with an epoch or two of everything."""
    cut = replace(
        BUDGETS["quick"],
        epochs={"standard": 1, "direct": 2, "extended": 2},
        increment=0.25,
        points=3,
        long_points=2,
        grid=3,
        n=20,
        n_strong=5,
        n_explained=20,
        n_checks=5,
        fine={"attack": {"steps": 11}},
        tried={
            "base": {"data": "digits-bw", "model_args": {"width": 2}, "eps": 0.4, "epochs": 1},
            "axes": {"seed": [0]},
            "trials": [{"steps": 1, "step_size": 0.4, "random_start": False}],
            "probe": {"n": 10, "attacks": ["pgd-20"]},
        },
        cifar=replace(
            BUDGETS["quick"].cifar,
            training=merged(
                BUDGETS["quick"].cifar.training,
                {"model": {"args": {"width": 2}}, "attack": {"steps": 1}, "validation": 800},
            ),
            epochs={"direct": 1, "extended": 1},
            by_kind={
                "adaptive": {
                    "curriculum": {"name": "adaptive", "epochs": 1, "finish": 0, "probe_images": 2}
                }
            },
            n=5,
            n_strong=2,
            grid=3,
        ),
    )
    monkeypatch.setitem(reproduction.BUDGETS, "quick", cut)
    monkeypatch.setattr("hardball.commands.cost.SECONDS", 0.01)
    monkeypatch.setattr("hardball.commands.sweep.run.MEASURED", 0.01)
    monkeypatch.setitem(CHECKS, "quick", SMALL)
    few = ("pgd-3@0.05", "pgd-4@0.01", "pgd-raw-5@5e4")
    shorter = {
        key: replace(part, attacks=few) if isinstance(part, Accuracy) else part
        for key, part in RECIPES["eps05"].parts.items()
    }
    monkeypatch.setitem(RECIPES, "eps05", replace(RECIPES["eps05"], parts=shorter))
    plain = Accuracy(
        runs=RECIPES["table2"].trainings, eps=(0.03,), attacks=("pgd-2",), strong=("pgd-2",)
    )
    monkeypatch.setitem(RECIPES, "table2", replace(RECIPES["table2"], parts={"": plain}))
    checks: dict[str, Part] = {k: Checks(run="eat-0.4", eps=0.4) for k in ("0.4", "0.5")}
    monkeypatch.setitem(RECIPES, "appendix-c", replace(RECIPES["appendix-c"], parts=checks))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@dataclass(frozen=True)
class Remade:
    out: Path
    found: dict[str, Any]


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> Remade:
    """Most of what is remade from the digits, in one folder: the trainings are shared."""
    out = tmp_path_factory.mktemp("remade")
    names = ["eps05", "fig4", "fig5", "fig6", "fig7", "fig10", "fig12"]
    names += ["l2-remark", "remark1", "direct", "appendix-b", "appendix-c"]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", Doubt)  # the networks have hardly been trained
        shorten(patch)
        return Remade(out, made(out, *names))


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, in the folders of CIFAR-10's image files."""
    place = tmp_path_factory.mktemp("noise")
    noise = np.random.default_rng(0)
    for part, count in (("train", cifar_files.TRAIN), ("test", cifar_files.TEST)):
        for name in cifar_files.CLASSES:
            folder = place / "cifar10-jpeg" / part / name
            folder.mkdir(parents=True)
            for number in range(count // 10):
                pixels = noise.integers(0, 256, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:04}.png")
    return place


def made(out: Path, *names: str, **more: Any) -> dict[str, Any]:
    return reproduce(ReproduceConfig(list(names), out=out, **more), Console(quiet=True))


def test_what_others_start_from_is_trained_first() -> None:
    for name in RECIPES:
        order = list(plan([name]).trainings)
        assert len(order) == len(set(order))
        for at, training in enumerate(order):
            start = TRAININGS[training].start
            assert start is None or start in order[:at]
    assert plan(["all"]).recipes == RECIPES
    assert plan(["mnist", "cifar"]).recipes == RECIPES
    cifar = {"table2", "table2-code", "fig2-cifar", "fig5-cifar", "fig9"}
    assert {*plan(["cifar"]).recipes} == cifar
    assert plan(["fig2", "fig4"]).trainings == plan(["fig4", "fig2"]).trainings


def test_what_a_budget_leaves_out_is_not_needed() -> None:
    found = plan(["fig1", "fig3"], {"at-0.2"})
    assert "at-0.2" not in found.trainings
    assert [*found.recipes["fig3"].parts] == ["standard", "0.3", "0.4"]
    assert found.recipes["fig1"].trainings == ("at-0.3", "at-0.4")


@pytest.mark.parametrize(("names", "said"), [([], "no name"), (["fig99"], "fig99")])
def test_unknown_names_list_what_there_is(names: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        plan(names)
    assert "fig3" in str(caught.value)


def test_cost_by_hand() -> None:
    attack = TrainingAttack(step_size=0.05).pgd
    # 2.5 · 0.3 / 0.05 = 15 steps, and the update
    assert sample_steps(Constant(0.3, epochs=4), attack, 100) == 4 * 16 * 100
    assert sample_steps(Constant(0.0, epochs=2), attack, 100) == 2 * 100
    # ε = 0.25 and 0.5: 12 (rounded) and 25 steps
    assert sample_steps(Iterative(0.5, increment=0.25), attack, 10) == 10 * (13 + 26)


@pytest.mark.usefixtures("tiny")
def test_remade_once(remade: Remade) -> None:
    out, found = remade.out, remade.found
    for name in found:
        written = json.loads((out / f"{name}.json").read_text())
        assert written["answers"]
        assert written["trainings"].keys() == set(RECIPES[name].trainings)
        assert written["cut"] or not written["trainings"]
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    part = out / "fig4" / "landscape-weights.json"
    before = part.stat().st_mtime_ns
    assert not estimate(ReproduceConfig([*found], out=out)).due
    again = made(out, "fig4")
    assert part.stat().st_mtime_ns == before
    assert again["fig4"]["answers"] == found["fig4"]["answers"]


@pytest.mark.usefixtures("tiny")
def test_a_run_of_other_settings_is_refused(remade: Remade, tmp_path: Path) -> None:
    shutil.copytree(remade.out / "runs" / "at-0.3", tmp_path / "runs" / "at-0.2")
    with pytest.raises(UserError, match="another run"):
        made(tmp_path, "fig1")


@pytest.mark.usefixtures("tiny")
def test_what_collapsed_is_not_extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = replace(TRAININGS["at-0.3"], more={"optimizer": {"lr": 1e30}})
    monkeypatch.setitem(reproduction.TRAININGS, "at-0.3", dead)
    with pytest.raises(UserError, match=r"not made: fig10; .*at-0\.3 ended as"):
        made(tmp_path, "fig10", "fig12")
    assert (tmp_path / "fig12.json").exists()


def test_other_numbers_of_images() -> None:
    fewer = ReproduceConfig(["table1"], budget="full", n=2000, n_strong=500)
    for on in ("mnist", "cifar"):
        side = fewer.side(on)
        assert (side.n, side.n_strong) == (2000, 500)
        assert "2,000 test images, 500 under attacks that take long" in fewer.cut(on)
    assert fewer.size.n_checks == 500
    assert fewer.command("table1").endswith("table1 --budget full --n 2000 --n-strong 500")
    of_the_budget = ReproduceConfig(["table1"], budget="full", n_strong=500)
    assert of_the_budget.side("mnist").n == BUDGETS["full"].n
    assert ReproduceConfig(["table1"], budget="full").cut("mnist") == ""
    with pytest.raises(UserError, match=r"n_strong=0.*at least one"):
        ReproduceConfig(["table1"], n_strong=0)


def test_another_precision() -> None:
    """It is asked of every training, and said on every result."""
    fast = ReproduceConfig(["table1"], budget="full", precision="bf16-mixed")
    values = fast.on_machine(TRAININGS["eat-0.4"].values(fast.size))
    assert TrainConfig.of(values).settings.machine.precision == "bf16-mixed"
    assert TrainConfig.of(values).settings.machine.keep_every == 1
    assert fast.tried["base"]["machine"] == {"precision": "bf16-mixed"}
    assert fast.cut("mnist") == "trainings in bf16-mixed"
    assert fast.command("table1").endswith("table1 --budget full --precision bf16-mixed")
    with pytest.raises(UserError, match=r"precision.*fp8.*bf16-mixed"):
        ReproduceConfig(["table1"], precision="fp8")


@pytest.mark.usefixtures("tiny")
def test_no_time(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hours=1e-06"):
        estimate(ReproduceConfig(["fig2"], out=tmp_path, hours=1e-6))
    assert not (tmp_path / "runs").exists()


def test_results_of_another_version(tmp_path: Path) -> None:
    (tmp_path / "fig12.json").write_text('{"schema": 99}')
    with pytest.raises(UserError, match="another version"):
        made(tmp_path, "fig12")


def test_asks_before_it_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", "fig2", "--out", str(tmp_path)])
    assert ended.value.code == 2
    assert "--yes" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", "--list"])
    assert ended.value.code == 0
    assert "fig12" in capsys.readouterr().out


def curve(name: str, eps: list[float], loss: list[float]) -> dict[str, Any]:
    return {"name": name, "eps": eps, "adv_loss": loss}


def holds(name: str, parts: dict[str, Any]) -> list[bool]:
    return [answer["holds"] for answer in answers(name, parts, 10)]


def test_answers_about_curves() -> None:
    stuck, learned = [2.31, 2.30], [2.2, 0.4]
    runs = [curve("at-0.2", [0.2] * 2, learned), curve("at-0.3", [0.3] * 2, learned)]
    both = {"": {"runs": [*runs, curve("at-0.4", [0.4] * 2, stuck)]}}
    assert holds("fig1", both) == [True, True]
    assert holds("fig1", {"": {"runs": [*runs, curve("at-0.4", [0.4] * 2, learned)]}}) == [
        False,
        True,
    ]
    seeds = [curve(f"at-0.4{seed}", [0.4] * 2, stuck) for seed in ("", "-seed1", "-seed2")]
    assert holds("direct", {"": {"runs": seeds}}) == [True]
    seeds[1] = curve("at-0.4-seed1", [0.4] * 2, learned)
    assert holds("direct", {"": {"runs": seeds}}) == [False]
    ramp = curve("iat-0.5", [0.1, 0.2, 0.4, 0.5], [1.0, 0.1, 0.2, 1.2])
    assert holds("fig7", {"": {"runs": [ramp]}}) == [True, True]
    flat = curve("iat-0.5", [0.1, 0.2, 0.4, 0.5], [1.0, 0.1, 0.3, 0.4])
    assert holds("fig7", {"": {"runs": [flat]}}) == [False, False]


@pytest.mark.parametrize(
    ("eps", "shown"),
    [(8 / 255, "8/255"), (32 / 255, "32/255"), (0.4, "0.4"), (0.6000000000000001, "0.6")],
)
def test_radii_are_drawn_as_the_paper_writes_them(eps: float, shown: str) -> None:
    for before, words in ((eps, f"ε = {shown}"), (0.01, f"ε from 0.01 to {shown}")):
        ran = {"name": "at", "epoch": [1, 2], "adv_loss": [2.0, 1.0], "eps": [before, eps]}
        axes = reproduction_figures.figure("fig7", "Loss", {"": {"runs": [ran]}}, "").axes[0]
        _, labels = axes.get_legend_handles_labels()
        assert labels[0] == f"at, {words}"


def test_answers_about_segments() -> None:
    def segment(violation: float, barrier: float) -> dict[str, Any]:
        return {
            "convexity_violation": violation,
            "barrier": barrier,
            "range": 2.0,
            "loss": [1.0, 0.2],
        }

    convex = {"": {"segments": [segment(0.01, 0.0), segment(0.01, 0.0)]}}
    bent = {"": {"segments": [segment(0.9, 0.0), segment(0.01, 0.8)]}}
    assert holds("fig4", convex) == [True, True]
    assert holds("fig4", bent) == [False, False]
    by_eps = {
        name: {"segments": [segment(v, 0)]}
        for name, v in {"standard": 0.1, "0.2": 0.2, "0.3": 0.3, "0.4": 0.5}.items()
    }
    assert holds("fig3", by_eps) == [True]
    assert holds("fig3", {**by_eps, "0.4": {"segments": [segment(0.05, 0)]}}) == [False]


def test_answers_about_planes() -> None:
    def planes(steps: list[float]) -> dict[str, Any]:
        names = ("0.3", "0.4", "0.5")
        return {
            name: {"planes": [{"largest_step": step, "sudden_jump": 1.0}]}
            for name, step in zip(names, steps, strict=True)
        }

    assert holds("fig5", planes([0.03, 0.04, 0.9])) == [True]
    assert holds("fig5", planes([0.03, 0.04, 0.05])) == [False]


def test_answers_about_tables() -> None:
    def run(name: str, clean: float, left: tuple[float, float]) -> dict[str, Any]:
        robust = [{"eps": e, "accuracy": a} for e, a in zip((0.3, 0.4), left, strict=True)]
        measured = {"clean": {"accuracy": clean}, "robust": robust}
        return {"name": name, "attacks": measured, "strong": measured}

    as_in_paper = [
        run("eat-0.4", 0.985, (0.93, 0.91)),
        run("iat-0.4", 0.98, (0.95, 0.90)),
        run("at-0.3", 0.99, (0.90, 0.14)),
    ]
    assert holds("table1", {"": {"runs": as_in_paper}}) == [True, True, True]
    as_in_paper[0] = run("eat-0.4", 0.985, (0.93, 0.85))
    assert holds("table1", {"": {"runs": as_in_paper}}) == [False, True, True]


def test_answers_about_masking() -> None:
    def part(*left: float) -> dict[str, Any]:
        scores = [{"after": {"accuracy": one}} for one in left]
        return {"runs": [{"attacks": {"scores": scores}}]}

    assert holds("eps05", {"0.5": part(0.8, 0.3, 0.2), "0.4": part(0.9, 0.89, 0.88)}) == [
        True,
        True,
    ]
    assert holds("eps05", {"0.5": part(0.3, 0.3, 0.2), "0.4": part(0.9, 0.5, 0.4)}) == [
        False,
        False,
    ]


def test_the_page_has_every_result() -> None:
    text = (claims.ROOT / "docs" / "reproduction.md").read_text()
    assert "reproduction" in claims.named(claims.ROOT / "docs" / "reproduction.md")
    for found in claims.results():
        assert found["name"] in RECIPES
        assert (claims.RESULTS / f"{found['name']}.png").exists()
        assert f"/{found['name']}.png" in text


UNTRAINED = pytest.mark.filterwarnings("ignore::hardball.evaluation.sanity.Doubt")
"""The networks have hardly been trained, which an evaluation says."""
PAPER = [
    *("table1", "table2", "l2-remark", "remark1", "direct", "eps05", "appendix-b", "appendix-c"),
    *(f"fig{number}" for number in range(1, 14)),
]


def test_every_table_and_figure_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert {*PAPER} <= {*RECIPES}
    assert all(recipe.parts and recipe.claim for recipe in RECIPES.values())
    named = {name for recipe in RECIPES.values() for name in recipe.trainings}
    starts = {TRAININGS[name].start for name in named} - {None}
    assert named | starts == {*TRAININGS}  # nothing is listed for nobody
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["reproduce", "--list"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in PAPER)


@pytest.mark.parametrize("name", BUDGETS)
def test_every_training_of_every_budget_can_be_asked_for(name: str) -> None:
    size = BUDGETS[name]
    for training in TRAININGS.values():
        config = TrainConfig.of(training.values(size))
        config.settings.check_target(config.curriculum.largest)
        assert config.curriculum.target == training.eps
    grid = Grid.of(size.tried)
    trials = [Trial.of(grid.base, own, trusted=False) for own in grid.own_settings()]
    assert len({one.identity for one in trials}) == len(trials) >= 18
    assert {one.values["eps"] for one in trials} == {0.45 if name == "quick" else 0.4}


def test_settings_of_the_paper() -> None:
    """FACTS, section 2."""
    full = BUDGETS["full"]

    def attack(name: str, eps: float) -> tuple[int | None, float | None]:
        found = TrainConfig.of(TRAININGS[name].values(full)).settings.attack.at(eps)
        return found.steps, found.step_size

    assert attack("at-0.3", 0.3) == (15, 0.05)
    assert attack("at-0.3-code", 0.3) == (40, 0.01)
    assert attack("eat-0.4-code", 0.4) == (200, 0.005)
    assert attack("iat-0.4-code", 0.18) == (45, 0.01)
    assert attack("eat-0.5-fine", 0.5) == (200, 0.005)
    assert attack("cifar-eat-16", 16 / 255) == (20, 2 / 255)
    direct, extended = (TRAININGS[name].values(full) for name in ("cifar-at-8", "cifar-eat-16"))
    assert direct["augment"] is True
    assert extended["augment"] is False
    assert (direct["epochs"], extended["epochs"]) == (150, 5)
    assert extended["optimizer"]["lr"] == 1e-3
    modes = [TRAININGS[n].values(full)["attack"]["mode"] for n in ("cifar-at-8", "cifar-at-8-code")]
    assert modes == ["eval", "train"]


def test_claims_and_sweeps_are_remade(remade: Remade) -> None:
    for name in ("l2-remark", "remark1", "appendix-b"):
        assert remade.found[name]["answers"]
        assert remade.found[name]["cut"]
    swept = json.loads((remade.out / "appendix-b" / "sweep.json").read_text())
    assert len(swept["trials"]) == 2


def test_the_checklist_is_remade(remade: Remade) -> None:
    found = remade.found["appendix-c"]
    items = [one["claim"].split()[0] for one in found["answers"][:-1]]
    assert {*map(str, range(1, 13)), "3.3"} == {*items}
    brute = next(one for one in found["answers"] if one["claim"].startswith("8 "))
    assert "hours at this speed" in brute["numbers"]["note"]


@UNTRAINED
@pytest.mark.usefixtures("tiny")
def test_cifar_is_remade(tmp_path: Path, cifar: Path) -> None:
    found = made(tmp_path / "out", "fig9", "table2", "fig5-cifar", cifar_root=cifar)
    assert "1,000 training images of CIFAR-10" in found["table2"]["cut"]
    assert len(found["table2"]["answers"]) == 6
    assert len(found["fig9"]["answers"]) == 2


def test_no_cifar(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no CIFAR-10 in .*nowhere"):
        estimate(ReproduceConfig(["fig9"], out=tmp_path, cifar_root=tmp_path / "nowhere"))
    with pytest.raises(UserError, match="unknown form of CIFAR-10 'jpeg'"):
        ReproduceConfig(["fig9"], cifar="jpeg")


def test_cifar_from_files(cifar: Path) -> None:
    small = load_dataset("cifar10-small", cifar, "test")
    assert small.labels.bincount().tolist() == [50] * 10
    assert len(small.labels[:50].unique()) == 10
    whole = load_dataset("cifar10-jpeg", cifar / "cifar10-jpeg", "test")
    assert len(whole) == 500
    assert load_dataset("cifar10-small", cifar, "train").labels.bincount().tolist() == [100] * 10


def test_answers_about_the_new_claims() -> None:
    def run(name: str, *left: float, clean: float = 0.9) -> dict[str, Any]:
        measured = {
            "clean": {"accuracy": clean},
            "robust": [{"eps": e, "accuracy": a} for e, a in enumerate(left)],
            "scores": [{"after": {"accuracy": a}} for a in left],
        }
        return {"name": name, "attacks": measured, "strong": measured}

    two = {"": {"runs": [run("eat-0.4", 0.6), run("at-0.3", 0.3)]}}
    assert holds("l2-remark", two) == [True, True]
    assert holds("l2-remark", {"": {"runs": [run("a", 0.4), run("b", 0.38)]}}) == [False, False]
    rows = [run("cifar-at-8", 0.53, 0.18, 0.01, clean=0.87), run("cifar-adaptive", 0.1, 0.1, 0.1)]
    assert holds("table2", {"": {"runs": rows}}) == [True, None]
    ends = {"eat-0.4": 0.3, "eat-0.4-standard": 2.3}
    curves = {"runs": [curve(name, [0.4], [loss]) for name, loss in ends.items()]}
    both = {"": curves, "accuracy": {"runs": [run(name, 0.1) for name in ends]}}
    assert holds("remark1", both) == [True]
    rows = [run("eat-0.45", 0.9, 0.8), run("eat-0.35", 0.9, 0.2)]
    ends = {"at-0.35": 2.3, "eat-0.35": 0.3, "eat-0.45": 0.4}
    curves = {"runs": [curve(name, [0.4], [loss]) for name, loss in ends.items()]}
    assert holds("table1-more", {"": {"runs": rows}, "curves": curves}) == [None, None, True, True]
    masked = {
        "0.5": {"runs": [run("eat-0.5", 0.8, 0.3, 0.2)]},
        "0.4": {"runs": [run("eat-0.4", 0.9, 0.89, 0.88)]},
        "again": {"runs": [run("eat-0.5-fine", 0.3, 0.3, 0.2)]},
        "curves": {"runs": [curve("eat-0.5", [0.5], [0.6]), curve("eat-0.5-fine", [0.5], [1.2])]},
    }
    assert holds("eps05", masked) == [True] * 4

    def trial(status: str, **own: Any) -> dict[str, Any]:
        return {"name": "x", "own": own, "status": status, "clean": 1, "trained": 1, "probe": 0}

    trials = [trial("collapsed"), trial("failed"), trial("masked", steps=1)]
    assert holds("appendix-b", {"": {"trials": trials}}) == [True, True]
    trials = [trial("learned"), trial("learned", steps=1)]
    assert holds("appendix-b", {"": {"trials": trials}}) == [False, False]
