"""Accuracy at ε=0.4 on MNIST against cost: the preset `mnist-fast`, stronger inner attacks, the paper.

    python results/time_to_accuracy.py --data-root data --runs runs/time [--note "what else ran"]

Trains (seeds 0, 1, 2 of the preset; one of each other), then measures the weights of the last epoch, and
of the first seed those of epochs on the way too, on the first test images: under PGD-200 at 0.3 and 0.4,
with one start (as the paper does) and with 5 restarts, and under the protocol `autoattack` at 0.4, which
is the strictest. After an interruption the script continues where it was. All train the same network,
that of the authors' code (no padding). The paper's training takes 40 epochs and some 24 M sample-steps;
--paper-epochs makes its ramp shorter, and the result says so.

Writes results/time_to_accuracy.json and time_to_accuracy.png. A sample-step is one image through one
forward and backward pass of the attack; the passes of the updates are counted separately.
"""

import argparse
import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    EngFormatter,
    LogLocator,
    MultipleLocator,
    NullFormatter,
    PercentFormatter,
)
from running import command, hardball_json, parser, train, write

import hardball as hb
from hardball import environment
from hardball.runs import RunFolder

HERE = Path(__file__)
MEASURES = {
    "pgd-200": "--attacks [pgd-200] --eps [0.3,0.4]",
    "pgd-200-x5": "--attacks [pgd-200-x5] --eps [0.3,0.4]",
    "autoattack": "--protocol autoattack --eps 0.4",
}
TARGET = {"clean": 0.98, "pgd-200-x5 0.3": 0.94, "pgd-200-x5 0.4": 0.90}
MOST_SAMPLE_STEPS, MOST_MINUTES = 3_000_000, 15
FAST = "train --preset mnist-fast --curriculum iterative --eps 0.4"
PAPER_EPOCHS = 40


@dataclass(frozen=True)
class Training:
    """One line of the picture; one run of it per seed."""

    words: str
    seeds: tuple[int, ...]
    cut: str | None = None
    """What was left out of what its name promises."""


def trainings(arguments: argparse.Namespace) -> dict[str, Training]:
    """Everything asked for, cheapest first."""
    length = arguments.paper_epochs
    paper = "train --preset mnist-paper --curriculum iterative --eps 0.4"
    paper += " --model-args '{padding: false}'"
    if length != PAPER_EPOCHS:
        paper += f" --increment {0.4 / length:.6g}"
    stronger = {
        f"fast-{steps}-steps": Training(f"{FAST} --finish-steps {steps}", (0,))
        for steps in arguments.stronger
    }
    cut = None if length == PAPER_EPOCHS else f"{length} epochs of the paper's {PAPER_EPOCHS}"
    everything = {
        "mnist-fast": Training(FAST, tuple(arguments.seeds)),
        **stronger,
        "mnist-paper": Training(paper, (0,), cut),
    }
    only = arguments.only or list(everything)
    return {name: everything[name] for name in everything if name in only}


def trained(folder: Path, training: Training, seed: int, arguments: argparse.Namespace) -> str:
    """Train, or continue; the command."""
    words = f"{training.words} --seed {seed} {' '.join(arguments.more)}".strip()
    place = f"--data-root {arguments.data_root} --keep-every 1"
    train(f"{words} {place} --devices {arguments.devices} --accelerator cpu", folder)
    return f"hardball {words}"


def points(folder: Path, count: int) -> list[int]:
    """Epochs to measure: `count` of the second half, evenly, the last one among them."""
    last = len(epochs(folder))
    first = max(1, last // 2)
    return sorted({round(last - i * (last - first) / max(1, count - 1)) for i in range(count)})


def epochs(folder: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv."""
    with (folder / "metrics.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def trained_on(folder: Path) -> int:
    """Images of an epoch: MNIST's 60,000 without the part held out."""
    return 60_000 - hb.Settings.of(RunFolder(folder).config()).held_of(60_000)


def measured(weights: Path, measure: str, n: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """An evaluation of one file of weights, kept beside it under its measure and n."""
    place = f"--data mnist --data-root {arguments.data_root} --processes {arguments.devices}"
    return hardball_json(
        f"evaluate {weights} {MEASURES[measure]} --n {n} {place}",
        weights.with_suffix(".evaluation.json"),
        weights.with_suffix(f".{measure}-{n}.json"),
    )


def point(folder: Path, epoch: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Cost and accuracies after an epoch."""
    rows = epochs(folder)
    row, last = rows[epoch - 1], epoch == len(rows)
    weights = folder / "epochs" / f"{epoch:05d}.safetensors"
    n = arguments.n if last else min(arguments.n, arguments.n_between)
    n_strong = arguments.n_autoattack if last else n
    found = {
        measure: measured(weights, measure, n_strong if measure == "autoattack" else n, arguments)
        for measure in MEASURES
    }
    return {
        "epoch": epoch,
        "eps": row["eps"],
        "sample_steps": int(row["sample_steps"]),
        "update_passes": epoch * trained_on(folder),
        "minutes": round(row["seconds"] / 60, 2),
        "n": n,
        "n_autoattack": n_strong,
        "clean": found["pgd-200"]["clean"],
        **{f"{m} {r['eps']:g}": r for m in MEASURES for r in found[m]["robust"]},
        "autoattack by attack": {
            s["attack"]: s["after"]["accuracy"] for s in found["autoattack"]["scores"]
        },
    }


def curve(name: str, training: Training, arguments: argparse.Namespace) -> dict[str, Any]:
    """A training's runs and their points."""
    runs = []
    for seed in training.seeds:
        folder = arguments.runs / f"{name}-seed{seed}"
        command = trained(folder, training, seed, arguments)
        outcome = json.loads((folder / "outcome.json").read_text())
        # the way there of one seed, the end of all
        measured_at = points(folder, arguments.points if seed == training.seeds[0] else 1)
        runs.append(
            {
                "seed": seed,
                "command": command,
                "status": outcome["status"],
                "epochs": outcome["epochs"],
                "points": [point(folder, epoch, arguments) for epoch in measured_at],
            }
        )
    return {"cut": training.cut, "runs": runs}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What a training ends with: its dearest and its least accurate seed, and the mean of them."""
    ends = [run["points"][-1] for run in runs]
    cost = {name: max(end[name] for end in ends) for name in ("sample_steps", "minutes")}
    names = [name for name in ends[0] if name == "clean" or " 0." in name]
    each = {name: [end[name]["accuracy"] for end in ends] for name in names}
    return {
        **cost,
        "accuracy": {name: round(min(values), 4) for name, values in each.items()},
        "accuracy_mean": {name: round(fmean(values), 4) for name, values in each.items()},
    }


def reached(preset: dict[str, Any]) -> bool:
    """Whether the preset is as cheap and as accurate as was asked, in every seed."""
    cheap = preset["sample_steps"] <= MOST_SAMPLE_STEPS and preset["minutes"] <= MOST_MINUTES
    return cheap and all(preset["accuracy"][name] >= least for name, least in TARGET.items())


STYLES = {"pgd-200": "^:", "pgd-200-x5": "s--", "autoattack": "o-"}


def picture(curves: dict[str, dict[str, Any]]) -> Figure:
    """Accuracy at ε=0.4 against sample-steps and minutes, with 95% intervals."""
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, cost, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("sample_steps", "minutes"),
        ("sample-steps of the attack", "minutes"),
        strict=True,
    ):
        for number, found in enumerate(curves.values()):
            for run in found["runs"]:
                for measure, style in STYLES.items():
                    draw(axes, run["points"], cost, measure, style, f"C{number}")
        axes.set(xlabel=label, xscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.margins(x=0.1)
        axes.yaxis.set_major_locator(MultipleLocator(0.05))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("test accuracy at ε = 0.4")
    handles = {
        name + (f" ({found['cut']})" if found["cut"] else ""): Line2D([], [], color=f"C{i}", lw=3)
        for i, (name, found) in enumerate(curves.items())
    }
    handles |= {
        measure: Line2D([], [], color="0.4", marker=style[0], ls=style[1:], ms=4)
        for measure, style in STYLES.items()
    }
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=8,
    )
    return figure


def draw(
    axes: Axes, points: list[dict[str, Any]], cost: str, measure: str, style: str, color: str
) -> None:
    """One run under one measure."""
    scores = [p[f"{measure} 0.4"] for p in points]
    values = [score["accuracy"] for score in scores]
    below = [score["accuracy"] - score["low"] for score in scores]
    above = [score["high"] - score["accuracy"] for score in scores]
    axes.errorbar(
        [p[cost] for p in points],
        values,
        yerr=[below, above],
        fmt=style,
        color=color,
        ms=4,
        lw=1,
        elinewidth=0.6,
        alpha=0.8,
    )


def parsed() -> argparse.Namespace:
    made = parser(__doc__, HERE.with_suffix(".json"))
    add = made.add_argument
    add("--data-root", type=Path, default=Path("data"))
    add("--runs", type=Path, default=Path("runs/time"))
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the preset")
    add("--stronger", type=int, nargs="*", default=[20], help="finishing steps of a stronger one")
    add("--paper-epochs", type=int, default=PAPER_EPOCHS, help="of the paper's ramp")
    add("--only", nargs="+", help="these trainings: mnist-fast, fast-20-steps, mnist-paper")
    add("--points", type=int, default=4, help="epochs measured, of the first seed")
    add("--n", type=int, default=1000, help="test images after the last epoch")
    add("--n-autoattack", type=int, default=1000, help="the same, under AutoAttack")
    add("--n-between", type=int, default=200, help="test images after other epochs")
    add("--devices", type=int, default=os.cpu_count() or 1, help="processes of a training")
    add("--more", nargs=argparse.REMAINDER, default=[], help="flags for every training, to try it")
    return made.parse_args()


def main() -> None:
    arguments = parsed()
    curves = {
        name: curve(name, training, arguments) for name, training in trainings(arguments).items()
    }
    ends = {name: summary(found["runs"]) for name, found in curves.items()}
    preset = ends.pop("mnist-fast", None)
    result = {
        **(preset or {}),
        "target": {**TARGET, "sample_steps": MOST_SAMPLE_STEPS, "minutes": MOST_MINUTES},
        "met": reached(preset) if preset else None,
        "others": ends,
        "command": command(),
        "note": arguments.note,
        "n": arguments.n,
        "n_autoattack": arguments.n_autoattack,
        "n_between": arguments.n_between,
        "flags_for_every_training": " ".join(arguments.more),
        "curves": curves,
        "variants": "results/fast_variants.json",
        "machine": environment.facts(),
    }
    write(result, arguments.out)
    picture(curves).savefig(arguments.out.with_suffix(".png"), dpi=130)


if __name__ == "__main__":
    main()
