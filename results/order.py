"""Is MNIST's test part in random order? Robust accuracy of the zoo's networks by thousand images.

    python results/order.py --data-root data

Each network without a front at the ε it was trained for, on every fourth image, under PGD with 20 steps and
one start: no figure of robustness, but the same attack for all images. Writes results/order.json.
"""

import time
from pathlib import Path
from typing import Any

import torch
from running import parser, write_networks

import hardball as hb
from hardball import zoo

EVERY = 4


def of(name: str, data: hb.Dataset) -> dict[str, Any]:
    """One network, by thousand images."""
    entry, began = zoo.entry(name), time.monotonic()
    eps, attacks = entry.config["eps"], {"pgd-20": hb.PGD(steps=20)}
    scores = hb.evaluate(entry.model(), data, eps=eps, attacks=attacks, seed=0)
    withstood = torch.as_tensor(scores.broken_at).isinf().double()
    shares = [float(part.mean()) for part in withstood.split(1000 // EVERY)]
    half = len(data) // 2
    return {
        "eps": eps,
        "n": len(data),
        "by_thousand": [round(share, 4) for share in shares],
        "first_half": round(float(withstood[:half].mean()), 4),
        "second_half": round(float(withstood[half:].mean()), 4),
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> None:
    made = parser(__doc__, Path(__file__).with_suffix(".json"))
    made.add_argument("--data-root", type=Path, default=Path("data"))
    arguments = made.parse_args()
    data = hb.load_dataset("mnist", arguments.data_root, "test").rows(slice(0, None, EVERY))
    plain = [name for name in zoo.listed() if not zoo.entry(name).config["model"].get("front")]
    found = {name: of(name, data) for name in plain}
    write_networks(found, arguments)


if __name__ == "__main__":
    main()
