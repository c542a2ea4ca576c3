"""`hardball evaluate`: requirements, exit codes, and a table for 80 columns."""

import json
import signal

import pytest
import torch
from rich.console import Console

from hardball import PGD, UserError, storage
from hardball.cli import main
from hardball.commands.require import Requirement
from hardball.evaluation import Accuracy, Evaluation, Score
from hardball.report.tables import evaluation_table, findings_table


def made(right: int, names: tuple[str, ...] = ("pgd",), n: int = 10) -> Evaluation:
    """An evaluation that left `right` of n standing at ε=0.4."""
    broken = torch.full((n,), 0.4, dtype=torch.float64)
    broken[:right] = torch.inf
    scores = [
        Score(
            eps=0.4,
            attack=name,
            after=Accuracy(right=right, n=n),
            attacked=n,
            broken=n - right,
            unconfirmed=0,
            forwards=0,
            backwards=0,
            seconds=0.0,
        )
        for name in names
    ]
    return Evaluation(
        data="mnist",
        norm="linf",
        seed=0,
        radii=(0.4,),
        scores=scores,
        attacks={name: PGD(steps=1) for name in names},
        broken_at=broken,
        broken_by=tuple("" if b == torch.inf else names[0] for b in broken.tolist()),
        witnesses=torch.zeros(n, 1, 2, 2),
        doubts=(),
        seconds=0.0,
    )


@pytest.mark.parametrize(("right", "met"), [(8, False), (9, True), (10, True)])
def test_a_requirement_is_met_from_its_accuracy_on(right, met):
    (asked,) = Requirement.parse("0.4:0.90")
    assert asked == Requirement(eps=0.4, accuracy=0.9)
    found = made(right)
    assert asked.met_by(found) is met
    assert asked.as_json(found) == {"eps": 0.4, "accuracy": 0.9, "met": met}
    told = asked.line(found)
    assert told.startswith(
        f"required 90.0% at ε=0.4: {'met' if met else 'MISSED'}, measured {right}"
    )


def test_a_requirement_may_be_at_a_fraction() -> None:
    assert Requirement.parse("8/255:0.5, 0.4:1/2") == [
        Requirement(eps=8 / 255, accuracy=0.5),
        Requirement(eps=0.4, accuracy=0.5),
    ]
    for text in ("8/0:0.5", "8//255:0.5", "/255:0.5", "8/255"):
        with pytest.raises(UserError, match="allowed is EPS:ACC"):
            Requirement.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.4", r"`require=0.4`; allowed is EPS:ACC, two numbers, e.g. 0.4:0.90"),
        ("0.4:0.9:1", r"`require=0.4:0.9:1`; allowed is EPS:ACC"),
        ("a:b", r"`require=a:b`; allowed is EPS:ACC"),
        ("0.4:0.9,", r"`require=`; allowed is EPS:ACC"),
        ("0.4:90", r"accuracy 90; allowed is 0 … 1: write 90% as 0.9"),
        ("0.4:nan", r"accuracy nan; allowed is 0 … 1"),
        ("0.4:-0.1", r"accuracy -0.1; allowed is 0 … 1"),
    ],
)
def test_other_requirements_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        Requirement.parse(text)


@pytest.fixture
def evaluate(digits_net, tmp_path, capsys, monkeypatch):
    """Runs hardball evaluate on the trained digits network: (code, stdout, stderr, record)."""
    weights = tmp_path / "w.safetensors"
    storage.save_weights(digits_net, weights)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*more: object):
        words = ["evaluate", weights, "--data", "digits", "--model-args", "{width: 8}", "--n", 60]
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in [*words, "--attacks", "fgsm", *more]])
        record = tmp_path / "w.evaluation.json"
        told = json.loads(record.read_text()) if record.exists() else {}
        return (ended.value.code, *capsys.readouterr(), told)

    return run


def test_the_exit_code_says_whether_requirements_are_met(evaluate):
    code, out, err, told = evaluate("--eps", 0.02, "--require", "0.02:0.5")
    assert (code, err) == (0, "")
    assert "required 50.0% at ε=0.02: met, measured" in out
    assert told["required"] == [{"eps": 0.02, "accuracy": 0.5, "met": True}]
    # an ε that was not asked for is measured for it; one that is missed is enough
    code, out, _, told = evaluate("--eps", 0.02, "--require", "0.02:0.5, 0.5:0.99")
    assert code == 1
    assert "required 99.0% at ε=0.5: MISSED, measured" in out
    assert [row["eps"] for row in told["robust"]] == [0.02, 0.5]
    assert [row["met"] for row in told["required"]] == [True, False]
    # "1:0.9" is no time of day, and 5:0.1 no sexagesimal number
    code, _, _, told = evaluate("--norm", "unbounded", "--eps", 1.0, "--require", "1:0.9")
    assert (code, told["required"][0]) == (1, {"eps": 1.0, "accuracy": 0.9, "met": False})
    code, _, _, told = evaluate("--norm", "l2", "--eps", 0.1, "--require", "5:0.0,0.1:0")
    assert (code, told["required"][0]["eps"]) == (0, 5.0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--require", "0.4"), "--require 0.4; allowed is EPS:ACC"),
        (("--require", "3:0.5"), "eps=3 for linf; allowed"),
        (("--require", "nan:0.5"), "eps=nan for linf; allowed"),
        (("--processes", "0"), "--processes 0; allowed is 1 or more"),
    ],
)
def test_mistakes_have_exit_code_2(more, message, evaluate):
    code, _, err, told = evaluate("--eps", 0.02, *more)
    assert code == 2
    assert err.startswith(f"hardball: error: {message}")
    assert told == {}


@pytest.mark.filterwarnings("default")
def test_warnings_are_one_line_each_and_recorded(evaluate, monkeypatch):
    def dark(model, dtype):
        return lambda images: model(images) * torch.nan

    monkeypatch.setattr("hardball.evaluation.execution.accepting", dark)
    code, _, err, told = evaluate("--eps", 0.02)
    lines = err.splitlines()
    assert (code, len(lines), told["clean"]["n"]) == (0, 2, 60)
    assert lines[0].startswith("hardball: warning: nothing to attack: the model gets all 60 images")
    assert lines[1].startswith("hardball: warning: NaN outputs: ")
    assert [f"hardball: warning: {line}" for line in told["warnings"]] == lines


def test_interruption_says_how_to_go_on(evaluate, monkeypatch):
    def interrupted(*_, **__):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("hardball.evaluation.tasks.attempt", interrupted)
    code, _, err, _ = evaluate("--eps", 0.02)
    assert (code, err) == (130, "hardball: interrupted; the same command continues it\n")


def lines_of(table, width: int) -> list[str]:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table)
    return captured.get().splitlines()


def test_the_tables_fit_80_columns():
    names = ("pgd-margin-100-x5", "targeted-pgd-20", "a-very-long-name-of-an-attack-of-mine")
    found = made(9_000, names, n=10_000)
    lines = lines_of(evaluation_table(found, title="iat04"), 80)
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    shown = "".join(line.split("│")[2].strip() for line in lines if "│" in line)
    assert shown == "none" + "".join(names)  # a name may wrap, nothing is cut off
    assert sum("90.0%" in line and "89.4%–90.6%" in line for line in lines) == 3
    lines = lines_of(findings_table([("witness list", "long words " * 12, False)]), 80)
    assert max(map(len, lines)) <= 80
