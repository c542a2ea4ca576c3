"""What do attacks in half precision lose? The zoo's MNIST networks, each at its ε.

    python results/half.py --data-root data

Each attack runs by itself on the same held-out training images, in float32 and in bfloat16
(`hb.HalfPrecision`: every find is judged in float32); for a network with a front, in the box behind it.
How many images each breaks, how many only one of the two, and the time of one as a multiple of the other's.
Writes results/half.json.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from held_out import compare
from torch import nn

import hardball as hb

ATTACKS = ("pgd-100", "pgd-decay-20-x5", "pgd-margin-100")


def both(
    model: nn.Module, data: hb.Dataset, threat: hb.ThreatModel, attack: hb.Attack
) -> dict[str, Any]:
    """An attack in both precisions."""
    fooled, seconds = [], []
    for one in (attack, hb.HalfPrecision(attack=attack)):
        sources = [torch.Generator().manual_seed(row) for row in range(len(data))]
        began = time.monotonic()
        found = one(model, data.images, data.labels, threat, generator=sources)
        seconds.append(time.monotonic() - began)
        fooled.append(found.fooled)
    single, half = fooled
    return {
        "float32": int(single.sum()),
        "bfloat16": int(half.sum()),
        "only_float32": int((single & ~half).sum()),
        "only_bfloat16": int((half & ~single).sum()),
        "times_as_fast": round(seconds[0] / seconds[1], 2),
    }


def of(
    model: nn.Module,
    data: hb.Dataset,
    threat: hb.ThreatModel,
    attacks: Mapping[str, hb.Attack],
) -> dict[str, Any]:
    return {"broken": {name: both(model, data, threat, one) for name, one in attacks.items()}}


if __name__ == "__main__":
    compare(__doc__, Path(__file__), ATTACKS, of, n=500)
