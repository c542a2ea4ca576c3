"""Do large steps that decay find more than many small ones? The zoo's MNIST networks, each at its ε.

    python results/leaps.py --data-root data

Each attack runs by itself on the same held-out training images; for a network with a front, in the box
behind it. `pgd-N` takes N steps of 2.5·ε/N, `pgd-decay-N` steps from 2ε down to 0. The search without
gradients has 1,000 queries. Writes results/leaps.json.
"""

from pathlib import Path
from typing import Any

import torch
from running import parser, write_networks

import hardball as hb
from hardball import zoo
from hardball.data import split_validation

ATTACKS = ("pgd-20", "pgd-200", "pgd-decay-20", "pgd-decay-20-x5", "pgd-decay-100")


def of(name: str, data: hb.Dataset) -> dict[str, Any]:
    """How many of the images each attack breaks, and how many all of them."""
    entry = zoo.entry(name)
    front = bool(entry.config["model"].get("front"))
    model, threat = entry.model().eval(), hb.LInf(entry.config["eps"])
    named = hb.protocols.named([("front-" if front else "") + one for one in ATTACKS])
    search = hb.SquareBehindFront if front else hb.CornerSearch
    fooled = {
        attack_name: attack(
            model, data.images, data.labels, threat, generator=torch.Generator().manual_seed(0)
        ).fooled
        for attack_name, attack in {**named, "search": search(queries=1000)}.items()
    }
    broken = {attack_name: int(found.sum()) for attack_name, found in fooled.items()}
    whole = int(torch.stack([*fooled.values()]).any(dim=0).sum())
    return {"eps": entry.config["eps"], "n": len(data), "broken": broken, "by_any": whole}


def main() -> None:
    made = parser(__doc__, Path(__file__).with_suffix(".json"))
    made.add_argument("--data-root", type=Path, default=Path("data"))
    made.add_argument("--n", type=int, default=300)
    arguments = made.parse_args()
    train = hb.load_dataset("mnist", arguments.data_root)
    data = split_validation(train, 1000, 0)[1].rows(slice(0, arguments.n))
    found = {name: of(name, data) for name in zoo.listed() if name.startswith("mnist-linf-0.4")}
    write_networks(found, arguments)


if __name__ == "__main__":
    main()
