"""What do attacks in half precision lose? The zoo's MNIST networks, each at its ε.

    python results/half.py --data-root data

Each attack runs by itself on the same held-out training images, in float32 and in bfloat16
(`hb.HalfPrecision`: every find is judged in float32); for a network with a front, in the box behind it.
How many images each breaks, how many only one of the two, and the time of one as a multiple of the other's.
Writes results/half.json.
"""

import time
from pathlib import Path
from typing import Any

import torch
from running import parser, write_networks

import hardball as hb
from hardball import zoo
from hardball.data import split_validation

ATTACKS = ("pgd-100", "pgd-decay-20-x5", "pgd-margin-100")


def of(name: str, data: hb.Dataset) -> dict[str, Any]:
    """Each attack in both precisions."""
    entry = zoo.entry(name)
    front = bool(entry.config["model"].get("front"))
    model, threat = entry.model().eval(), hb.LInf(entry.config["eps"])
    named = hb.protocols.named([("front-" if front else "") + one for one in ATTACKS])
    search = hb.SquareBehindFront if front else hb.CornerSearch

    def both(attack: hb.Attack) -> dict[str, Any]:
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

    attacks = {**named, "search": search(queries=1000)}
    broken = {attack_name: both(attack) for attack_name, attack in attacks.items()}
    return {"eps": entry.config["eps"], "n": len(data), "broken": broken}


def main() -> None:
    made = parser(__doc__, Path(__file__).with_suffix(".json"))
    made.add_argument("--data-root", type=Path, default=Path("data"))
    made.add_argument("--n", type=int, default=500)
    arguments = made.parse_args()
    train = hb.load_dataset("mnist", arguments.data_root)
    data = split_validation(train, 1000, 0)[1].rows(slice(0, arguments.n))
    found = {name: of(name, data) for name in zoo.listed() if name.startswith("mnist-linf-0.4")}
    write_networks(found, arguments)


if __name__ == "__main__":
    main()
