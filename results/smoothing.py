"""Large σ: does training with Gaussian noise fail from random weights, and does a curriculum reach further?

    python results/smoothing.py --data-root data --runs runs/smoothing

MNIST, 10,000 training images and 1,000 held out (both by seed), Adam at 0.001. Every way to a σ has 60,000
sample-steps (6 epochs), one noisy example each:

* direct: random weights, σ throughout;
* ramp: σ rises step by step from 0 in 4 epochs, then 2 at the full σ;
* warm: 3 epochs at σ = 1 from random weights, then 3 at σ.

Two networks: mnist_cnn in batches of 128 (the defaults), and a strided_cnn of a quarter of its width in
batches of 64, which takes a quarter of the time and twice as many updates.

Certified accuracy of the smoothed classifier, at the σ trained with, on the first 200 test images: N0 =
100, N = 1000, α = 0.001. What is done is kept in the folder of the runs, and the result is written after
every network, so that an interrupted script goes on where it was. Some fifteen minutes of one core in all.

Writes results/smoothing.json.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from running import command, parser, write
from torch import nn

import hardball as hb
from hardball import environment
from hardball.certify.smoothing import CAVEAT, largest_radius
from hardball.evaluation.results import Accuracy
from hardball.runs import INTERRUPTED, RunFolder

SEEDS = (0, 1, 2)
TRAIN, HELD, TEST = 10_000, 1_000, 200
EPOCHS, WARM = 6, 3
SAMPLES, ALPHA = (100, 1000), 0.001
RADII = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)


@dataclass(frozen=True)
class Net:
    """A network and the size of its batches."""

    name: str
    batch_size: int
    args: dict[str, Any] = field(default_factory=dict)


MNIST_CNN = Net("mnist_cnn", 128)
STRIDED = Net("strided_cnn", 64, {"width": 0.25})


@dataclass(frozen=True)
class Way:
    """One training of the study."""

    net: Net
    kind: str
    sigma: float

    def folder(self, runs: Path, seed: int) -> Path:
        return runs / f"{self.net.name}-{self.kind}-{self.sigma:g}-seed{seed}"

    def curriculum(self) -> hb.Curriculum:
        if self.kind == "ramp":
            ramp = EPOCHS - 2
            return hb.Iterative(self.sigma, ramp_epochs=ramp, hold=2, per="step", may_stop=False)
        epochs = {"direct": EPOCHS, "warm": EPOCHS - WARM, "start": WARM}[self.kind]
        return hb.Constant(self.sigma, epochs=epochs)


WAYS = (
    *(Way(MNIST_CNN, kind, 2.0) for kind in ("direct", "ramp", "warm")),
    *(Way(STRIDED, kind, 3.0) for kind in ("direct", "ramp")),
)


def network(net: Net, data: hb.Dataset, seed: int) -> nn.Module:
    """Random weights, the same for every way."""
    torch.manual_seed(seed)
    return hb.build(net.name, data.shape, data.classes, net.args)


def trained(way: Way, data: tuple[hb.Dataset, hb.Dataset], seed: int, runs: Path) -> hb.Run:
    """The run of one way: made, continued, or read where it has ended."""
    model = network(way.net, data[0], seed)
    if way.kind == "warm":
        start = trained(Way(way.net, "start", 1.0), data, seed, runs)
        model.load_state_dict(start.model.state_dict())
    folder = way.folder(runs, seed)
    settings = hb.Settings(
        objective=hb.GaussianNoise(),
        batch_size=way.net.batch_size,
        # a collapse that ends by itself is no failure: every training has all of its epochs
        stopping=hb.Stopping(on_collapse="continue"),
        seed=seed,
    )
    run = hb.fit(
        model,
        data[0],
        curriculum=way.curriculum(),
        settings=settings,
        validation=data[1],
        out=folder,
        resume=RunFolder(folder).config_file.exists(),
    )
    assert run.outcome is not None
    if run.outcome.status == INTERRUPTED:  # nothing is measured of it
        raise SystemExit(run.outcome.message)
    return run


def measured(way: Way, run: hb.Run, test: hb.Dataset, seed: int) -> dict[str, Any]:
    """What a network learned, and what its smoothed classifier certifies."""
    assert run.outcome is not None
    last = run.history[-1]
    found = hb.certify_smooth(
        run.model, test.images, sigma=way.sigma, samples=SAMPLES, alpha=ALPHA, seed=seed
    )
    right = int((found.prediction == test.labels).sum())
    abstained = int(found.abstained.sum())
    certified = []
    for radius in RADII:
        share = Accuracy(right=int(found.certified(test.labels, radius).sum()), n=TEST)
        certified.append({"radius": radius, **share.as_json()})
    return {
        **asdict(way),
        "seed": seed,
        "sample_steps": EPOCHS * TRAIN,
        "ended": run.outcome.status,
        "collapsed_epochs": int(sum(row["collapsed"] for row in run.history)),
        "val_accuracy_under_noise": last["val_adv_accuracy"],
        "val_loss_under_noise": last["val_adv_loss"],
        "val_accuracy": last["val_accuracy"],
        "smoothed": {"right": right, "wrong": TEST - right - abstained, "abstained": abstained},
        "certified": certified,
    }


def parts(root: Path, seed: int) -> tuple[tuple[hb.Dataset, hb.Dataset], hb.Dataset]:
    """(training and held-out images, chosen by seed) and the first test images."""
    whole = hb.load_dataset("mnist", root, "train")
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))
    train, held = whole.rows(order[:TRAIN]), whole.rows(order[TRAIN : TRAIN + HELD])
    return (train, held), hb.load_dataset("mnist", root, "test").rows(slice(0, TEST))


def everything(root: Path, runs: Path) -> Iterator[dict[str, Any]]:
    """One result after another."""
    for net in (MNIST_CNN, STRIDED):
        for seed in SEEDS:
            for way in (one for one in WAYS if one.net == net):
                kept = way.folder(runs, seed) / "measured.json"
                if not kept.exists():
                    data, test = parts(root, seed)
                    write(measured(way, trained(way, data, seed, runs), test, seed), kept)
                yield json.loads(kept.read_text())


def main() -> None:
    arguments = parser(__doc__, Path(__file__).with_suffix(".json"))
    arguments.add_argument("--data-root", type=Path, default=Path("data"))
    arguments.add_argument("--runs", type=Path, default=Path("runs/smoothing"))
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    networks = []
    for found in everything(asked.data_root, asked.runs):
        networks.append(found)
        sigmas = sorted({way.sigma for way in WAYS})
        result = {
            "command": command(data_root=asked.data_root, runs=asked.runs, note=asked.note),
            "note": asked.note,
            "of": len(WAYS) * len(SEEDS),
            "train": TRAIN,
            "held": HELD,
            "test": TEST,
            "epochs": EPOCHS,
            "samples": SAMPLES,
            "alpha": ALPHA,
            "largest_radius": {f"{s:g}": largest_radius(s, SAMPLES[1], ALPHA) for s in sigmas},
            "caveat": CAVEAT,
            "environment": environment.facts(),
            "networks": networks,
        }
        write(result, asked.out)


if __name__ == "__main__":
    main()
