"""`hardball evaluate --protocol checklist`: from flags to the sentence and evaluation.json."""

import json
from pathlib import Path

import pytest

from commands import TINY, Signal, run
from contexts import SMALL
from hardball.evaluation.checks.registry import TABLE

FEW = {"checklist": ("pgd-20", "apgd-ce"), "quick": ("pgd-20",)}
QUICKLY = {
    "hardball.evaluation.checks.budget:BUDGETS": {"quick": SMALL, "standard": SMALL},
    "hardball.evaluation.protocols:PROTOCOLS": FEW,
}
CHECK = ("--protocol", "checklist", "--budget", "quick", "--n", 12)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run and one extended from it."""
    folder = tmp_path_factory.mktemp("runs")
    assert run(("train", "--eps", 0.05, "--epochs", 3, *TINY, "--out", "at"), folder)[0] == 0
    assert run(("extend", "at", "--eps", 0.1, "--epochs", 1, "--out", "eat"), folder)[0] == 0
    return folder


def told(folder: Path):
    return json.loads((folder / "evaluation.json").read_text())


def plain(found):
    """Without what the clock and the seal make of it."""
    kept = {k: v for k, v in found.items() if k not in ("seconds", "scores", "machine", "sha256")}
    for check in kept["checklist"]["checks"]:
        check.pop("seconds")
        check.pop("note")
        for name in ("seconds", "hours_for_the_papers"):
            check["measured"].pop(name, None)
    return kept


def test_the_command_ends_with_a_sentence_and_is_verified(runs):
    code, out, err = run(("evaluate", "eat", *CHECK, "--source", "at"), runs, instead=QUICKLY)
    assert err == ""
    found = told(runs / "eat")
    assert code == found["verdict"]["exit_code"]
    assert max(map(len, out.splitlines())) <= 80
    assert " ".join(out.split()).endswith(found["verdict"]["sentence"])
    assert len(found["checklist"]["checks"]) == len(TABLE)
    by_name = {check["name"]: check for check in found["checklist"]["checks"]}
    assert by_name["transfer from origin"]["status"] in ("pass", "fail")
    assert by_name["smallest distortion"]["status"] in ("pass", "fail"), "the base is the origin"
    assert found["checklist"]["claimed"]["attack"] == "pgd-20"
    assert found["checklist"]["strongest"]["right"] == found["robust"][-1]["right"]
    assert run(("verify", "eat"), runs)[0] == 0

    # killed in the middle of the checks, and continued
    before = plain(found)
    (runs / "eat" / "evaluation.json").unlink()
    for state in sorted((runs / "eat" / "evaluation.state").rglob("*.pt")):
        state.unlink()
    kill = Signal(at="hardball.evaluation.tasks:attempt", count=12)
    words = ("evaluate", "eat", *CHECK, "--source", "at")
    assert run(words, runs, planned=kill, instead=QUICKLY)[0] == -kill.number
    assert told(runs / "eat")["verdict"] is None, "measured, not judged yet"
    code, out, _ = run(words, runs, instead=QUICKLY)
    assert "continuing: 2 of 2 attacks done" in out
    assert plain(told(runs / "eat")) == before


def test_a_run_without_ancestry_and_a_requirement_that_is_missed(runs):
    words = ("evaluate", "at", *CHECK, "--eps", 0.3, "--require", "0.3:0.99")
    code, out, err = run(words, runs, instead=QUICKLY)
    assert (code, err) == (1, "")
    found = told(runs / "at")
    by_name = {check["name"]: check for check in found["checklist"]["checks"]}
    for name in ("transfer", "transfer from origin", "smallest distortion"):
        assert by_name[name]["status"] == "not applicable"
        assert by_name[name]["reason"] in " ".join(out.split())
    assert found["verdict"]["required"] == 0.99
    assert "99.0% required" in found["verdict"]["sentence"] or found["verdict"]["word"] == "masked"
    assert run(("verify", "at"), runs)[0] == 0


def test_an_origin_that_changed_is_no_source(runs, tmp_path):
    for name in ("at", "eat"):
        (tmp_path / name).mkdir()
        for file in ("config.yaml", "weights.safetensors"):
            (tmp_path / name / file).write_bytes((runs / name / file).read_bytes())
    (tmp_path / "at" / "weights.safetensors").write_bytes(
        (runs / "eat" / "weights.safetensors").read_bytes()
    )
    _, _, err = run(("evaluate", "eat", *CHECK), tmp_path, instead=QUICKLY)
    assert err == ""
    checks = told(tmp_path / "eat")["checklist"]["checks"]
    last = next(check for check in checks if check["name"] == "transfer from origin")
    assert last["status"] == "could not run"
    assert last["reason"] == "at has changed since this run was extended from it"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--budget", "quick"), "--budget quick without --protocol checklist"),
        (("--source", "at"), "--source at without --protocol checklist"),
        (
            ("--protocol", "checklist", "--budget", "x"),
            "budget=x; allowed is quick, standard, full",
        ),
        (("--protocol", "checklist", "--n", 4, "--source", "no"), "no run and no weights at no"),
        (("--protocol", "checklist", "--n", 4, "--base", "no"), "no run and no weights at no"),
    ],
)
def test_mistakes_cost_a_line(words, message, runs):
    code, out, err = run(("evaluate", "at", *words), runs, instead=QUICKLY)
    assert (code, out, err.count("\n")) == (2, "", 1), "asked before anything long is done"
    assert message in err
