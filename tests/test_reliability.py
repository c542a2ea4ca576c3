"""What docs/reliability.md promises is shown by tests that exist; and promises that lie across files."""

import ast
import importlib.metadata
import os
import re
import signal
import socket
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from commands import TINY, Signal, run, run_two
from hardball import load_dataset, models
from hardball.attacks import PGD, Targeted
from hardball.cli import main
from hardball.cli.main import _one_line
from hardball.errors import UserError
from hardball.evaluation import evaluate
from hardball.runs import RunFolder

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/reliability.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")

UPDATE = "hardball.training.update:Update.apply"
WORDS = ("train", *TINY, "--eps", 0.1, "--epochs", 3)


def test_every_test_that_the_page_names_exists() -> None:
    named = NAMED.findall(PAGE.read_text())
    assert len(named) > 20
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text())
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not test or test in names, (file, test)


def test_every_promise_of_the_page_names_a_test() -> None:
    tables = [part for part in PAGE.read_text().split("\n\n") if part.startswith("| promise")]
    promises = [row for table in tables for row in table.splitlines()[2:]]
    assert len(promises) > 20
    assert not [row for row in promises if not NAMED.search(row)]


# --- supply chain


def requirements() -> list[str]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def test_the_design_page_says_what_each_dependency_is_for() -> None:
    table = (ROOT / "docs/design.md").read_text().partition("## Libraries")[2].partition("\n## ")[0]
    known = set(re.findall(r"^\| ([\w., -]+?) \|", table, re.MULTILINE))
    listed = {name.strip() for row in known for name in row.split(",")}
    needed = {re.split(r"[\[<>=]", one)[0] for one in requirements()}
    assert needed <= listed


def test_everything_that_is_installed_for_it_is_pinned() -> None:
    pinned = {
        re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    }
    left, seen = [re.split(r"[\[<>=]", one)[0] for one in requirements()], set[str]()
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        left += [
            re.split(r"[\[<>=!~; (]", needed)[0]
            for needed in importlib.metadata.requires(name) or []
            if not any(word in needed for word in ("extra ==", "platform", "python_"))
        ]
    # torch brings the toolchain of its own release; its device libraries differ by machine
    ours = {
        name for name in seen if not name.startswith(("nvidia-", "cuda-", "triton", "setuptools"))
    }
    assert ours <= pinned


def test_importing_helping_and_training_open_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[object] = []

    def refused(self: socket.socket, address: object) -> None:
        tried.append(address)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket.socket, "connect_ex", refused)
    monkeypatch.chdir(tmp_path)
    words = [str(word) for word in WORDS]
    evaluation = ["evaluate", "r", "--n", "20", "--attacks", "fgsm"]
    for command in (["--help"], ["train", "--help"], [*words, "--out", "r"], evaluation):
        with pytest.raises(SystemExit, match=r"^0$"):
            main(command)
    assert tried == []


@pytest.mark.parametrize("kind", ["MNIST", "FashionMNIST"])
def test_what_torchvision_downloads_is_checked_by_digest(kind: str) -> None:
    from torchvision import datasets

    assert all(re.fullmatch(r"[0-9a-f]{32}", md5) for _, md5 in getattr(datasets, kind).resources)
    assert re.fullmatch(r"[0-9a-f]{32}", datasets.CIFAR10.tgz_md5)


# --- messages and processes


def test_a_library_s_warning_goes_under_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    package = "/x/lib/python3/site-packages/torch/nn/init.py"
    _one_line("zero elements", UserWarning, package, 3)
    _one_line("soon gone", FutureWarning, package, 3)
    _one_line("of `data_root`", UserWarning, "/x/src/hardball/data/folder.py", 3)
    _one_line("mine", FutureWarning, "/home/me/mine.py", 3)
    assert capsys.readouterr().err.splitlines() == [
        "hardball: warning: from torch: zero elements",
        "hardball: warning: of --data-root",
        "hardball: warning: mine",
    ]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_process_of_a_training_is_said_in_one_line(lost: int, tmp_path: Path) -> None:
    kill = Signal(at=UPDATE, count=9, number=signal.SIGKILL)
    words = (*WORDS, "--out", "r", "--save-minutes", 0)
    ended = run_two(words, tmp_path, planned=kill, rank=lost)
    code, _, err = ended[1 - lost]
    assert (code, ended[lost][0]) == (2, -signal.SIGKILL)
    assert err.count("\n") == 1
    assert f"process {1 - lost} of 2 has lost another process of this training" in err
    assert "continue: --resume r" in err
    assert run(["train", "--resume", "r", "--devices", 1], tmp_path)[0] == 0


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_disk_that_is_full_for_events_ends_no_training(tmp_path: Path) -> None:
    instead = {"tensorboard.summary.writer.record_writer:RecordWriter.write": full}
    code, out, err = run([*WORDS, "--out", "r"], tmp_path, instead=instead)
    assert (code, err.count("\n")) == (0, 1)
    assert "cannot write events for TensorBoard: No space left on device; the training goes" in err
    assert "finished: r" in out
    outcome = RunFolder(tmp_path / "r").outcome()
    assert outcome is not None
    assert outcome.status == "finished"


def test_weights_of_a_finished_run_are_made_again_from_its_newest_point(tmp_path: Path) -> None:
    assert run([*WORDS, "--out", "r"], tmp_path)[0] == 0
    weights = tmp_path / "r/weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4] + b"\0\0\1\0")
    for words in (["train", "--resume", "r"], ["evaluate", "r", "--n", 4]):
        code, _, err = run(words, tmp_path)
        assert (code, err.count("\n")) == (2, 1)
        assert "r/weights.safetensors has changed since it was written" in err
        assert "or move it away and give --resume r: it is made again from the newest" in err
    weights.rename(tmp_path / "damaged")
    code, _, err = run(["train", "--resume", "r"], tmp_path)
    assert code == 0
    assert "r/weights.safetensors is gone; it is made again from the newest resume point" in err
    assert weights.read_bytes() == whole


def stopped_clock() -> float:
    return 0.0


def test_the_clock_and_the_dates_of_files_decide_nothing(tmp_path: Path) -> None:
    words = (*WORDS, "--save-minutes", 0, "--out")
    assert run([*words, "whole"], tmp_path)[0] == 0
    kill = Signal(at=UPDATE, count=11)
    instead = {"time:time": stopped_clock}
    assert run([*words, "r"], tmp_path, planned=kill, instead=instead)[0] == -signal.SIGKILL
    for number, path in enumerate(sorted((tmp_path / "r").rglob("*"), reverse=True)):
        os.utime(path, (4e9 - 1e8 * number, 4e9 - 1e8 * number))  # the newest point is the oldest
    assert run(["train", "--resume", "r"], tmp_path)[0] == 0
    found, expected = (tmp_path / name / "weights.safetensors" for name in ("r", "whole"))
    assert found.read_bytes() == expected.read_bytes()


# --- numbers that cannot drift


def fixed_network() -> torch.nn.Module:
    """Nearest class mean of the training digits: linear, and the same on every machine."""
    train = load_dataset("digits")
    means = torch.stack(
        [train.images[train.labels == c].double().mean(0).flatten() for c in range(train.classes)]
    )
    layer = torch.nn.Linear(64, 10)
    with torch.no_grad():
        layer.weight.copy_(means)
        layer.bias.copy_(-means.square().sum(1) / 2)
    return torch.nn.Sequential(torch.nn.Flatten(), layer).eval()


GOLDEN: dict[float, int] = {0.0: 306, 0.05: 270, 0.1: 220, 0.2: 83}
"""ε → images of the 360 that are left."""


def counts(**more: Any) -> dict[float, int]:
    attacks = {"pgd": PGD(steps=10, restarts=2), "targeted": Targeted(attack=PGD(steps=5))}
    some = load_dataset("digits", split="test")
    found = evaluate(fixed_network(), some, eps=[0.05, 0.1, 0.2], attacks=attacks, seed=7, **more)
    return {0.0: found.clean.right} | {eps: one.right for eps, one in found.worst.items()}


def test_golden_accuracies() -> None:
    assert counts() == GOLDEN


@pytest.mark.parametrize("more", [{"batch_size": 7}, {"processes": 2}, {"batch_size": 360}])
def test_batch_size_and_processes_change_no_count(more: dict[str, Any]) -> None:
    assert counts(**more) == GOLDEN


def test_threads_change_no_count() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert counts() == GOLDEN
    finally:
        torch.set_num_threads(before)


def test_both_precisions_decide_alike_on_finds() -> None:
    some, network = load_dataset("digits", split="test").rows(slice(0, 100)), fixed_network()
    attacks = {"pgd": PGD(steps=10)}
    found = evaluate(network, some, eps=[0.2], attacks=attacks)
    broken = found.broken_at.isfinite() & (found.broken_at > 0)
    assert int(broken.sum()) > 20
    examples, labels = found.witnesses[broken], some.labels[broken]
    single = network(examples).argmax(1) != labels
    double = network.double()(examples.double()).argmax(1) != labels
    assert bool(single.all())
    assert int((single != double).sum()) == 0


def test_wide_models_of_ours_are_checked_by_type() -> None:
    with pytest.raises(UserError, match=r"model digits_cnn: width=1\.5; allowed is int"):
        models.build("digits_cnn", (1, 8, 8), 10, {"width": 1.5})
    with pytest.raises(UserError, match="width=0; allowed is 1"):
        models.build("digits_cnn", (1, 8, 8), 10, {"width": 0})
