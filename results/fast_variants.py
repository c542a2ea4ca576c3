"""Recipes tried for MNIST at ε=0.4 beside the preset `mnist-fast`, each as the command that makes it.

    python results/fast_variants.py --data-root data --runs runs/fast_variants [--only NAME ...]

Trains each variant (seed 0) and measures it on the images that the training held out, never on test
images: these figures are for choosing. PGD-100 with one start at 0.3 and 0.4 on the first 500; PGD-20, then
PGD-200 with 5 restarts on what is left, at 0.4, on all 1,000. One seed: differences below about 3 points
(2 on all 1,000) are noise. After an interruption the script continues where it was.

Writes results/fast_variants.json. Variants that are not asked for keep the entry that is there. All of
them take some hours on two cores, a single one 10 to 30 minutes.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from running import command, parser, train, write

import hardball as hb
from hardball import environment
from hardball.runs import RunFolder

FAST = "train --preset mnist-fast --curriculum iterative --eps 0.4"
SLOW = f"{FAST} --batch-size 128 --lr 0.001"
SHORT = f"{FAST} --ramp-epochs 4 --hold 2 --finish-epochs 2"
FIRST = 500
"""Held-out images under PGD-100."""


@dataclass(frozen=True)
class Variant:
    """One recipe."""

    words: str
    what: str


VARIANTS = {
    "P1": Variant(f"{SLOW} --ramp-epochs 7 --hold 5 --finish-epochs 4", "a longer ramp"),
    "P2": Variant(
        f"{SLOW} --ramp-epochs 7 --hold 4 --finish-epochs 4 --beyond 0 --carry false --steps null "
        "--reach null --step-size 0.2",
        "steps of fixed size from a random start",
    ),
    "P3": Variant(
        f"{SLOW} --ramp-epochs 7 --hold 7 --finish-epochs 7 --finish-steps 5",
        "a long finish of few steps",
    ),
    "P4": Variant(f"{SLOW} --hold 5 --finish-epochs 5", "a shorter ramp, a longer finish"),
    "I1": Variant(f"{FAST} --hold 5 --finish-epochs 5", "P4 at half the batch, twice the rate"),
    "no finish": Variant(
        f"{SLOW} --ramp-epochs 7 --hold 5 --finish-epochs 0 --finish-steps null",
        "two carried steps to the end",
    ),
    "short, lr 0.001": Variant(f"{SHORT} --batch-size 128 --lr 0.001", "P4, shorter"),
    "short, lr 0.002": Variant(f"{SHORT} --batch-size 128 --lr 0.002", "twice the rate"),
    "short, lr 0.004": Variant(f"{SHORT} --batch-size 128 --lr 0.004", "four times the rate"),
    "short": Variant(SHORT, "the preset, shorter"),
    "finish of 13 steps": Variant(f"{FAST} --finish-steps 13", "a stronger attack at the end"),
    "beyond 0.05": Variant(f"{FAST} --beyond 0.05", "the ramp ends at 0.45"),
    "no average": Variant(f"{FAST} --average 0", "the last weights"),
    "margin": Variant(f"{FAST} --attack.loss margin", "the attack climbs the margin"),
    "TRADES, β=2": Variant(f"{FAST} --objective trades --objective.beta 2", "TRADES"),
    "TRADES, β=6": Variant(f"{FAST} --objective trades --objective.beta 6", "TRADES"),
    "label smoothing": Variant(f"{FAST} --objective.label_smoothing 0.1", "smoother labels"),
}
"""name → recipe. P1 to I1 have been measured."""


def held_out(folder: Path, root: Path) -> hb.Dataset:
    """The training images that this run never trained on."""
    settings = hb.Settings.of(RunFolder(folder).config())
    return settings.hold_out(hb.load_dataset("mnist", root))[1]


def measure(folder: Path, root: Path, processes: int) -> dict[str, Any]:
    """Clean accuracy, and accuracy after each attack."""
    model, data = hb.load_run(folder).model, held_out(folder, root)
    named, few = hb.protocols.named, data.rows(slice(0, FIRST))
    short = hb.evaluate(model, few, eps=[0.3, 0.4], attacks=named(["pgd-100"]), processes=processes)
    attacks = named(["pgd-20", "pgd-200-x5"])
    long = hb.evaluate(model, data, eps=0.4, attacks=attacks, processes=processes)
    return {
        "accuracy": {
            "n": FIRST,
            "clean": short.clean.value,
            **{f"{score.attack} {score.eps:g}": score.after.value for score in short.scores},
        },
        "long": {
            "n": len(data),
            "clean": long.clean.value,
            **{f"{score.attack} 0.4": score.after.value for score in long.scores},
        },
    }


def entry(variant: Variant, folder: Path, root: Path, devices: int) -> dict[str, Any]:
    """Train and measure what is not there yet."""
    place = f"--data-root {root} --devices {devices} --accelerator cpu"
    train(f"{variant.words} --seed 0 {place}", folder)
    kept = folder / "held_out.json"
    if not kept.exists():
        write(measure(folder, root, devices) | {"machine": environment.facts()}, kept)
    outcome = json.loads((folder / "outcome.json").read_text())
    return {
        "command": f"hardball {variant.words} --seed 0",
        "what": variant.what,
        "status": outcome["status"],
        "sample_steps": outcome["sample_steps"],
        "minutes": round(outcome["seconds"] / 60, 1),
        **json.loads(kept.read_text()),
    }


def main() -> None:
    made = parser(__doc__, Path(__file__).with_suffix(".json"))
    made.add_argument("--data-root", type=Path, default=Path("data"))
    made.add_argument("--runs", type=Path, default=Path("runs/fast_variants"))
    made.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    made.add_argument("--devices", type=int, default=os.cpu_count() or 1)
    made.add_argument("--more", default="", help="flags for every training, to try the script")
    arguments = made.parse_args()
    result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {"variants": {}}
    for name in arguments.only:
        variant = VARIANTS[name]
        variant = Variant(f"{variant.words} {arguments.more}".strip(), variant.what)
        folder = arguments.runs / name.replace(" ", "_")
        found = entry(variant, folder, arguments.data_root, arguments.devices)
        result["variants"][name] = found | {"note": arguments.note}
        result["not_yet_measured"] = [name for name in VARIANTS if name not in result["variants"]]
        result["last_command"] = command()
        write(result, arguments.out)


if __name__ == "__main__":
    main()
