"""The page of `hardball report`: its text, its numbers, what is missing on it, and what it refuses."""

import csv
import json
import math
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hardball.cli.train import _Request
from hardball.commands.remake import evaluate_command, train_command
from hardball.errors import UserError
from hardball.report import story, verdicts
from hardball.report.html import MOST, page
from hardball.report.pictures import fitted
from hardball.report.results import RunResults, read_run
from hardball.runs import Outcome, RunFolder
from hardball.training.fit import describe, fingerprint
from report.conftest import Page, hardball

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs the command beside the runs, with few examples: exit code, stdout, stderr."""
    monkeypatch.chdir(runs)

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        few = ("--examples", 2, "--eps", 0.1, "--attack", "fgsm")
        asked = {str(word) for word in words}
        code = hardball(*words, *(few if "report" in asked and not asked & {*few} else ()))
        return code, *capsys.readouterr()

    return call


def sealed_again(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes an evaluation.json and writes its digest anew."""
    from hardball.evaluation.witnesses import sealed

    content = json.loads(path.read_text())
    content.pop("sha256")
    change(content)
    path.write_bytes(sealed(content))


def parsed(path: Path) -> Page:
    html = path.read_text()
    assert len(html.encode()) < MOST
    found = Page(html)
    assert len(found.ids) == len(set(found.ids))
    for tag, attributes in found.tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(name, "#").startswith(("data:", "#")), (tag, name)
        assert tag != "img" or "alt" in attributes
        assert not any(name.startswith("on") for name in attributes)
    # nothing is fetched by the style or by the script either
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp|import\(", html)
    return found


def test_the_page_tells_the_story_of_two_runs(runs: Path, said: Said) -> None:
    code, out, err = said("report", "weak", "strong")
    assert (code, err) == (0, "")
    place, *parts = out.splitlines()
    assert place == "weak/report.html"
    found = parsed(runs / place)
    titles = re.findall(r"<h2>(.*?)</h2>", (runs / place).read_text())
    assert titles == [line.strip().partition(": missing")[0] for line in parts if line[2] != " "]
    for name in ("weak", "strong"):
        evaluation = json.loads((runs / name / "evaluation.json").read_text())
        for row in (evaluation["clean"], *evaluation["robust"]):
            assert f"{row['accuracy']:.1%}" in found.text
            assert f"{row['low']:.1%} – {row['high']:.1%}" in found.text
            assert f"{row['right']:,} of {row['n']:,}" in found.text
        for score in evaluation["scores"]:
            assert f"{score['backwards']:,}" in found.text
        for key in ("hardball", "torch", "python", "processor", "commit"):
            assert str(evaluation["machine"][key] or "")[:40] in found.text
        outcome = json.loads((runs / name / "outcome.json").read_text())
        assert f"{outcome['sample_steps']:,}" in found.text
        assert (runs / name / "config.yaml").read_text().split("\n", 1)[1] in found.text
    # the sentence on top compares the runs where both were measured
    weak, strong = (
        json.loads((runs / name / "evaluation.json").read_text())["robust"]
        for name in ("weak", "strong")
    )
    best = max((weak[1], "weak"), (strong[0], "strong"), key=lambda one: one[0]["accuracy"])
    sentence = re.search(r'<p class="summary.*?>(.*?)</p>', (runs / place).read_text())
    assert sentence is not None
    assert f"At ε=0.1 {best[1]} keeps most: {best[0]['accuracy']:.1%}" in sentence[1]


def test_charts_have_the_numbers_of_the_metrics(runs: Path, said: Said) -> None:
    said("report", "strong", "--examples", 0)
    found = parsed(runs / "strong" / "report.html")
    charts = [json.loads(text) for text in found.scripts if '"points"' in text]
    rows = list(csv.DictReader((runs / "strong" / "metrics.csv").read_text().splitlines()))
    loss = charts[0]["points"]
    assert [point["text"] for point in loss] == [f"epoch {int(float(r['epoch']))}" for r in rows]
    for point, row in zip(loss, rows, strict=True):
        assert [one["text"] for one in point["at"]] == [f"strong: {float(row['adv_loss']):.4g}"]
    # a constant prediction's loss is drawn, and places are linear in the values
    assert f"ln 10 = {math.log(10):.3f}" in found.text
    values = [float(row["adv_loss"]) for row in rows]
    places = [point["at"][0]["y"] for point in loss]
    slopes = [
        (b - places[0]) / (v - values[0])
        for b, v in zip(places[1:], values[1:], strict=True)
        if abs(v - values[0]) > 0.05
    ]
    assert slopes
    assert max(slopes) - min(slopes) < 0.02 * abs(slopes[0])
    assert slopes[0] < 0, "up is more"


def test_missing_parts_name_the_command_that_makes_them(runs: Path, said: Said) -> None:
    code, out, _ = said("report", "bare", "--examples", 0)
    assert code == 0
    found = parsed(runs / "bare" / "report.html")
    for command in (
        "hardball evaluate bare --protocol checklist",
        "hardball landscape weights random bare",
        "hardball landscape inputs bare",
        "hardball explain bare",
        "hardball report bare",
    ):
        assert command in found.text
        assert command in out
    assert "has not been measured" in verdicts.of_run(read_run(runs / "bare", "bare")).sentence


def test_parts_appear_once_their_command_has_run(runs: Path, said: Said) -> None:
    said("landscape", "weights", "random", "weak", "--points", 5, "--n", 20, "--attack", "fgsm")
    said("landscape", "inputs", "weak", "--grid", 5, "--attack", "fgsm")
    saliency = {
        "run": "weak",
        "quantity": "Gini <b>",
        "eps": 0.1,
        "mean": 0.4321,
        "low": 0.4,
        "high": 0.5,
    }
    explained = {"command": "hardball explain weak --n 7", "numbers": [{**saliency, "n": 7}]}
    (runs / "weak" / "explain.json").write_text(json.dumps(explained))
    Image.new("RGB", (40, 30), "red").save(runs / "weak" / "explain.png")
    _, out, _ = said("report", "weak")
    assert "has not been drawn" not in out
    found = parsed(runs / "weak" / "report.html")
    for name in ("weights", "inputs"):
        there = json.loads((runs / "weak" / f"landscape-{name}.json").read_text())
        assert there["command"] in found.text
    (barrier,) = [
        one["barrier"]
        for one in json.loads((runs / "weak" / "landscape-weights.json").read_text())["segments"]
    ]
    assert f"{barrier:.3f}" in found.text
    for text in ("Gini <b>", "0.432", "0.400 – 0.500", "hardball explain weak --n 7"):
        assert text in found.text


def changed(run: RunResults, **outcome: Any) -> RunResults:
    assert run.outcome is not None
    return replace(run, outcome=replace(run.outcome, **outcome))


@pytest.mark.parametrize("status", ["collapsed", "non-finite"])
def test_a_run_that_failed_says_so_first(runs: Path, status: str) -> None:
    run = changed(read_run(runs / "strong", "strong"), status=status, message="stuck at ln <10>")
    first = verdicts.of_all([run])
    assert (first.badge.text, first.badge.tone) == (status, "bad")
    assert first.sentence == "Stuck at ln <10>."
    html = page("t", first.sentence, story.sections([run], "x"), badge=first.badge)
    text = Page(html).text
    assert text.index("Stuck at ln <10>.") < text.index("What was trained")
    both = verdicts.of_all([read_run(runs / "weak", "weak"), run])
    assert both.sentence.startswith(f"1 of 2 runs failed, strong ({status})")


def test_a_run_that_failed_in_its_first_epoch_is_reported(runs: Path, said: Said) -> None:
    folder = RunFolder(runs / "bare")
    outcome = Outcome(
        status="non-finite",
        message="the loss is NaN",
        epochs=0,
        eps=0.1,
        sample_steps=0,
        seconds=1.0,
    )
    folder.write_outcome(outcome)
    for path in ("metrics.csv", "metrics.csv.sha256", "weights.safetensors"):
        (runs / "bare" / path).unlink()
    code, out, _ = said("report", "bare")
    assert code == 0
    assert "hardball train --resume bare" in out
    assert "The loss is NaN." in parsed(runs / "bare" / "report.html").text


@pytest.mark.parametrize("masked", [True, False])
def test_the_probe_at_the_end_is_shown_and_masking_is_said(runs: Path, masked: bool) -> None:
    plain = read_run(runs / "weak", "weak")
    assert "probe at the end" not in Page(page("t", "s", story.sections([plain], "x"))).text
    probe = {"n": 50, "trained": 0.8, "accuracy": 0.06, "by": {}, "masked": masked}
    run = changed(read_run(runs / "strong", "strong"), probe=probe, message="ended, and it hides")
    text = Page(page("t", "s", story.sections([plain, run], "x"))).text
    said = "of 50 held-out images 80.0% withstand the training attack, 6.0% stronger ones as well"
    assert said in text
    assert ("strong: ended, and it hides." in text) == masked
    sentence = verdicts.of_run(replace(run, evaluation=None)).sentence
    assert ("the probe at the end of its training found it masked" in sentence) == masked


def test_losses_that_are_no_numbers_are_left_out(runs: Path) -> None:
    run = read_run(runs / "weak", "weak")
    history = [
        *run.history[:-1],
        run.history[-1] | {"adv_loss": math.nan, "val_adv_loss": math.inf},
    ]
    run = replace(run, history=history)
    loss = story.sections([run], "x")[1].blocks[0].lines[0]
    assert len(loss.x) == len(history) - 1
    Page(page("t", "s", story.sections([run], "x")))


def test_the_verdict_of_a_checklist_and_certificates_are_shown(runs: Path) -> None:
    run = read_run(runs / "strong", "strong")
    evaluation = run.evaluation
    assert evaluation is not None
    row = {"right": 60, "n": 120, "accuracy": 0.5, "low": 0.412, "high": 0.588}
    check: dict[str, Any] = {
        "number": "A",
        "name": "zero gradients",
        "found": "9 of 40",
        "limit": "<5",
        "note": "",
    }
    check |= {"status": "fail", "meaning": "gradients vanish", "reason": "", "backwards": 1}
    evaluation |= {
        "certified": [{"eps": 0.1, "certificate": "mine", **row}],
        "checklist": {"budget": "quick", "eps": 0.15, "checks": [check]},
        "verdict": {"word": "masked", "sentence": "masked: at ε, gradients vanish."},
        "warnings": ["half precision: <i>"],
    }
    parts = story.sections([run], "x")
    html = page("t", verdicts.of_all([run]).sentence, parts)
    text = Page(html).text
    for part in (
        "at ε, gradients vanish.",
        "9 of 40",
        "50.0% [41.2%, 58.8%] (mine)",
        "lies between 50.0%, which is proved (mine), and the",
        "half precision: <i>",
    ):
        assert part in text
    chart = next(one for one in parts[2].blocks if one.kind == "chart")
    attacked, certified = chart.lines
    assert (certified.x, certified.y, certified.second) == ([0.1], [0.5], True)
    assert attacked.x == [0.0, 0.1, 0.15]
    assert "Certified" in parts[2].text or "certified" in parts[2].text


def test_names_that_hold_html_are_text(runs: Path, said: Said) -> None:
    name = '<img src=x onerror="alert(1)">&'
    (runs / "weak").rename(runs / name)
    config = (runs / name / "config.yaml").read_text().splitlines()[1:]
    text = "\n".join(config).replace("name: digits\n", "name: </script><script>alert(2)</script>\n")
    (runs / name / "config.yaml").write_text(text)
    code, *_ = said("report", name, "--out", "page.html")
    assert code == 0
    found = parsed(runs / "page.html")
    assert name in found.text
    assert all("alert" not in script or script.lstrip().startswith("{") for script in found.scripts)
    assert len([tag for tag, _ in found.tags if tag == "script"]) == len(found.scripts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("nowhere",),
            "nowhere is no run: it has no config.yaml; name a folder that training made",
        ),
        (
            ("empty",),
            "empty has no results yet: it has finished no epoch; continue it: hardball train",
        ),
        (("weak", "--examples", "-1"), "--examples -1; allowed is 0 … 100"),
        (("weak", "--eps", "0"), "--eps 0.0; allowed are positive numbers"),
        (("weak", "--out", "strong"), "--out strong is a folder; name a file"),
        (
            ("weak", "--with", "weak/config.yaml"),
            "--with weak/config.yaml; allowed are .json and .png",
        ),
        (
            ("weak", "--with", "weak/outcome.json"),
            "--with weak/outcome.json is no result of hardball",
        ),
        ((), "missing RUN"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    runs: Path, said: Said, words: tuple[str, ...], message: str
) -> None:
    (runs / "empty").mkdir()
    (runs / "empty" / "config.yaml").write_text((runs / "weak" / "config.yaml").read_text())
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    code, out, err = said("report", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"hardball: error: {message}")
    assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("file", ["evaluation.json", "outcome.json", "metrics.csv", "config.yaml"])
def test_a_file_that_has_changed_is_refused(runs: Path, said: Said, file: str) -> None:
    said("report", "weak")
    before = (runs / "weak" / "report.html").read_bytes()
    path = runs / "weak" / file
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 3))
    code, _, err = said("report", "weak")
    assert code == 2
    assert file in err
    assert err.count("\n") == 1
    assert (runs / "weak" / "report.html").read_bytes() == before


def test_runs_of_the_same_name_are_told_apart(runs: Path, said: Said) -> None:
    (runs / "more").mkdir()
    (runs / "strong").rename(runs / "more" / "weak")
    said("report", "weak", "more/weak", "weak", "--examples", 0)
    found = parsed(runs / "weak" / "report.html")
    assert "weak · more/weak" in found.text


@pytest.mark.parametrize(
    "words",
    [
        "--eps 0.1 --epochs 1",
        "--eps 0.2 --curriculum iterative --ramp-epochs 3 --hold 1 --per step --may-stop false --seed 3",
        "--eps 0.1 --epochs 2 --objective trades --objective.beta 3 --lr 0.01 --optimizer sgd",
        "--eps 0 --epochs 1 --data digits-bw --model-args '{width: 8}' --attack-mode train --average 0.9",
        "--eps-max 0.2 --curriculum adaptive --steps 3 --batch-size 32",
        "--eps 0.2 --epochs 1 --front rounding --front-args '{steepness: 40}'",
    ],
)
def test_the_command_of_a_training_asks_for_the_same(words: str) -> None:
    """The command made from a config gives that config again."""

    def config_of(line: list[str]) -> dict[str, Any]:
        argv = ["--" + w[2:].replace("-", "_") if w.startswith("--") else w for w in line]
        asked = _Request("train", "--eps E", argv, about="").config()
        data = {"name": asked.data.name, "root": str(asked.data.root)}
        model = {
            "name": asked.model.named(asked.data.name),
            "args": asked.model.args,
            "front": asked.model.front,
            "front_args": asked.model.front_args,
        }
        about = {"data": data, "model": model, "origin": None}
        return describe(asked.curriculum, asked.settings, about)

    config = config_of(shlex.split(words))
    command = train_command(Path("a b"), config)
    assert command is not None
    program, name, *again, flag, out = shlex.split(command)
    assert (program, name, flag, out) == ("hardball", "train", "--out", "a b")
    assert fingerprint(config_of(again)) == fingerprint(config)


def test_the_command_of_an_extension_asks_for_the_same(runs: Path, said: Said) -> None:
    said("extend", "weak", "--eps", 0.1, "--epochs", 1, "--lr", 0.004, "--out", "wide")
    config = RunFolder(runs / "wide").config()
    command = train_command(Path("again"), config)
    assert command is not None
    assert "--optimizer-lr 0.004" in command
    assert said(*shlex.split(command)[1:])[0] == 0
    again = RunFolder(runs / "again")
    assert fingerprint(again.config()) == fingerprint(config)
    assert again.weights_file.read_bytes() == (runs / "wide" / "weights.safetensors").read_bytes()


def test_the_command_of_an_evaluation_asks_for_the_same(runs: Path, said: Said) -> None:
    file = runs / "weak" / "evaluation.json"
    before = json.loads(file.read_text())
    command = evaluate_command(Path("weak"), before)
    file.unlink()
    assert said(*shlex.split(command)[1:])[0] == 0
    after = json.loads(file.read_text())
    for key in ("data", "split", "norm", "n", "seed", "clean", "robust", "attacks"):
        assert after[key] == before[key]
    strong = before | {
        "attacks": dict.fromkeys(("pgd-20", "targeted-pgd-20", "pgd-margin-100", "pgd-100-x10"))
    }
    assert "--protocol strong" in evaluate_command(Path("weak"), strong)
    checked = before | {
        "checklist": {"budget": "full"},
        "required": [{"eps": 0.1, "accuracy": 0.5}],
    }
    assert "--protocol checklist --budget full --require 0.1:0.5" in evaluate_command(
        Path("w"), checked
    )


def test_theory_and_limit_are_shown_where_asked_for(runs: Path, said: Said) -> None:
    for topic, more in (
        ("gaussian", ()),
        ("bernoulli", ("--k", 6)),
        ("limits", ("--k", "[4,8]")),
        ("hardness", ("--vertices", 5)),
    ):
        assert said("theory", topic, *more, "--out", f"numbers/{topic}.json")[0] == 0
    said("limit", "--first", 60, "--out", "limit.json", "--figures", "pictures")
    code, out, _ = said(
        "report", "weak", "--examples", 0, "--with", "[numbers, limit.json, pictures]"
    )
    assert code == 0
    found = parsed(runs / "weak" / "report.html")
    limit = next(iter(json.loads((runs / "limit.json").read_text()).values()))
    assert f"{limit['closest_pair']['distance'] / 2:.4g}" in found.text
    assert limit["command"] in found.text
    gaussian = json.loads((runs / "numbers" / "gaussian.json").read_text())
    assert all(f"{error:.4g}" in found.text for error in gaussian["optimal"])
    for words in ("hardball theory hardness --vertices 5", "hardball theory bernoulli --k 6"):
        assert words in found.text
    for title in (
        "The largest ε that digits allows",
        "Theory: hardness",
        "Pictures of theory and limit",
    ):
        assert title in out
    assert "digits-train-linf-pairs.png" in found.text


def test_a_large_picture_is_made_to_fit(tmp_path: Path) -> None:
    file = tmp_path / "noise.png"
    Image.effect_noise((700, 500), 90).convert("RGB").save(file)
    content = file.read_bytes()
    small = fitted(content, 60_000)
    assert len(small) <= 60_000 < len(content)
    assert small.startswith(b"\x89PNG")
    assert fitted(content, len(content)) is content


def test_a_foreign_evaluation_schema_is_refused(runs: Path) -> None:
    sealed_again(runs / "weak" / "evaluation.json", lambda content: content.update(schema=1))
    with pytest.raises(UserError, match=r"schema 1; this version reads 2 and 3"):
        read_run(runs / "weak", "weak")
