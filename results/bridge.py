"""A network trained on n Gaussian examples against the robust error no classifier can beat.

    python results/bridge.py

Two classes in 10 dimensions whose means differ by different amounts, so that against ℓ∞ the optimal
robust rule is not the Bayes rule: it ignores the features that ε can flip. For each n a two-layer
network is trained by PGD, three seeds, and attacked by PGD on 20,000 fresh examples. The attack can
only miss errors and the sample has a standard error, so a point may lie below the line by a few of
those, or by a weak attack, but never otherwise.

Writes results/bridge.json and bridge.png.
"""

import math
import time
from pathlib import Path

import numpy as np
import torch
from running import parser, write
from torch import Tensor, nn

import hardball as hb
from hardball.report import theory_figures
from hardball.theory import Gaussian
from hardball.theory.gaussian import rule_error

SIZES = [30, 100, 300, 1000, 3000, 10_000]
SEEDS = 3
TESTED = 20_000
EPS = 0.3
SHRINK = 1 / 20
"""Points are shrunk into [0,1], and ε with them, so that the box never binds."""

MODEL = Gaussian(np.geomspace(1.0, 0.05, 10), -np.geomspace(1.0, 0.05, 10), 0.8)


class Network(nn.Sequential):
    """Two layers of 32, on the points in their own units."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = super().forward((images - 0.5) / SHRINK)
        return logits


def draw(count: int, seed: int) -> tuple[Tensor, Tensor]:
    points, labels = MODEL.sample(count, np.random.default_rng(seed))
    images = torch.from_numpy(points * SHRINK + 0.5).float()
    assert images.min() > EPS * SHRINK
    assert images.max() < 1 - EPS * SHRINK
    return images, torch.from_numpy((labels > 0).astype(np.int64))


def train(count: int, seed: int, threat: hb.ThreatModel) -> Network:
    torch.manual_seed(seed)
    images, labels = draw(count, seed)
    network = Network()
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 1000)
    attack = hb.PGD(steps=5, step_size=EPS * SHRINK / 2)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(1000):
        batch = torch.randint(count, (min(count, 256),), generator=generator)
        worst = attack.perturb(network, images[batch], labels[batch], threat, generator=generator)
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(worst), labels[batch]).backward()
        optimiser.step()
        schedule.step()
    return network


def main() -> None:
    parser(__doc__).parse_args()
    began = time.perf_counter()
    threat = hb.LInf(EPS * SHRINK)
    attack = hb.PGD(steps=20, step_size=EPS * SHRINK / 8)
    images, labels = draw(TESTED, 10**6)
    errors = np.array(
        [
            [
                attack(train(count, seed, threat), images, labels, threat).fooled.double().mean()
                for seed in range(SEEDS)
            ]
            for count in SIZES
        ]
    )
    optimum = MODEL.robust_error(EPS, "linf")
    found = {
        "eps": EPS,
        "norm": "linf",
        "optimum": optimum,
        "bayes_rule": rule_error(MODEL.rule(), MODEL, EPS, "linf"),
        "bayes_error": MODEL.bayes_error(),
        "sizes": SIZES,
        "errors": errors.tolist(),
        "tested": TESTED,
        "standard_error": math.sqrt(optimum * (1 - optimum) / TESTED),
        "seconds": round(time.perf_counter() - began, 1),
    }
    path = Path(__file__).with_suffix(".json")
    write(found, path)
    figure = theory_figures.approach(SIZES, {"network, PGD-trained": errors}, optimum)
    theory_figures.save(figure, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
