"""The machine fails under a training or an evaluation: no space, no permission, lost processes, the clock.

Each function injects its fault `count` times and says how often it was `detected` (named in one line,
and nothing lost: the same command goes on afterwards and ends bitwise as without), `harmless` (ended
bitwise as without at once), or `silent` (anything else). Full and read-only disks are real file systems
in memory, mounted for the occasion; where this process may not mount one, those kinds are left out.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import test_reliability
from commands import TINY, Ended, Signal, run, run_two

TRAIN = ("train", *TINY, "--eps", 0.1, "--epochs", 3, "--save-minutes", 0, "--out", "r")
RESUME = ("train", "--resume", "r")
EVALUATE = ("evaluate", "r", "--n", 120, "--attacks", "[pgd-20, fgsm]", "--batch-size", 20)
UPDATE = "hardball.training.update:Update.apply"

Figures = Callable[[Path], Any]
"""What a folder's training and evaluation ended with."""


def mount(folder: Path, *options: str) -> bool:
    """A file system in memory at `folder`, or another state of it (`remount`)."""
    words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


@contextmanager
def disk(*options: str) -> Iterator[Path]:
    """A folder that is a file system of its own."""
    with tempfile.TemporaryDirectory() as place:
        if not mount(Path(place), *options):
            raise PermissionError("no file system may be mounted here")
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", "--lazy", place], check=False)


def mounting() -> bool:
    """Whether this process may mount one."""
    try:
        with disk("size=64k"):
            return True
    except (PermissionError, FileNotFoundError):
        return False


def one_line(ended: Ended, words: str) -> bool:
    """Refused for a reason that it names."""
    code, _, err = ended
    return code == 2 and err.count("\n") == 1 and words in err


def goes_on(folder: Path, figures: Figures, expected: Any) -> bool:
    """The same commands, given again, end as they do without a fault."""
    run(RESUME if (folder / "r/config.yaml").exists() else TRAIN, folder)
    run(EVALUATE, folder)
    return bool(figures(folder) == expected)


def full_disk(count: int, moments: random.Random, figures: Figures, expected: Any) -> Counter[str]:
    """The disk is full in the middle of a training or an evaluation; later there is room."""
    found: Counter[str] = Counter()
    for _ in range(count):
        with disk(f"size={moments.randrange(8, 160)}k") as folder:
            first = _until_it_fails((TRAIN, EVALUATE), folder)
            mount(folder, "remount", "size=64m")
            if first is None:
                found["harmless" if figures(folder) == expected else "silent"] += 1
                continue
            named = one_line(first, "No space left on device")
            found["detected" if named and goes_on(folder, figures, expected) else "silent"] += 1
    return found


def _until_it_fails(all_words: Sequence[Sequence[object]], folder: Path) -> Ended | None:
    # what the commands print goes to a disk with room
    with tempfile.TemporaryDirectory() as elsewhere:
        for words in all_words:
            ended = run(words, folder, log=Path(elsewhere))
            if ended[0] != 0:
                return ended
    return None


def read_only(count: int, moments: random.Random, figures: Figures, expected: Any) -> Counter[str]:
    """A killed training is resumed where nothing may be written, and again where it may."""
    found: Counter[str] = Counter()
    for _ in range(count):
        with disk("size=64m") as folder:
            run(TRAIN, folder, planned=Signal(at=UPDATE, count=moments.randrange(8, 21)))
            mount(folder, "remount", "ro")
            first = _until_it_fails((RESUME,), folder)
            mount(folder, "remount", "rw")
            named = first is not None and one_line(first, "Read-only file system")
            found["detected" if named and goes_on(folder, figures, expected) else "silent"] += 1
    return found


def full_shared_memory(
    count: int, moments: random.Random, figures: Figures, expected: Any
) -> Counter[str]:
    """An evaluation in two processes, with next to no room for what processes share."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run(TRAIN, folder)
        for _ in range(count):
            (folder / "r/evaluation.json").unlink(missing_ok=True)
            words = [sys.executable, "-m", "hardball", *map(str, EVALUATE), "--processes", "2"]
            inside = f"mount -t tmpfs -o size={moments.randrange(4, 64)}k none /dev/shm && exec "
            ended = subprocess.run(
                ["unshare", "--mount", "sh", "-c", inside + '"$@"', "sh", *words],
                cwd=folder, check=False, capture_output=True, text=True,
            )  # fmt: skip
            same = ended.returncode == 0 and figures(folder) == expected
            named = one_line((ended.returncode, ended.stdout, ended.stderr), "")
            found["harmless" if same else "detected" if named else "silent"] += 1
    return found


def lost_process(count: int, moments: random.Random) -> Counter[str]:
    """One of two processes of a training is killed; the training is resumed with two."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        run_two(TRAIN, Path(place))
        expected = (Path(place) / "r/weights.safetensors").read_bytes()
    for number in range(count):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            kill = Signal(at=UPDATE, count=moments.randrange(8, 21), number=signal.SIGKILL)
            both = run_two(TRAIN, folder, planned=kill, rank=number % 2)
            named = one_line(both[1 - number % 2], "has lost another process")
            run_two(RESUME, folder)
            same = (folder / "r/weights.safetensors").read_bytes() == expected
            found["detected" if named and same else "silent"] += 1
    return found


def clock(count: int, moments: random.Random, figures: Figures, expected: Any) -> Counter[str]:
    """A stopped clock, then a kill, then files dated at random."""
    found: Counter[str] = Counter()
    stopped = {"time:time": test_reliability.stopped_clock}
    for _ in range(count):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            kill = Signal(at=UPDATE, count=moments.randrange(8, 21))
            run(TRAIN, folder, planned=kill, instead=stopped)
            for path in (folder / "r").rglob("*"):
                date = moments.uniform(0, 4e9)
                os.utime(path, (date, date))
            found["harmless" if goes_on(folder, figures, expected) else "silent"] += 1
    return found
