"""Runs for the commands, trained once, and the command called where they are."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import TINY
from hardball.cli import main

Hardball = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `at` (ε = 0.1, both epochs kept), `eat` (extended to 0.2) and `wide`,
    another network."""
    folder = tmp_path_factory.mktemp("runs")
    before = Path.cwd()
    os.chdir(folder)
    try:
        for words in (
            ("train", "--eps", 0.1, "--epochs", 2, "--keep-every", 1, *TINY, "--out", "at"),
            ("extend", "at", "--eps", 0.2, "--epochs", 1, "--out", "eat"),
            ("train", "--eps", 0.1, "--epochs", 1, *TINY[:-1], "{width: 5}", "--out", "wide"),
        ):
            with pytest.raises(SystemExit) as ended:
                main([str(word) for word in words])
            assert ended.value.code == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def hardball(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Hardball:
    """Runs the command where the runs are: words → exit code, stdout, stderr."""
    monkeypatch.chdir(runs)

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return call
