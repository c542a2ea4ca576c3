"""Habits of the terminal: --json, NO_COLOR, narrow terminals, and output that is no terminal."""

import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from fcntl import ioctl
from pathlib import Path

import pytest

from commands import own
from hardball.cli.terminal import answered, ask_for_json
from trained import Hardball, hardball, runs

__all__ = ["hardball", "runs"]

QUICK = ("--attacks", "pgd-2", "--n", 40)

ANSWERS: list[tuple[tuple[object, ...], set[str]]] = [
    (("evaluate", "at", *QUICK), {"clean", "robust", "scores", "verdict", "machine"}),
    (("verify", "at"), {"run", "holds", "findings", "sentence", "remarks"}),
    (("extend", "at", "--eps", 0.2, "--epochs", 1, "--out", "more"), {"run", "status", "epochs"}),
    (("train", "--resume", "at"), {"run", "status", "eps"}),
    (("limit", "--first", 40), {"closest_pair", "curve"}),
    (("theory", "gaussian"), {"gap", "sigma"}),
    (("theory", "bernoulli", "--k", 4), {"k", "t"}),
    (("theory", "limits", "--k", "[10]", "--t", "[0.1]"), {"largest_eps"}),
    (("theory", "hardness", "--vertices", 4), {"right", "accuracy"}),
    (("landscape", "weights", "at", "eat", "--points", 3, "--n", 20), {"kind", "segments"}),
    (("landscape", "inputs", "at", "--index", 0, "--grid", 3), {"kind", "machine"}),
    (("landscape", "convergence", "at"), {"kind", "runs"}),
    (("explain", "at", "--n", 4, "--steps", 2), {"kind", "numbers", "images"}),
    (("report", "at", "--examples", 0), {"page", "sections"}),
    (("reproduce", "--list"), {"fig12"}),
    (("doctor", "--self-test", "false"), {"machine", "devices", "extras", "data", "self_test"}),
]
"""(a command, some keys of its answer)"""


@pytest.mark.parametrize(
    ("words", "keys"),
    ANSWERS,
    ids=lambda value: " ".join(map(str, sorted(value) if isinstance(value, set) else value))[:24],
)
def test_with_json_stdout_is_one_object(
    words: tuple[object, ...], keys: set[str], hardball: Hardball
) -> None:
    if words[0] == "verify":
        hardball("evaluate", "at", *QUICK)
    code, out, err = hardball(*words, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert isinstance(found, dict)
    assert keys <= found.keys()
    assert out.count("\n") == 1


def test_the_answer_of_evaluate_is_the_content_of_its_file(hardball: Hardball, runs: Path) -> None:
    _, out, err = hardball("evaluate", "at", *QUICK, "--json")
    assert json.loads(out) == json.loads((runs / "at" / "evaluation.json").read_text())
    assert "after attack" in err  # what people read is still there


def test_an_error_leaves_stdout_empty(hardball: Hardball) -> None:
    code, out, err = hardball("evaluate", "nowhere", "--json")
    assert (code, out) == (2, "")
    assert err.startswith("hardball: error: ")


def test_a_missed_requirement_keeps_its_exit_code(hardball: Hardball) -> None:
    code, out, _ = hardball("evaluate", "at", *QUICK, "--eps", 0.1, "--require", "0.1:1", "--json")
    assert code == 1
    assert json.loads(out)["required"][0]["met"] is False


def test_json_is_asked_for_anew_by_each_command(hardball: Hardball) -> None:
    hardball("theory", "gaussian", "--json")
    assert "optimal" in hardball("theory", "gaussian")[1]


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    ask_for_json(True)
    assert answered({"a": [float("nan"), (1.5, float("inf"))], "path": Path("x")})
    ask_for_json(False)
    assert json.loads(capsys.readouterr().out) == {"a": [None, [1.5, None]], "path": "x"}
    assert not answered({"a": 1})
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------- terminals

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?!0m)[0-9;]*(?:3[0-79]|4[0-79]|9[0-7])[0-9;]*m")

TABLES = "from hardball.cli.main import main; import sys; main(sys.argv[1:])"


def on_a_terminal(
    words: Sequence[object], folder: Path, *, columns: int, more: Mapping[str, str]
) -> tuple[int, str]:
    """Exit code and all that is written to a terminal of that width."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", TABLES, *map(str, words)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=plain | {"TERM": "xterm-256color"} | dict(more),
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the last one that had it open has gone
            break
        if not part:
            break
        written += part
    os.close(ours)
    return process.wait(), written.decode()


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a training writes to a terminal of 40 columns, with colours and without."""
    folder = tmp_path_factory.mktemp("narrow")
    words = ("train", "--eps", 0.1, "--epochs", 2, "--steps", 2, "--model-args", "{width: 4}")
    found = {}
    for name, more in (("colours", {}), ("plain", {"NO_COLOR": "1"})):
        code, found[name] = on_a_terminal((*words, "--out", name), folder, columns=40, more=more)
        assert code == 0, found[name]
    return found


def test_a_live_line_never_wraps_on_forty_columns(narrow: dict[str, str]) -> None:
    bars = [
        line for line in re.split(r"[\r\n]+", CONTROL.sub("", narrow["plain"])) if "left" in line
    ]
    assert bars
    assert max(map(len, bars)) <= 40


def test_no_color_means_none(narrow: dict[str, str]) -> None:
    assert COLOUR.search(narrow["colours"])
    assert not COLOUR.search(narrow["plain"])


@pytest.mark.parametrize("columns", [40, 80])
def test_tables_fit(columns: int, hardball: Hardball, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in (
        ("evaluate", "at", *QUICK),
        ("verify", "at"),
        ("theory", "gaussian"),
        ("limit", "--first", 40),
        ("explain", "at", "--n", 4, "--steps", 2),
        ("landscape", "convergence", "at"),
    ):
        code, out, _ = hardball(*words)
        assert code == 0
        rows = [line for line in out.splitlines() if "│" in line or "┃" in line]
        assert rows, words
        assert max(map(len, rows)) <= columns, words


def test_numbers_are_whole_on_forty_columns(
    hardball: Hardball, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    _, out, _ = hardball("evaluate", "at", *QUICK)
    assert "…" not in "".join(line for line in out.splitlines() if "%" in line)
    assert re.search(r"\d+\.\d%", out)


def test_what_is_no_terminal_gets_no_control_sequences(hardball: Hardball, runs: Path) -> None:
    words = [sys.executable, "-m", "hardball", "evaluate", "at", *map(str, QUICK)]
    ended = subprocess.run(words, cwd=runs, capture_output=True, text=True, check=True)
    assert "\x1b" not in ended.stdout + ended.stderr
    assert "\r" not in ended.stdout
    assert "accuracy" in ended.stdout
    assert own(ended.stderr) == ""
