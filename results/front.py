"""What a front does to training at a large ε, and what is left of the networks under exact attacks.

    python results/front.py plateau --data-root data
    python results/front.py variants --data-root data
    python results/front.py measure --data-root data --run runs/front/NAME --split validation
    python results/front.py measure --data-root data --run runs/front/NAME --split test

`plateau` trains the same small networks from random weights at one fixed ε, with a rounding front and
without, and notes the accuracy under PGD-20 on held-out images after each epoch (behind the front, where
there is one: 8×8 digits, black and white and grey, and 6,000 images of MNIST). `variants` does the same
for a network on MNIST with random changes of the images and other fronts. `measure` attacks a trained run:
the exact attack behind the front on the first N images, then AutoAttack's standard version and 10,000
queries of Square on the first M, each on what the ones before it left. `validation` is the part of the
training images that this run never trained on, for choices; the test part is for the end.

Writes results/front.json; entries that are there already are kept, and not done again.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from running import command, parser, write

import hardball as hb
from hardball import environment
from hardball.runs import RunFolder

RADII = (0.3, 0.4, 0.45)


@dataclass(frozen=True)
class Cell:
    """One training of the comparison."""

    data: str
    model: str
    args: tuple[tuple[str, Any], ...]
    images: int | None
    epochs: int
    lr: float
    eps: float
    front: str | None
    seed: int
    front_args: tuple[tuple[str, Any], ...] = ()
    augment: str = "none"
    batch_size: int = 32
    average: float = 0.0
    precision: str = "32-true"

    @property
    def name(self) -> str:
        return f"{self.data}, ε={self.eps:g}, {self.front or 'no front'}, seed {self.seed}"

    @property
    def settings(self) -> hb.Settings:
        return hb.Settings(
            seed=self.seed,
            batch_size=self.batch_size,
            augment=self.augment,
            machine=hb.Machine(precision=self.precision),
            optimizer=hb.Optimizer(
                name="adam",
                lr=self.lr,
                schedule="linear-tail" if self.average else "constant",
                average=self.average,
            ),
        )


Kind = tuple[str, tuple[tuple[str, Any], ...], int | None, int, float]
"""Model, its arguments, images, epochs and learning rate of a cell."""


def cells() -> Iterator[Cell]:
    digits: Kind = ("digits_cnn", (("width", 16),), None, 6, 2e-3)
    small: Kind = ("mnist_cnn", (), 6000, 1, 1e-3)
    for data, kind, seeds in (("digits-bw", digits, 3), ("digits", digits, 3), ("mnist", small, 2)):
        for eps in RADII:
            for seed in range(seeds):
                for front in (None, "rounding"):
                    yield Cell(data, *kind, eps, front, seed)


def variants() -> Iterator[Cell]:
    """What is asked of the strided network in two epochs: one change at a time."""
    one, two = (("threshold", [0.5]),), (("threshold", [0.42, 0.58]),)
    clip = (("low", 0.41), ("high", 0.59))
    for augment, front, front_args in (
        ("none", "rounding", one),
        ("affine", "rounding", one),
        ("affine-sharp", "rounding", one),
        ("affine-sharp", "rounding", two),
        ("none", "rounding", two),
        ("none", "clip", clip),
        ("shifts", "clip", clip),
    ):
        yield Cell(
            *("mnist", "strided_cnn", (), None, 2, 1e-3, 0.4, front, 0),
            front_args=front_args,
            augment=augment,
            batch_size=64,
            average=0.998,
            precision="bf16-mixed",
        )


def trained(cell: Cell, root: Path) -> dict[str, Any]:
    """The accuracy on held-out images after each epoch."""
    data = hb.load_dataset(cell.data, root)
    data = data.rows(slice(0, cell.images))
    torch.manual_seed(cell.seed)
    model = hb.build(
        *(cell.model, data.shape, data.classes, dict(cell.args)),
        front=cell.front,
        front_args=dict(cell.front_args),
    )
    wall, cpu = time.monotonic(), time.process_time()
    run = hb.fit(
        model,
        data,
        curriculum=hb.Constant(cell.eps),
        epochs=cell.epochs,
        attack=hb.TrainingAttack(steps=4, validation_steps=20),
        settings=cell.settings,
    )
    assert run.outcome is not None
    held = cell.settings.held_of(len(data))
    return {
        "data": cell.data,
        "eps": cell.eps,
        "front": cell.front,
        "seed": cell.seed,
        "model": cell.model,
        "front_args": dict(cell.front_args),
        "augment": cell.augment,
        "epochs": cell.epochs,
        "train_images": len(data) - held,
        "held_out": held,
        "attack": "PGD-20, one start" + (", behind the front" if cell.front else ""),
        "status": run.outcome.status,
        "training": [round(row["adv_accuracy"], 4) for row in run.history],
        "adversarial": [round(row["val_adv_accuracy"], 4) for row in run.history],
        "clean": [round(row["val_accuracy"], 4) for row in run.history],
        "sample_steps": run.outcome.sample_steps,
        "wall_seconds": round(time.monotonic() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }


def summary(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Mean over the seeds, for each data set, ε and front."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for one in found.values():
        groups.setdefault((one["data"], one["eps"], one["front"]), []).append(one)
    return [
        {
            "data": data,
            "eps": eps,
            "front": front,
            "seeds": len(ones),
            "epochs": max(len(one["adversarial"]) for one in ones),
            "first_epoch": round(sum(one["adversarial"][0] for one in ones) / len(ones), 4),
            "last_epoch": round(sum(one["adversarial"][-1] for one in ones) / len(ones), 4),
            "collapsed": sum(one["status"] == "collapsed" for one in ones),
        }
        for (data, eps, front), ones in groups.items()
    ]


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """A run under the exact attack, AutoAttack and Square."""
    run, root = arguments.run, arguments.data_root
    config = RunFolder(run).config()
    if arguments.split == "test":
        data = hb.load_dataset(config["data"]["name"], root, "test")
    else:
        whole = hb.load_dataset(config["data"]["name"], root)
        data = hb.Settings.of(config).hold_out(whole)[1]
    model = hb.load_run(run).model
    exact = hb.protocols.named(
        ["front-pgd-200", "front-pgd-margin-100-x5", "front-targeted-pgd-20"]
    )
    exact = dict(exact) | {"front-square": hb.SquareBehindFront(queries=1000)}
    square = hb.protocols.ATTACKS["square"]
    assert isinstance(square, hb.AutoAttackPart)
    square = replace(square, queries=10_000)
    known = hb.protocols.named(["apgd-ce", "apgd-t", "fab-t"])
    sets = {
        "exact": (exact, arguments.n),
        "all": (exact | dict(known) | {"square": square}, arguments.few),
    }
    found: dict[str, Any] = {}
    for name, (attacks, n) in sets.items():
        wall, cpu = time.monotonic(), time.process_time()
        scores = hb.evaluate(
            model, data.rows(slice(0, n)), eps=arguments.eps, attacks=attacks, seed=arguments.seed
        )
        found[name] = {
            "n": n,
            "clean": scores.clean.as_json(),
            "after": {
                one.attack: one.after.as_json() | {"broken": one.broken} for one in scores.scores
            },
            "wall_seconds": round(time.monotonic() - wall, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
        }
    outcome = json.loads((run / "outcome.json").read_text())
    spent = run / "time.json"
    config["data"]["root"] = "DATA_ROOT"  # of this machine
    return {
        "split": arguments.split,
        "eps": arguments.eps,
        "seed": arguments.seed,
        "run": config,
        "outcome": outcome,
        "training_time": json.loads(spent.read_text()) if spent.exists() else None,
        **found,
    }


def about(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "machine": environment.facts(),
        "note": arguments.note,
        "command": command(data_root=arguments.data_root),
    }


def main() -> None:
    made = parser(__doc__, Path(__file__).with_suffix(".json"))
    made.add_argument("what", choices=("plateau", "variants", "measure"))
    made.add_argument("--data-root", type=Path, default=Path("data"))
    made.add_argument("--run", type=Path)
    made.add_argument("--split", choices=("validation", "test"), default="validation")
    made.add_argument("--eps", type=float, default=0.4)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--n", type=int, default=1000, help="images under the exact attack")
    made.add_argument("--few", type=int, default=200, help="images under AutoAttack and Square too")
    arguments = made.parse_args()
    result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    if arguments.what == "plateau":
        kept = result.setdefault("plateau", {"trainings": {}})
        for cell in cells():
            if cell.name not in kept["trainings"]:
                kept["trainings"][cell.name] = trained(cell, arguments.data_root)
                kept["means"] = summary(kept["trainings"])
                kept |= about(arguments)
                write(result, arguments.out)
        return
    if arguments.what == "variants":
        kept = result.setdefault("variants", {})
        for cell in variants():
            numbers = [str(value) for _, value in cell.front_args]
            name = f"{cell.augment}, {cell.front} {', '.join(numbers)}"
            if name not in kept:
                kept[name] = trained(cell, arguments.data_root) | about(arguments)
                write(result, arguments.out)
        return
    name = f"{arguments.run.name}, {arguments.split}"
    kept = result.setdefault("networks", {})
    if name not in kept:
        kept[name] = measured(arguments) | about(arguments)
        write(result, arguments.out)


if __name__ == "__main__":
    main()
