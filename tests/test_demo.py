"""The demonstration end to end, shortened; and the pages made from results."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from hardball import PGD
from hardball.cli import main
from hardball.commands import demo as recipe
from hardball.data import load_dataset
from hardball.errors import UserError
from hardball.presets import merged
from hardball.report import demo as pages
from hardball.report.blocks import Section, Table
from hardball.report.html import page
from hardball.runs import RunFolder

SHORT: dict[str, dict[str, Any]] = {
    "standard": {"epochs": 3},
    "direct": {"epochs": 4},
    "adaptive": {"curriculum": {"budget_steps": 40_000, "finish": 1, "longest": 2, "patience": 1}},
}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same contestants with fewer epochs, a narrower network and one weaker attack."""
    contestants = tuple(
        replace(c, values=merged(c.values, SHORT[str(pages.folder_name(c.name))]))
        for c in recipe.CONTESTANTS
    )
    monkeypatch.setattr(recipe, "CONTESTANTS", contestants)
    monkeypatch.setitem(recipe.COMMON, "model", {"name": "digits_cnn", "args": {"width": 4}})
    monkeypatch.setattr(recipe, "ATTACKS", {"weak": PGD(steps=3)})


@pytest.mark.usefixtures("short")
def test_the_demo_leaves_numbers_a_picture_and_a_page_and_repeats_nothing(tmp_path: Path) -> None:
    quiet = Console(quiet=True)
    found = recipe.demo(tmp_path, [0, 1], quiet)
    weights = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("weights.safetensors")}
    assert len(weights) == 6
    assert json.loads((tmp_path / "demo.json").read_text())["results"] == json.loads(
        json.dumps(found["results"])
    )
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    html = (tmp_path / "report.html").read_text()
    assert pages.summary(found) in html
    assert "data:image/png;base64," in html
    assert not re.search(r"(src|href)=\"(?!data:|#)", html), "the page must fetch nothing"
    again = recipe.demo(tmp_path, [0, 1], quiet)
    assert {f: f.stat().st_mtime_ns for f in weights} == weights
    for before, after in zip(found["results"], again["results"], strict=True):
        assert before["evaluation"]["robust"] == after["evaluation"]["robust"]


@pytest.mark.usefixtures("short")
def test_it_takes_one_core_and_gives_the_others_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = recipe.demo(tmp_path, [0], Console(quiet=True))
        assert found["machine"]["threads"] == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(UserError):
            recipe.demo(tmp_path, [], Console(quiet=True))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("short")
def test_runs_of_other_settings_are_not_reported_as_the_demo(tmp_path: Path) -> None:
    first, *_ = recipe.CONTESTANTS
    recipe._train(first, 0, tmp_path, Console(quiet=True))
    other = replace(first, values=merged(first.values, {"eps": 0.05}))
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    for contestant in (other, first.to_the_end()):
        with pytest.raises(
            UserError, match=r"is another run: \S+ is .* there and .* another `out`"
        ):
            recipe._train(contestant, 0, tmp_path, Console(quiet=True))
    assert {f: f.read_bytes() for f in before} == before


@pytest.mark.usefixtures("short")
def test_the_commands_shown_remake_the_runs(tmp_path: Path) -> None:
    """By hand, the commands in the report give the demo's weights bit for bit."""
    found = recipe.demo(tmp_path / "demo", [3], Console(quiet=True))
    for row in found["results"]:
        folder = pages.folder_name(row["name"])
        words = shlex.split(row["command"].replace("runs/", f"{tmp_path}/by-hand/"))
        assert words[0] == "hardball"
        with pytest.raises(SystemExit, match=r"^0$"):
            main(words[1:])
        by_demo = RunFolder(tmp_path / "demo" / "seed3" / folder).weights_file.read_bytes()
        assert RunFolder(tmp_path / "by-hand" / folder).weights_file.read_bytes() == by_demo


def test_no_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"seeds=\[\]; allowed is"):
        recipe.demo(tmp_path / "out", [], Console(quiet=True))
    assert not RunFolder(tmp_path / "out").path.exists()


def test_black_and_white_digits_are_just_that() -> None:
    for split in ("train", "test"):
        grey, sharp = load_dataset("digits", split=split), load_dataset("digits-bw", split=split)
        assert set(sharp.images.unique().tolist()) == {0.0, 1.0}
        assert bool(((grey.images - sharp.images).abs() <= 0.5).all())
        assert bool((grey.labels == sharp.labels).all())


def test_summary_counts_collapses_and_averages_the_largest_eps() -> None:
    def row(name: str, status: str, clean: float, robust: float) -> dict[str, object]:
        measured = [{"eps": 0.1, "accuracy": 0.9}, {"eps": 0.4, "accuracy": robust}]
        return {
            "name": name,
            "seed": 0,
            "outcome": {"status": status},
            "evaluation": {"clean": {"accuracy": clean}, "robust": measured},
        }

    found = {
        "trainings": ["standard", "direct", "curriculum"],
        "eps": 0.4,
        "n": 100,
        "seeds": [0, 1],
        "results": [
            row("standard", "finished", 1.0, 0.0),
            row("direct", "collapsed", 0.1, 0.1),
            row("direct", "finished", 0.8, 0.3),
            row("curriculum", "finished", 0.9, 0.6),
            row("curriculum", "finished", 0.7, 0.4),
        ],
    }
    said = pages.summary(found)
    for part in ("1 of 2 seeds", "20.0% robust", "50.0% at that ε", "80.0% clean", "n=100"):
        assert part in said


def test_page_escapes_what_it_shows() -> None:
    table = Table(rows=[["<b>"]], columns=["c"])
    html = page("<t>", "a & b", [Section(title="<script>", blocks=[table])])
    assert "<h2><script>" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html
    assert "a &amp; b" in html
