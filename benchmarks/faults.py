"""Faults injected into real trainings and evaluations: named, harmless, or silent?

    python benchmarks/faults.py --damages 1000 --kills 100

Damage: bits and bytes of every file of a run's folder are changed, and files are cut, at random places;
then everything is read. Kills: SIGKILL at a random moment, or inside a random write or update, of a
training (every other one of an evaluation), which is then resumed and must end bitwise as without. Two
processes: a second training in one's folder is refused. Machine: full and read-only disks, no shared
memory, a lost process, a clock that stands still (machine_faults.py). `detected`: the file or the cause
is named in one line, and nothing is lost. `harmless`: the same weights and the same counts. Anything
else is `silent`.
"""

import json
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from record import ROOT, command, parser, write

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/outside")]

import machine_faults
from machine_faults import EVALUATE, RESUME, TRAIN, UPDATE

import test_faults
from commands import Signal, run, start
from hardball import environment

PLACES = ("os:fsync", "pathlib:Path.replace")
TASK = "hardball.evaluation.tasks:attempt"


def damages(count: int, seed: int) -> Counter[str]:
    """About so many, spread over all files of a run."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        made = test_faults.make(Path(place, "r"))
        before, files = made.everything(), made.files()
        for number, path in enumerate(files):
            content = path.read_bytes()
            for damaged in test_faults.faults(content, -(-count // len(files)), seed + number):
                path.write_bytes(damaged)
                found[test_faults.judged(made, path, before)] += 1
                path.with_name(f"{path.name}.damaged").unlink(missing_ok=True)
            path.write_bytes(content)
    return found


def figures(folder: Path) -> Any:
    """The weights, and what an evaluation of them found, without what it cost."""
    content = json.loads((folder / "r/evaluation.json").read_text())
    weights = (folder / "r/weights.safetensors").read_bytes()
    return weights, content["clean"], content["robust"]


def as_without() -> Any:
    """Those of a training and an evaluation that nothing happens to."""
    with tempfile.TemporaryDirectory() as place:
        run(TRAIN, Path(place))
        run(EVALUATE, Path(place))
        return figures(Path(place))


def kills(count: int, seed: int) -> Counter[str]:
    """So many trainings and evaluations killed, and continued."""
    found: Counter[str] = Counter()
    moments, expected = random.Random(seed), as_without()
    for number in range(count):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            words: Sequence[object] = TRAIN
            again: Sequence[object] = RESUME
            if number % 2:
                run(TRAIN, folder)
                words = again = EVALUATE
            if number % 4 < 2:
                at = moments.choice([*PLACES, TASK if number % 2 else UPDATE])
                run(words, folder, planned=Signal(at=at, count=moments.randrange(1, 16)))
            else:
                begun = start(words, folder)
                begun.process.join(moments.uniform(0.05, 2.0))
                begun.process.kill()
                begun.process.join()
            run(again if (folder / "r/config.yaml").exists() else TRAIN, folder)
            run(EVALUATE, folder)
            left = [p for p in folder.rglob("*.tmp") if p.is_file()]
            same = figures(folder) == expected and not left
            found["harmless" if same else "silent"] += 1
    return found


def two_processes(count: int, seed: int) -> Counter[str]:
    """A second training in the folder of one that is stopped in the middle: it is refused."""
    found: Counter[str] = Counter()
    for _ in range(count):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            stop = Signal(at=UPDATE, count=9 + seed % 3, number=signal.SIGSTOP)
            first = start(TRAIN, folder, planned=stop)
            while "T (stopped)" not in Path(f"/proc/{first.process.pid}/status").read_text():
                first.process.join(0.05)
            code, _, err = run(RESUME, folder)
            refused = code == 2 and "another process is training in r" in err
            found["detected" if refused else "silent"] += 1
            first.process.kill()
            first.process.join()
    return found


def of_the_machine(count: int, seed: int) -> dict[str, Counter[str]]:
    """Each kind so many times."""
    moments, about = random.Random(seed), (figures, as_without())
    found = {
        "clock": machine_faults.clock(count, moments, *about),
        "lost_process": machine_faults.lost_process(count, moments),
    }
    if machine_faults.mounting():
        found |= {
            "full_disk": machine_faults.full_disk(count, moments, *about),
            "read_only": machine_faults.read_only(count, moments, *about),
            "full_shared_memory": machine_faults.full_shared_memory(count, moments, *about),
        }
    return found


def injected(damage: int, kill: int, machine: int, seed: int = 0) -> dict[str, Any]:
    """All of them, counted."""
    parts = {
        "damage": damages(damage, seed),
        "kills": kills(kill, seed),
        "two_processes": two_processes(max(1, kill // 20), seed),
        **of_the_machine(machine, seed),
    }
    total = sum(parts.values(), Counter[str]())
    return {
        "injected": total.total(),
        **{name: total[name] for name in ("detected", "harmless", "silent")},
        "by_kind": {name: dict(found) for name, found in parts.items()},
    }


def main() -> None:
    arguments = parser(__doc__, ROOT / "benchmarks/results/faults.json")
    arguments.add_argument("--damages", type=int, default=1000)
    arguments.add_argument("--kills", type=int, default=100)
    arguments.add_argument(
        "--machine", type=int, default=10, help="of each kind of machine's fault"
    )
    arguments.add_argument("--seed", type=int, default=0)
    asked = arguments.parse_args()
    found = injected(asked.damages, asked.kills, asked.machine, asked.seed)
    machine = environment.facts()
    write({"command": command(), "note": asked.note, **found, "machine": machine}, asked.out)


if __name__ == "__main__":
    main()
