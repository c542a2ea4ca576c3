"""Runs to report on: small trainings, evaluated."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from shutil import copytree

import pytest

from commands import TINY
from hardball.cli import main

VOID = {"meta", "link", "img", "input", "br"}

Hardball = Callable[..., int]


def hardball(*words: object) -> int:
    """Runs the command: its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


class Page(HTMLParser):
    """A page's tags, seen to be closed in order, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.ids: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append((tag, found))
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not self.open or self.open[-1] != "style":
            self.text += data


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three trainings; two of them are evaluated."""
    folder = tmp_path_factory.mktemp("runs")
    learning: tuple[object, ...] = (
        *TINY,
        "--validation",
        300,
        "--lr",
        0.01,
        "--model-args",
        "{width: 8}",
    )
    for name, eps, epochs in (("weak", 0.02, 3), ("strong", 0.1, 4), ("bare", 0.1, 1)):
        words = ("--eps", eps, "--epochs", epochs, *learning, "--out", folder / name)
        assert hardball("train", *words) == 0
    for name, radii in (("weak", "[0.02, 0.1]"), ("strong", "[0.1, 0.15]")):
        asked = ("--eps", radii, "--attacks", "pgd-20", "--n", 120)
        assert hardball("evaluate", folder / name, *asked) == 0
    return folder


@pytest.fixture
def runs(_made: Path, tmp_path: Path) -> Path:
    """A copy of them in a folder of the test's own: weak, strong, bare."""
    return copytree(_made, tmp_path / "runs")
