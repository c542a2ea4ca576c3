"""Several processes train as one does with the same total batch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from commands import TINY, Signal, own, run, run_two

WORDS = ("train", "--eps", 0.1, "--epochs", 3, *TINY)
UPDATE, FSYNC = "hardball.training.update:Update.apply", "os:fsync"


def differences(one: Path, other: Path) -> float:
    """The largest difference of any weight."""
    ours, theirs = (load_file(run / "weights.safetensors") for run in (one, other))
    assert ours.keys() == theirs.keys()
    return max(float((ours[k] - theirs[k]).abs().max()) for k in ours)


def metrics(run: Path) -> list[list[float]]:
    """ε, adversarial loss, accuracies and cost of each epoch; what is empty as 0."""
    lines = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    kept = [i for i, name in enumerate(lines[0]) if "second" not in name and name != "one_class"]
    return [[float(line[i] or 0) for i in kept] for line in lines[1:]]


@pytest.mark.parametrize(
    "more",
    [
        (),  # 437 = 6 · 64 + 53: an odd last batch
        ("--batch-size", 63, "--curriculum", "iterative", "--increment", 0.04, "--per", "step"),
        ("--batch-size", 109, "--optimizer", "sgd", "--augment", "true"),  # a last batch of one
        ("--eps", 0.0),
        # 437 = 4 · 109 + 1: a last batch of one, of which the second process attacks nothing
        ("--batch-size", 109, "--carry", "true", "--average", 0.9, "--steps", 1),
        ("--objective", "trades"),  # two passes of the model in one update
    ],
    ids=["odd", "ramp", "last of one", "standard", "carried", "trades"],
)
def test_two_processes_train_the_same_curriculum_as_one(
    more: tuple[object, ...], tmp_path: Path
) -> None:
    words = [*WORDS, *more]
    if "iterative" in more:
        words[words.index("--epochs") : words.index("--epochs") + 2] = []
    assert run([*words, "--out", "one"], tmp_path)[0] == 0
    first, second = run_two([*words, "--out", "two"], tmp_path)
    assert (first[0], second[0]) == (0, 0)
    assert first[1].count("finished: two") == 1
    assert (first[2], second[1], second[2]) == ("", "", "")
    # sums of float32 in another order; a sign of a gradient near 0 may differ, moving one pixel
    assert differences(tmp_path / "one", tmp_path / "two") < 1e-3
    pairs = zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True)
    for ours, theirs in pairs:
        assert theirs == pytest.approx(ours, abs=5e-3)


NET = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout(),
                         nn.Linear(9, 10))
"""


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--model", "mynet:Net", "--model-args", "{}"),
        ("--carry", "true", "--average", 0.9, "--steps", 1),
        ("--model", "mynet:Net", "--model-args", "{}", "--objective", "mart"),
    ],
    ids=["plain", "batch norm", "carried", "mart with batch norm"],
)
def test_two_processes_interrupted_and_resumed_end_bitwise_as_without(
    more: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / "mynet.py").write_text(NET)
    words = [*WORDS, *more, "--save-minutes", 0, "--out"]
    own = more[:2] if "mynet:Net" in more else ()  # the network is named again: it may run
    assert [code for code, *_ in run_two([*words, "whole"], tmp_path)] == [0, 0]
    stop = Signal(at=UPDATE, count=11, number=15)  # type: ignore[arg-type]
    first, second = run_two([*words, "r"], tmp_path, planned=stop)
    # only the first process was told; the second one follows, in silence
    assert (first[0], second[0]) == (130, 0)
    assert "--resume r" in first[1]
    assert (second[1], second[2]) == ("", "")
    assert [code for code, *_ in run_two(["train", "--resume", "r", *own], tmp_path)] == [0, 0]
    assert differences(tmp_path / "whole", tmp_path / "r") == 0.0
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "r")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        ("config.yaml", "already holds a run"),
        ("state", "cannot write in"),
        ("weights.safetensors", "cannot write"),
    ],
)
def test_what_the_first_process_cannot_do_ends_both_in_one_line(
    prepare: str, message: str, tmp_path: Path
) -> None:
    # a folder in the place of a file, or a file in the place of a folder, also stops root
    (tmp_path / "r").mkdir()
    if prepare == "state":
        (tmp_path / "r" / prepare).write_text("")
    else:
        (tmp_path / "r" / prepare).mkdir()
    first, second = run_two([*WORDS, "--out", "r"], tmp_path)
    assert message in first[2]
    assert first[0] == 2
    assert first[2].count("\n") == 1
    assert second[2].count("\n") <= (second[0] == 2)


def test_the_command_starts_its_processes_itself(tmp_path: Path) -> None:
    words = [*WORDS, "--out", "two", "--devices", 2, "--accelerator", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "hardball", *map(str, words)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, own(done.stderr)) == (0, "")
    assert done.stdout.count("finished: two") == 1
    assert run([*WORDS, "--out", "one"], tmp_path)[0] == 0
    assert differences(tmp_path / "one", tmp_path / "two") < 1e-3


WATCHED = """
import atexit, os
from pathlib import Path

def threads():
    return [task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir()]

def last():  # registered first, so it runs after what the command registers
    names = [name.strip() for name in threads() if "gloo" in name or "tcpstore" in name]
    Path(f"left{os.environ.get('LOCAL_RANK')}").write_text(" ".join(names))

atexit.register(last)
from hardball.cli import main
main()
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed by Linux")
@pytest.mark.parametrize("code", [0, 2])
def test_no_thread_of_the_process_group_and_no_process_is_left_at_the_end(
    code: int, tmp_path: Path
) -> None:
    """A thread of the group that works on while the interpreter ends may abort the process."""
    (tmp_path / "watched.py").write_text(WATCHED)
    if code == 2:  # a file in the place of a folder: refused once both processes run
        (tmp_path / "two").mkdir()
        (tmp_path / "two" / "state").write_text("")
    words = [*WORDS, "--out", "two", "--devices", 2, "--accelerator", "cpu"]
    with (tmp_path / "err").open("w+") as err:
        done = subprocess.run(
            [sys.executable, "watched.py", *map(str, words)],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,  # a pipe would wait for the second process as well
            stderr=err,
            check=False,
        )
    written = own((tmp_path / "err").read_text())
    assert done.returncode == code, written
    assert written.count("\n") == (code == 2)
    # the second process has ended before the first, and no thread is left in either
    left = [(tmp_path / f"left{rank}").read_text() for rank in range(2)]
    assert left == ["", ""]


def test_more_gpus_than_there_are_is_refused_in_one_line(tmp_path: Path) -> None:
    there = torch.cuda.device_count()
    more = ["--accelerator", "cuda", "--devices", there + 1]
    code, _, err = run([*WORDS, "--out", "r", *more], tmp_path)
    assert code == 2
    assert err.count("\n") == 1
    assert f"accelerator=cuda, devices={there + 1}" in err
    assert not (tmp_path / "r").exists()
