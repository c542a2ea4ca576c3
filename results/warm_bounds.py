"""Does a warm start help training with bounds, as it helps adversarial training?

    python results/warm_bounds.py [--seeds 3] [--note "what else ran"]

Black-and-white 8×8 digits, interval bounds (IBP) at a large ε, the same number of epochs for each way:
directly at ε from random weights; up a ramp; at ε from weights that bounds trained up a ramp to half of ε;
at ε from weights trained adversarially (PGD) at half of ε. Certified by interval bounds, and what PGD-50
with 5 restarts leaves, on the 360 test images. Writes results/warm_bounds.json; what is there already is
not done again.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from running import command, parser, write
from torch import nn

import hardball as hb
from hardball import environment

RADII = (0.2, 0.4)
EPOCHS = 42
SETTINGS = hb.Settings(
    batch_size=64,
    optimizer=hb.Optimizer(name="adam", lr=2e-3, schedule="linear-tail"),
    machine=hb.Machine(accelerator="cpu"),
)
Fit = Callable[[nn.Module, hb.Dataset, float, int], None]


def bounded(model: nn.Module, data: hb.Dataset, curriculum: hb.Curriculum, seed: int) -> None:
    settings = replace(SETTINGS, seed=seed, objective=hb.IBPLoss())
    hb.fit(model, data, curriculum=curriculum, settings=settings)


def direct(model: nn.Module, data: hb.Dataset, eps: float, seed: int) -> None:
    bounded(model, data, hb.Constant(eps, epochs=EPOCHS), seed)


def raised(eps: float, epochs: int) -> hb.Curriculum:
    """A ramp over two thirds of the epochs."""
    rising = 2 * epochs // 3
    return hb.Iterative(eps, ramp_epochs=rising, hold=epochs - rising, per="step", may_stop=False)


def ramp(model: nn.Module, data: hb.Dataset, eps: float, seed: int) -> None:
    bounded(model, data, raised(eps, EPOCHS), seed)


def from_bounds(model: nn.Module, data: hb.Dataset, eps: float, seed: int) -> None:
    bounded(model, data, raised(eps / 2, EPOCHS // 2), seed)
    bounded(model, data, hb.Constant(eps, epochs=EPOCHS // 2), seed)


def from_adversarial(model: nn.Module, data: hb.Dataset, eps: float, seed: int) -> None:
    attacked = replace(SETTINGS, seed=seed, attack=hb.TrainingAttack(steps=10))
    half = hb.Constant(eps / 2, epochs=EPOCHS // 2)
    hb.fit(model, data, curriculum=half, settings=attacked)
    bounded(model, data, hb.Constant(eps, epochs=EPOCHS // 2), seed)


WAYS: dict[str, Fit] = {
    "direct": direct,
    "ramp": ramp,
    "from bounds at ε/2": from_bounds,
    "from PGD at ε/2": from_adversarial,
}


def trained(way: str, eps: float, seed: int) -> dict[str, Any]:
    """One network, and what is proved and left of it."""
    data, test = hb.load_dataset("digits-bw"), hb.load_dataset("digits-bw", split="test")
    torch.manual_seed(seed)
    model = hb.build("digits_cnn", data.shape, data.classes, {"width": 16})
    began = time.monotonic()
    WAYS[way](model, data, eps, seed)
    seconds = time.monotonic() - began
    attacks = {"pgd-50-x5": hb.PGD(steps=50, restarts=5)}
    found = hb.evaluate(model, test, eps=eps, attacks=attacks, certify={"ibp": hb.IBP()})
    (proof,) = found.proofs
    return {
        "way": way,
        "eps": eps,
        "seed": seed,
        "n": len(test),
        "clean": round(found.clean.value, 4),
        "certified": round(proof.accuracy.value, 4),
        "attacked": round(found.worst[eps].value, 4),
        "seconds": round(seconds, 1),
    }


def means(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the seeds."""
    rows = []
    for eps in RADII:
        for way in WAYS:
            some = [run for run in runs if (run["eps"], run["way"]) == (eps, way)]
            if some:
                mean = {
                    key: round(sum(run[key] for run in some) / len(some), 4)
                    for key in ("clean", "certified", "attacked")
                }
                certified = sorted(run["certified"] for run in some)
                rows.append({"eps": eps, "way": way, "seeds": len(some), **mean, "each": certified})
    return rows


def main() -> None:
    made = parser(__doc__, Path(__file__).with_suffix(".json"))
    made.add_argument("--seeds", type=int, default=3)
    arguments = made.parse_args()
    result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {"runs": []}
    there = {(run["way"], run["eps"], run["seed"]) for run in result["runs"]}
    for seed in range(arguments.seeds):
        for eps in RADII:
            for way in WAYS:
                if (way, eps, seed) in there:
                    continue
                result["runs"].append(trained(way, eps, seed))
                result |= {
                    "means": means(result["runs"]),
                    "epochs": EPOCHS,
                    "command": command(),
                    "note": arguments.note,
                    "machine": environment.facts(),
                }
                write(result, arguments.out)


if __name__ == "__main__":
    main()
