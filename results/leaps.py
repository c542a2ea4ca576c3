"""Do large steps that decay find more than many small ones? The zoo's MNIST networks, each at its ε.

    python results/leaps.py --data-root data

Each attack runs by itself on the same held-out training images; for a network with a front, in the box
behind it. `pgd-N` takes N steps of 2.5·ε/N, `pgd-decay-N` steps from 2ε down to 0. The search without
gradients has 1,000 queries. Writes results/leaps.json.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from held_out import compare
from torch import nn

import hardball as hb

ATTACKS = ("pgd-20", "pgd-200", "pgd-decay-20", "pgd-decay-20-x5", "pgd-decay-100")


def of(
    model: nn.Module,
    data: hb.Dataset,
    threat: hb.ThreatModel,
    attacks: Mapping[str, hb.Attack],
) -> dict[str, Any]:
    """How many of the images each attack breaks, and how many all of them."""
    fooled = {
        name: attack(
            model, data.images, data.labels, threat, generator=torch.Generator().manual_seed(0)
        ).fooled
        for name, attack in attacks.items()
    }
    broken = {name: int(found.sum()) for name, found in fooled.items()}
    return {"broken": broken, "by_any": int(torch.stack([*fooled.values()]).any(dim=0).sum())}


if __name__ == "__main__":
    compare(__doc__, Path(__file__), ATTACKS, of, n=300)
