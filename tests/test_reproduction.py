"""The paper's figures, remade."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims
import pytest
from rich.console import Console

from hardball import reproduction
from hardball.cli.main import main
from hardball.commands.reproduce.config import ReproduceConfig
from hardball.commands.reproduce.remake import reproduce
from hardball.commands.reproduce.trainings import estimate
from hardball.errors import UserError
from hardball.reproduction import BUDGETS, RECIPES, TRAININGS, plan
from hardball.reproduction.answers import answers
from hardball.reproduction.plan import sample_steps
from hardball.training import Constant, Iterative
from hardball.training.attack import TrainingAttack


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick budget with an epoch or two of everything."""
    cut = replace(
        BUDGETS["quick"],
        epochs={"standard": 1, "direct": 2, "extended": 2},
        increment=0.25,
        points=3,
        long_points=2,
        grid=3,
        n=20,
        n_explained=20,
    )
    monkeypatch.setitem(reproduction.BUDGETS, "quick", cut)


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
def test_remade_once(tmp_path: Path) -> None:
    found = made(tmp_path, "eps05", "fig4", "fig5", "fig6", "fig7", "fig10", "fig12")
    for name in found:
        written = json.loads((tmp_path / f"{name}.json").read_text())
        assert written["answers"]
        assert written["trainings"].keys() == set(RECIPES[name].trainings)
        assert written["cut"] or not written["trainings"]
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    part = tmp_path / "fig4" / "landscape-weights.json"
    before = part.stat().st_mtime_ns
    assert not estimate(ReproduceConfig(["fig4"], out=tmp_path)).due
    again = made(tmp_path, "fig4")
    assert part.stat().st_mtime_ns == before
    assert again["fig4"]["answers"] == found["fig4"]["answers"]


@pytest.mark.usefixtures("tiny")
def test_a_run_of_other_settings_is_refused(tmp_path: Path) -> None:
    made(tmp_path, "fig2")
    (tmp_path / "runs" / "at-0.3").rename(tmp_path / "runs" / "at-0.2")
    with pytest.raises(UserError, match="another run"):
        made(tmp_path, "fig1")


@pytest.mark.usefixtures("tiny")
def test_what_collapsed_is_not_extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = replace(TRAININGS["at-0.3"], more={"optimizer": {"lr": 1e30}})
    monkeypatch.setitem(reproduction.TRAININGS, "at-0.3", dead)
    with pytest.raises(UserError, match=r"at-0\.3 ended as"):
        made(tmp_path, "fig2")


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
    ramp = curve("iat-0.5", [0.1, 0.2, 0.4, 0.5], [1.0, 0.1, 0.2, 1.2])
    assert holds("fig7", {"": {"runs": [ramp]}}) == [True, True]
    flat = curve("iat-0.5", [0.1, 0.2, 0.4, 0.5], [1.0, 0.1, 0.3, 0.4])
    assert holds("fig7", {"": {"runs": [flat]}}) == [False, False]


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
