"""What training costs, as each part of the job grows: time and memory of one thread per process.

    python benchmarks/growth.py [--note "what else ran"]

Each point is a process of its own that takes hardball's training steps (attack and update) on noise,
after a warm step: attack steps, batch, width of the network, side of the images, size of the data
set, processes. One thing varies, the rest stays at the middle: the paper's MNIST network, batch 128,
10 steps, 4,096 images. `per_work` is the time divided by the arithmetic, relative to the smallest
point: above 1 something grows faster than its work. Memory is the peak of a process beyond what the
imports take (Linux). Writes benchmarks/results/growth.json and growth.png.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from record import RESULTS, command, parser, write
from timing import forward_flops, seconds
from torch import nn
from training_step import TrainingStep

from hardball import environment
from hardball.data import Dataset
from hardball.models import ConvNet
from hardball.training import Machine, Settings, TrainingAttack

EPS = 0.3


@dataclass(frozen=True)
class Point:
    """One step."""

    steps: int = 10
    batch: int = 128
    width: int = 32
    side: int = 28
    images: int = 4096
    processes: int = 1

    def model(self) -> nn.Module:
        channels = (self.width, 2 * self.width)
        shape = (1, self.side, self.side)
        torch.manual_seed(0)
        return ConvNet(shape, 10, channels=channels, kernel=5, padding=0, hidden=32 * self.width)

    @property
    def work(self) -> float:
        """GFLOP of one training step: steps of two passes, an update of three."""
        forward = forward_flops(self.model(), torch.rand(1, 1, self.side, self.side))
        return forward * self.batch * (2 * self.steps + 3) / 1e9


AXES: dict[str, list[Any]] = {
    "steps": [1, 2, 5, 10, 20, 40],
    "batch": [16, 32, 64, 128, 256, 512],
    "width": [8, 16, 32, 64],
    "side": [20, 28, 44, 60],
    "images": [1024, 4096, 16384, 60000],
    "processes": [1, 2],
}


def memory() -> float:
    """MiB of this process that come from no file: libraries' pages come and go with the system's mood.
    Freed memory is kept (`keep_memory`), so after the work this is the work's peak."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1024


def run(point: Point, repeats: int) -> None:
    """In a process of its own: prints seconds per training step and memory."""
    before = memory()
    training = TrainingStep(
        point.model(),
        Settings(
            attack=TrainingAttack(steps=point.steps),
            machine=Machine(accelerator="cpu", devices=point.processes),
        ),
    )
    source = torch.Generator().manual_seed(0)
    images = torch.rand(point.images, 1, point.side, point.side, generator=source)
    data = Dataset(
        images=images,
        labels=torch.randint(10, (point.images,), generator=source),
        classes=10,
        name="noise",
    )

    def step() -> None:
        rows = torch.randperm(point.images, generator=source)[: point.batch]
        training.train(data.images[rows], data.labels[rows], EPS)

    times = [seconds(step) for _ in range(repeats + 1)][1:]
    if training.fabric.is_global_zero:
        print(json.dumps({"seconds": times, "memory_mib": round(memory() - before)}))


def measure(point: Point, repeats: int) -> dict[str, Any]:
    words = [
        sys.executable,
        __file__,
        "--point",
        json.dumps(asdict(point)),
        "--repeats",
        str(repeats),
    ]
    found = subprocess.run(
        words,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    if found.returncode:
        raise SystemExit(f"{point}: {found.stderr.splitlines()[-1]}")
    result: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    result["median"] = statistics.median(result["seconds"])
    return result


def grow(axis: str, rounds: int, repeats: int) -> list[dict[str, Any]]:
    """The points of one axis, in turn, `rounds` times."""
    points = [replace(Point(), **{axis: value}) for value in AXES[axis]]
    found: list[list[dict[str, Any]]] = [[] for _ in points]
    for _ in range(rounds):
        for place, point in enumerate(points):
            found[place].append(measure(point, repeats))
    medians = [statistics.median(m["median"] for m in each) for each in found]
    base = medians[0] / points[0].work
    return [
        {
            axis: value,
            "milliseconds_per_training_step": round(1000 * median, 2),
            "lowest": round(1000 * min(min(m["seconds"]) for m in each), 2),
            "highest": round(1000 * max(max(m["seconds"]) for m in each), 2),
            "gflop": round(point.work, 2),
            "per_work": round(median / point.work / base, 3),
            "memory_mib": max(m["memory_mib"] for m in each),
        }
        for value, point, median, each in zip(AXES[axis], points, medians, found, strict=True)
    ]


def draw(table: dict[str, list[dict[str, Any]]], path: Path) -> None:
    figure, panels = plt.subplots(
        2, len(table), figsize=(3 * len(table), 5), sharey="row", squeeze=False
    )
    for (axis, rows), (above, below) in zip(table.items(), panels.T, strict=True):
        values = [row[axis] for row in rows]
        above.loglog(values, [row["milliseconds_per_training_step"] for row in rows], "o-")
        base = rows[0]["milliseconds_per_training_step"] / rows[0]["gflop"]
        above.loglog(values, [base * row["gflop"] for row in rows], ":", color="grey")
        below.semilogx(values, [row["memory_mib"] for row in rows], "o-", color="C1")
        below.set_xlabel(axis)
        for panel in (above, below):
            panel.set_xticks(values, [str(v) for v in values], fontsize=7)
            panel.minorticks_off()
    panels[0, 0].set_ylabel("ms per training step\n(dotted: as its arithmetic)")
    panels[1, 0].set_ylabel("peak memory, MiB")
    panels[1, 0].set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    made = parser(__doc__, RESULTS / "growth.json")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--repeats", type=int, default=5)
    made.add_argument("--axes", nargs="*", default=list(AXES), choices=list(AXES))
    made.add_argument("--point", help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.point:
        run(Point(**json.loads(arguments.point)), arguments.repeats)
        return
    table = {}
    for axis in arguments.axes:
        table[axis] = grow(axis, arguments.rounds, arguments.repeats)
        for row in table[axis]:
            print(row, flush=True)
    result = {
        "command": command(),
        "middle": asdict(Point()),
        "growth": table,
        "note": arguments.note,
        "machine": environment.facts(),
    }
    write(result, arguments.out)
    draw(table, arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
