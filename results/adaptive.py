"""The adaptive curriculum against fixed ramps: how often it learns, how far, and for how much.

    python results/adaptive.py --data-root data --cifar-root cifar --runs runs/adaptive [--note "..."]

digits_bw: black-and-white digits up to ε=0.45, in the demo's settings and in earlier ones in which a
fixed ramp depends on the seed; test accuracy (n=360) under the worst of PGD-50 with 5 restarts,
targeted PGD-50 and Square. mnist: asked for ε=0.45 within the sample-steps of the preset `mnist-fast`,
with its settings; its runs are trained beside it; then for ε=0.5 with four times as many, so that the
search ends by failing; test accuracy of the first images under AutoAttack's standard version. cifar:
5,000 training images of CIFAR-10 (JPEG files, so lossy) and a ResNet of 78,000 parameters, up to 32/255;
direct, extended, linear and adaptive training with equal sample-steps; accuracy under AutoAttack at 8, 16
and 32/255. A training has learned at an ε where its accuracy there is 40% or more, on CIFAR-10 20%: four
times, and twice that of a constant prediction.

After an interruption the script continues where it was; --parts and the numbers of seeds cut it, and the
result says what was run. Writes results/adaptive.json. A sample-step is one image through one forward and
backward pass of the attack, those of the adaptive curriculum's probes among them.
"""

import argparse
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from statistics import fmean
from typing import Any

from running import command, hardball_json, parser, train, write

from hardball import environment
from hardball.commands.demo import COMMON, CONTESTANTS
from hardball.data.cifar_files import CLASSES
from hardball.presets import Values, merged, short_flags

LEARNED = {"digits_bw": 0.4, "mnist": 0.4, "cifar": 0.2}
"""Accuracy from which an ε counts as learned."""
EPS = 0.45
SEARCH = CONTESTANTS[-1].values
EARLIER: Values = {"batch_size": 64, "optimizer": {"lr": 1e-3, "schedule": "constant"}}
RAMP: Values = {
    "eps": EPS,
    "curriculum": {
        "name": "iterative",
        "ramp_epochs": 80,
        "hold": 60,
        "per": "step",
        "may_stop": False,
    },
    "stopping": {"collapse_patience": 80},
}
FAST = "train --preset mnist-fast --curriculum iterative --eps 0.4"
# as the preset, its search takes few carried attack steps, which mask a little near the end, and its
# finish more, which mend that; so `pace` and `masked` let the search go on, and the last probe judges
MNIST = (
    "train --preset mnist-fast --curriculum adaptive --schedule constant --eps 0.45 --increment 0.105 "
    "--steps 3 --finish 3 --finish-steps 7 --pace 0.6 --masked 0.5"
)
# far enough that it fails somewhere, with the time to
LIMIT = (
    "train --preset mnist-fast --curriculum adaptive --schedule constant --eps 0.5 --increment 0.1 "
    "--resolution 0.02 --steps 7 --strengthen 0 --patience 2 --longest 5 --finish 3 "
    "--budget-steps 8000000"
)
CIFAR = "--data cifar10-jpeg --model resnet8 --steps 5 --batch-size 64 --lr 2e-3 --augment true"
EACH, EACH_TEST = 500, 100
"""Images of each class of CIFAR-10."""
EPOCHS = 16
"""On CIFAR-10, of the trainings whose length is fixed."""
CIFAR_STEPS = EPOCHS * 5 * 4500
"""Sample-steps of each training there: 500 of 5,000 images are held out."""

ATTACKS = {
    "digits_bw": "[pgd-50-x5,targeted-pgd-50,square]",
    "mnist": "AutoAttack standard (protocol autoattack)",
    "cifar": "AutoAttack standard (protocol autoattack)",
}


@dataclass(frozen=True)
class Training:
    """One way to train, for some seeds."""

    part: str
    name: str
    words: str
    seeds: int
    start: str | None = None
    """The training whose weights it starts from; its sample-steps count."""


def flags(*values: Values) -> str:
    """The training with these settings, the later ones first."""
    return "train " + short_flags(reduce(merged, values))


def trainings(arguments: argparse.Namespace) -> list[Training]:
    digits, earlier, mnist = arguments.digits_seeds, arguments.earlier_seeds, arguments.mnist_seeds
    searching = f"{MNIST} --budget-steps {arguments.budget_steps}"
    everything = [
        Training("digits_bw", "adaptive, demo's settings", flags(COMMON, SEARCH), digits),
        Training("digits_bw", "ramp, demo's settings", flags(COMMON, RAMP), arguments.ramp_seeds),
        Training(
            "digits_bw", "adaptive, earlier settings", flags(COMMON, EARLIER, SEARCH), earlier
        ),
        Training("digits_bw", "ramp, earlier settings", flags(COMMON, EARLIER, RAMP), earlier),
        Training("mnist", "adaptive", searching, mnist),
        Training("mnist", "adaptive, to its limit", LIMIT, arguments.limit_seeds),
        Training("mnist", "mnist-fast", FAST, arguments.fast_seeds),
        *cifar_trainings(arguments.cifar_seeds),
    ]
    chosen = [one for one in everything if one.part in arguments.parts]
    return [one for one in chosen if arguments.only is None or one.name in arguments.only]


def cifar_trainings(seeds: int) -> list[Training]:
    """Of equal cost."""

    def one(name: str, words: str, start: str | None = None) -> Training:
        return Training("cifar", name, words, seeds, start)

    fixed = f"{CIFAR} --schedule linear-tail"
    half = f"train {fixed} --eps 8/255 --epochs {EPOCHS // 2}"
    ramp = f"--curriculum iterative --ramp-epochs {2 * EPOCHS // 3} --hold {EPOCHS // 3} --per step"
    search = f"train {CIFAR} --eps 32/255 --curriculum adaptive --budget-steps {CIFAR_STEPS}"
    patience = "--finish 6 --patience 3 --longest 8 --probe-images 50"
    high = "--limit 0.97"  # so little can be learned here that the default takes it for a plateau
    return [
        *(
            one(f"direct {e}/255", f"train {fixed} --eps {e}/255 --epochs {EPOCHS}")
            for e in (8, 16, 32)
        ),
        *(
            one(f"extended 8→{e}/255", f"--eps {e}/255 --epochs {EPOCHS // 2}", half)
            for e in (16, 32)
        ),
        *(
            one(f"linear 0→{e}/255", f"train {fixed} --eps {e}/255 {ramp} --may-stop false")
            for e in (16, 32)
        ),
        one("adaptive 0→32/255", f"{search} --increment 4/255 {patience}"),
        one("adaptive 0→32/255, limit 0.97", f"{search} --increment 4/255 {high} {patience}"),
        one(
            "adaptive 8→32/255, limit 0.97",
            f"{search} --start 8/255 --increment 8/255 {high} {patience}",
        ),
    ]


def cifar_subset(root: Path, folder: Path) -> Path:
    """The first images of each class, by name, as links."""
    for part, each in (("train", EACH), ("test", EACH_TEST)):
        for kind in CLASSES:
            place = folder / part / kind
            place.mkdir(parents=True, exist_ok=True)
            for path in sorted((root / part / kind).iterdir())[:each]:
                if not (place / path.name).exists():
                    (place / path.name).symlink_to(path.resolve())
    return folder


def digits(weights: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Test accuracy at 0.3, 0.4 and 0.45."""
    words = f"evaluate {weights} --data digits-bw --model digits_cnn --model-args '{{width: 16}}' "
    words += f"--eps [0.3,0.4,{EPS}] --attacks {ATTACKS['digits_bw']}"
    return hardball_json(
        words,
        weights.with_suffix(".evaluation.json"),
        weights.with_suffix(".strong.json"),
    )


def autoattack(words: str, weights: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Test accuracy under AutoAttack, on weights that were trained so far."""
    return hardball_json(
        f"evaluate {weights} {words} --protocol autoattack --n {arguments.n} "
        f"--processes {arguments.devices}",
        weights.with_suffix(".evaluation.json"),
        weights.with_suffix(f".autoattack-{arguments.n}.json"),
    )


def mnist(weights: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """At 0.4."""
    words = f"--data mnist --data-root {arguments.data_root} --model mnist_cnn --eps 0.4"
    return autoattack(words, weights, arguments)


def cifar(weights: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """At 8, 16 and 32/255."""
    words = f"--data cifar10-jpeg --data-root {arguments.runs / 'cifar-subset'} --model resnet8"
    return autoattack(f"{words} --eps [8/255,16/255,32/255]", weights, arguments)


MEASURES: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "digits_bw": digits,
    "mnist": mnist,
    "cifar": cifar,
}


def run(training: Training, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one seed."""
    slug = re.sub(r"[^a-z0-9]+", "-", training.name)
    folder = arguments.runs / training.part / f"{slug}-{seed}"
    place = f"--accelerator cpu --devices {arguments.devices}"
    words, spent = f"{training.words} --seed {seed}", 0
    if training.part != "digits_bw":
        words += f" --precision {arguments.precision}"
    if training.part == "mnist":
        place += f" --data-root {arguments.data_root}"
    if training.part == "cifar":
        subset = cifar_subset(arguments.cifar_root, arguments.runs / "cifar-subset")
        place += f" --data-root {subset}"
    began = time.monotonic()
    if training.start is not None:
        first = folder.with_name(f"start-{seed}")
        start = f"{training.start} --seed {seed} --precision {arguments.precision}"
        train(f"{start} {place}", first, threads=1)
        spent = json.loads((first / "outcome.json").read_text())["sample_steps"]
        words = f"extend {first} {words}"
    train(f"{words} {place}", folder, threads=1)
    trained_in = time.monotonic() - began
    outcome = json.loads((folder / "outcome.json").read_text())
    found = MEASURES[training.part](folder / "weights.safetensors", arguments)
    ladder = folder / "ladder.json"
    return {
        "seed": seed,
        "command": f"hardball {words}".replace(str(arguments.runs), "RUNS"),
        "start": training.start,
        "status": outcome["status"],
        "message": outcome["message"],
        "eps": outcome.get("eps"),
        "failed_eps": outcome.get("failed_eps"),
        "failed_how": outcome.get("failed_how"),
        "sample_steps": spent + outcome["sample_steps"],
        "epochs": outcome["epochs"],
        "seconds_of_this_call": round(trained_in, 1),
        "n": found["n"],
        "clean": found["clean"]["accuracy"],
        "accuracy": {f"{r['eps']:g}": r["accuracy"] for r in found["robust"]},
        "intervals": {f"{r['eps']:g}": [r["low"], r["high"]] for r in found["robust"]},
        "rungs": rungs(ladder) if ladder.exists() else None,
    }


def rungs(path: Path) -> list[dict[str, Any]]:
    """ε and the probe's accuracy of every rung."""
    ladder = json.loads(path.read_text())
    return [
        {"eps": rung["eps"], "probe": (rung.get("probe") or {}).get("accuracy")}
        for rung in (ladder["rungs"] if isinstance(ladder, dict) else ladder)
    ]


def summary(part: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """How many seeds learned, and what they cost."""
    last = list(runs[0]["accuracy"])[-1]
    values = [one["accuracy"][last] for one in runs]
    return {
        "at": float(last),
        "learned": sum(value >= LEARNED[part] for value in values),
        "of": len(runs),
        "accuracy_least": min(values),
        "accuracy_mean": round(fmean(values), 4),
        "accuracy_largest": max(values),
        "sample_steps_mean": round(fmean(one["sample_steps"] for one in runs)),
        "sample_steps_largest": max(one["sample_steps"] for one in runs),
    }


def parsed() -> argparse.Namespace:
    made = parser(__doc__, Path(__file__).with_suffix(".json"))
    add = made.add_argument
    add("--data-root", type=Path, default=Path("data"))
    add("--cifar-root", type=Path, default=Path("cifar"), help="has train/CLASS and test/CLASS")
    add("--runs", type=Path, default=Path("runs/adaptive"))
    add("--parts", nargs="+", default=list(MEASURES), choices=list(MEASURES))
    add("--only", nargs="+", metavar="NAME", help="these trainings; the others stay as they are")
    add("--digits-seeds", type=int, default=20, help="in the demo's settings")
    add("--ramp-seeds", type=int, default=5, help="of the ramp, in the demo's settings")
    add("--earlier-seeds", type=int, default=10, help="in the earlier settings")
    add("--mnist-seeds", type=int, default=5)
    add("--limit-seeds", type=int, default=1, help="of the search for the largest ε on MNIST")
    add("--fast-seeds", type=int, default=3, help="of mnist-fast")
    add("--cifar-seeds", type=int, default=1)
    add("--budget-steps", type=int, default=2_006_000, help="on MNIST: what mnist-fast takes")
    add(
        "--precision",
        default="32-true",
        help="of the trainings on MNIST and CIFAR-10; evaluated in float32",
    )
    add("--n", type=int, default=500, help="images under AutoAttack")
    add("--devices", type=int, default=1)
    return made.parse_args()


def main() -> None:
    arguments = parsed()
    result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for training in trainings(arguments):
        runs: list[dict[str, Any]] = []
        for seed in range(training.seeds):
            runs.append(run(training, seed, arguments))
            part = result.setdefault(training.part, {"attacks": ATTACKS[training.part]})
            part[training.name] = {
                "words": training.words,
                **summary(training.part, runs),
                "made_by": command(data_root=arguments.data_root, cifar_root=arguments.cifar_root),
                "note": arguments.note,
                "machine": environment.facts(),
                "runs": runs,
            }
            result["learned_from"] = LEARNED
            write(result, arguments.out)


if __name__ == "__main__":
    main()
