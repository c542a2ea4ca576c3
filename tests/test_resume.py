"""A run that was killed and resumed ends as if nothing had happened, bit for bit."""

import pickle
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import flat
from commands import TINY, Signal, run, start
from hardball import Constant, UserError, fit, storage
from hardball.data import Dataset
from hardball.errors import Damaged
from hardball.runs import RunFolder
from hardball.training import checkpoint

NET = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.BatchNorm1d(width), nn.ReLU(),
                         nn.Dropout(0.3), nn.Linear(width, 10))
"""

KINDS = {
    "adam": ("--eps", 0.1, "--epochs", 3),
    "sgd": (
        "--eps",
        0.1,
        "--epochs",
        3,
        "--optimizer",
        "sgd",
        "--lr",
        0.05,
        "--schedule",
        "cosine",
    ),
    "ramp": ("--eps", 0.2, "--curriculum", "iterative", "--per", "step", "--increment", 0.06),
    "carried": (
        *("--eps", 0.2, "--curriculum", "iterative", "--per", "step", "--increment", 0.07),
        *("--carry", "true", "--average", 0.9, "--finish-epochs", 1, "--finish-steps", 3),
    ),
    "dropout": (
        *("--eps", 0.1, "--epochs", 3, "--attack-mode", "train", "--augment", "true"),
        *("--model", "mynet:Net", "--model-args", "{width: 9}"),
    ),
}

UPDATE, FSYNC, RENAME = "hardball.training.update:Update.apply", "os:fsync", "pathlib:Path.replace"


def words(kind: str, out: str, *more: object) -> list[object]:
    return ["train", *TINY, *KINDS[kind], "--out", out, *more]


def result(run_folder: Path) -> tuple[bytes, list[str], object]:
    """Weights, metrics but for the wall time, and the optimiser's state at the end."""
    rows = [line.split(",") for line in (run_folder / "metrics.csv").read_text().splitlines()]
    timed = {i for i, name in enumerate(rows[0]) if "second" in name}
    metrics = [",".join(v for i, v in enumerate(row) if i not in timed) for row in rows]
    state = storage.load_state(max(run_folder.glob("state/*.pt")))
    optimizer = pickle.dumps([[t.tolist() for t in s.values()] for s in tensors(state)])
    return (run_folder / "weights.safetensors").read_bytes(), metrics, optimizer


def tensors(state: dict[str, object]) -> list[dict[str, torch.Tensor]]:
    return [
        {k: torch.as_tensor(v) for k, v in slots.items() if v is not None}
        for slots in state["optimizer"]["state"].values()  # type: ignore[index]
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, list[str], object]]:
    """What each kind of training gives without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "mynet.py").write_text(NET)
    found = {}
    for kind in KINDS:
        code, _, err = run(words(kind, kind), folder)
        assert (code, err) == (0, "")
        found[kind] = result(folder / kind)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mynet.py").write_text(NET)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "kill",
    [
        Signal(at=UPDATE, count=1),
        Signal(at=UPDATE, count=11),
        Signal(at=FSYNC, count=9),
        Signal(at=RENAME, count=12),
        Signal(at=UPDATE, count=11, number=signal.SIGTERM),
        Signal(at=UPDATE, count=14, number=signal.SIGINT),
    ],
    ids=lambda kill: f"{kill.number.name}-{kill.at.split('.')[-1]}-{kill.count}",
)
def test_a_run_killed_and_resumed_ends_bitwise_as_without_the_kill(
    kind: str, kill: Signal, folder: Path, whole: dict[str, object]
) -> None:
    code, out, _ = run(words(kind, "r", "--save-minutes", 0), folder, planned=kill)
    if kill.number == signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 130
        assert "--resume r" in out
    again = ["train", "--resume", "r", "--trust-model-code", "true"]  # of the network in `folder`
    assert run(again, folder)[0] == 0
    assert result(folder / "r") == whole[kind]
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.parametrize("seed", range(3))
def test_kills_at_random_moments_one_after_another(
    seed: int, folder: Path, whole: dict[str, object]
) -> None:
    moments = random.Random(seed)

    def again() -> list[object]:
        begun = (folder / "r" / "config.yaml").exists()
        return ["train", "--resume", "r"] if begun else words("ramp", "r", "--save-minutes", 0)

    for _ in range(6):
        started = start(again(), folder)
        started.process.join(moments.uniform(0.1, 1.0))
        started.process.kill()
        started.process.join()
    # on a slow machine all kills may have come before it began
    assert run(again(), folder)[0] == 0
    assert result(folder / "r") == whole["ramp"]


def interrupted(folder: Path, kind: str = "adam") -> list[Path]:
    """The resume points of a run stopped in its second epoch, oldest first."""
    stop = Signal(at=UPDATE, count=11, number=signal.SIGTERM)
    assert run(words(kind, "r", "--save-minutes", 0), folder, planned=stop)[0] == 130
    return sorted(folder.glob("r/state/*.pt"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_two_points_are_kept_and_the_older_one_stands_in_for_a_damaged_one(
    folder: Path, whole: dict[str, object]
) -> None:
    _, newest = interrupted(folder)
    truncate(newest)
    code, _, err = run(["train", "--resume", "r"], folder)
    assert code == 0
    assert err.count("\n") == 1
    assert f"warning: {newest.relative_to(folder)} is no whole resume point" in err
    assert "continuing from the one before" in err
    assert result(folder / "r") == whole["adam"]
    assert len(list(folder.glob("r/state/*.pt"))) == 2


def test_a_point_with_one_flipped_bit_is_not_resumed_from(
    folder: Path, whole: dict[str, object]
) -> None:
    _, newest = interrupted(folder)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    code, _, err = run(["train", "--resume", "r"], folder)
    assert code == 0
    assert f"warning: {newest.relative_to(folder)} is no whole resume point (its SHA-256" in err
    assert result(folder / "r") == whole["adam"]


def test_a_damaged_point_is_kept_and_not_taken_for_the_newest_again(folder: Path) -> None:
    _, newest = interrupted(folder)
    truncate(newest)
    content = newest.read_bytes()
    stop = Signal(at=UPDATE, count=2, number=signal.SIGKILL)
    run(["train", "--resume", "r", "--save-minutes", 0], folder, planned=stop)
    assert run(["train", "--resume", "r"], folder)[2] == ""
    assert newest.with_suffix(".pt.damaged").read_bytes() == content


def test_all_points_damaged_is_refused_and_nothing_touched(folder: Path) -> None:
    for point in interrupted(folder):
        truncate(point)
    before = {p: p.read_bytes() for p in folder.glob("r/**/*") if p.is_file()}
    code, _, err = run(["train", "--resume", "r"], folder)
    assert code == 2
    assert err.count("\n") == 1
    assert "nor is any other" in err
    assert {p: p.read_bytes() for p in before} == before


def test_state_of_another_run_is_refused(folder: Path) -> None:
    points = interrupted(folder)
    assert run(words("sgd", "other"), folder)[0] == 0
    for path, other in zip(points, sorted(folder.glob("other/state/*.pt")), strict=True):
        path.write_bytes(other.read_bytes())
    code, _, err = run(["train", "--resume", "r"], folder)
    assert code == 2
    assert err.count("\n") == 1
    assert "belongs to another run" in err


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("save", [torch.save, lambda x, f: f.write_bytes(pickle.dumps(x))])
def test_a_hostile_resume_point_runs_no_code(tmp_path: Path, save: object) -> None:
    mark, point = tmp_path / "mark", tmp_path / "epoch00001-step0000000.pt"
    save({"fingerprint": Hostile(mark)}, point)  # type: ignore[operator]
    with pytest.raises(UserError, match="no whole resume point"):
        checkpoint.load(tmp_path, "fingerprint")
    assert not mark.exists()


def test_a_finished_run_resumed_does_nothing(folder: Path, whole: dict[str, object]) -> None:
    assert run(words("adam", "r"), folder)[0] == 0
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.glob("r/*.*")}
    code, out, _ = run(["train", "--resume", "r"], folder)
    assert (code, out) == (0, "finished: r\n")
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.glob("r/*.*")} == before


def test_an_extension_killed_before_its_first_point_starts_from_its_origin(folder: Path) -> None:
    assert run(words("adam", "origin"), folder)[0] == 0
    extend = ["extend", "origin", "--eps", 0.2, "--epochs", 1, "--out"]
    assert run([*extend, "whole"], folder)[0] == 0
    # the second fsync of a run is that of its first resume point (each file: itself, its folder)
    kill = Signal(at=FSYNC, count=3)
    assert run([*extend, "r"], folder, planned=kill)[0] == -signal.SIGKILL
    assert not list(folder.glob("r/state/*.pt"))
    assert run(["train", "--resume", "r"], folder)[0] == 0
    assert result(folder / "r") == result(folder / "whole")


def test_an_extension_whose_origin_has_changed_is_refused(folder: Path) -> None:
    assert run(words("adam", "origin"), folder)[0] == 0
    kill = Signal(at=FSYNC, count=3)
    run(["extend", "origin", "--eps", 0.2, "--out", "r"], folder, planned=kill)
    (folder / "origin/weights.safetensors").write_bytes(b"changed")
    code, _, err = run(["train", "--resume", "r"], folder)
    assert code == 2
    assert "origin has changed" in err


def test_resume_from_python_with_other_arguments_names_the_difference(
    tmp_path: Path, digits: Dataset
) -> None:
    def again(**more: Any) -> None:
        settings = flat.settings(steps=1, **(more or {"lr": 0.01}))
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        fit(
            model,
            digits,
            curriculum=Constant(0.1, 1),
            settings=settings,
            out=tmp_path / "r",
            resume=bool(more),
        )

    again()
    with pytest.raises(UserError, match=r"is another run: optimizer\.lr is 0\.01 there and 0\.001"):
        again(lr=0.001)


def test_two_trainings_in_one_folder_are_refused(folder: Path) -> None:
    interrupted(folder)
    with RunFolder(folder / "r").locked():
        code, _, err = run(["train", "--resume", "r"], folder)
    assert code == 2
    assert "another process is training in r" in err


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["config.yaml", "outcome.json", "weights.safetensors"])
def test_a_finished_run_with_a_changed_file_names_it(name: str, folder: Path) -> None:
    assert run(words("adam", "r"), folder)[0] == 0
    damaged(folder / "r" / name)
    readers: list[list[object]] = [["train", "--resume", "r"]]
    if name != "outcome.json":  # an evaluation needs neither outcome.json nor metrics.csv
        readers += [["evaluate", "r", "--eps", 0.1, "--attacks", "fgsm", "--n", 20]]
        readers += [["extend", "r", "--eps", 0.2, "--epochs", 1]]
    for reader in readers:
        code, _, err = run(reader, folder)
        assert (code, err.count("\n")) == (2, 1)
        assert f"r/{name} has changed since it was written" in err


@pytest.mark.parametrize("name", ["metrics.csv", "outcome.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a,b\n1,x\n", b"[]", b'{"status": 1}'])
def test_metrics_and_outcome_that_are_none_are_named(
    name: str, content: bytes, folder: Path
) -> None:
    assert run(words("adam", "r"), folder)[0] == 0
    (folder / "r" / name).write_bytes(content)
    code, _, err = run(["train", "--resume", "r"], folder)
    assert (code, err.count("\n")) == (2, 1)
    assert f"r/{name}" in err
    assert run(["evaluate", "r", "--attacks", "fgsm", "--n", 20], folder)[0] == 0


def test_a_config_changed_by_hand_is_read_without_its_first_line(folder: Path) -> None:
    assert run(words("adam", "r"), folder)[0] == 0
    config = folder / "r/config.yaml"
    text = config.read_text().replace("norm: linf", "norm: l2")
    config.write_text(text)
    with pytest.raises(Damaged, match="or remove its first line if you changed it yourself"):
        RunFolder(folder / "r").config()
    config.write_text(text.split("\n", 1)[1])
    assert RunFolder(folder / "r").config()["norm"] == "l2"


LINKS: dict[str, tuple[str, list[object]]] = {
    "lock": ("state/lock", ["train", "--resume", "r"]),
    "state": ("state", ["train", "--resume", "r"]),
    "epochs": ("epochs", ["train", "--resume", "r"]),
    "journal": ("evaluation.state", ["evaluate", "r", "--attacks", "fgsm", "--n", 9]),
    "lock of an evaluation": (
        "evaluation.state/lock",
        ["evaluate", "r", "--attacks", "fgsm", "--n", 9],
    ),
}


@pytest.mark.parametrize("name", LINKS)
def test_no_write_follows_a_link_out_of_the_run(name: str, folder: Path) -> None:
    place, reader = LINKS[name]
    assert run(words("adam", "r"), folder)[0] == 0
    mine = folder / "mine"
    link = folder / "r" / place
    if link.name == "lock":
        mine.write_bytes(b"precious")
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
    elif link.exists():
        link.rename(mine)
    else:
        mine.mkdir()
    link.symlink_to(mine)
    before = {p: p.read_bytes() for p in [mine, *mine.glob("*")] if p.is_file()}
    code, _, err = run(reader, folder)
    assert (code, err.count("\n")) == (2, 1), err
    assert f"r/{place} is a link" in err
    assert {p: p.read_bytes() for p in [mine, *mine.glob("*")] if p.is_file()} == before


def test_two_evaluations_of_one_run_are_refused(folder: Path) -> None:
    assert run(words("adam", "r"), folder)[0] == 0
    with storage.locked(folder / "r/evaluation.state/lock", "busy"):
        code, _, err = run(["evaluate", "r", "--attacks", "fgsm", "--n", 9], folder)
    assert (code, err) == (
        2,
        "hardball: error: another process is evaluating r; wait for it, or evaluate a copy\n",
    )
