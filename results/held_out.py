"""What experiments on attacks share: the zoo's MNIST networks for ε=0.4, held-out training images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from running import parser, write_networks
from torch import nn

import hardball as hb
from hardball import zoo
from hardball.data import split_validation


def compare(
    doc: str | None,
    path: Path,
    wanted: Sequence[str],
    compared: Callable[[nn.Module, hb.Dataset, hb.ThreatModel, Mapping[str, hb.Attack]], Any],
    *,
    n: int,
) -> None:
    """Store what is found of each network, each at its ε.

    Args:
        doc, path: of the script, beside which the result is written.
        wanted: names of attacks; of a network with a front they run behind it. A search without
            gradients, of 1,000 queries, is always among them.
        compared: network, images, threat model and attacks by name → numbers, by name.
        n: images, if the command line does not say.
    """
    made = parser(doc, path.with_suffix(".json"))
    made.add_argument("--data-root", type=Path, default=Path("data"))
    made.add_argument("--n", type=int, default=n)
    arguments = made.parse_args()
    train = hb.load_dataset("mnist", arguments.data_root)
    data = split_validation(train, 1000, 0)[1].rows(slice(0, arguments.n))
    found = {}
    for name in zoo.listed():
        if not name.startswith("mnist-linf-0.4"):
            continue
        entry = zoo.entry(name)
        front = bool(entry.config["model"].get("front"))
        search = hb.SquareBehindFront if front else hb.CornerSearch
        attacks = {
            **hb.protocols.named([("front-" if front else "") + one for one in wanted]),
            "search": search(queries=1000),
        }
        eps = entry.config["eps"]
        numbers = compared(entry.model().eval(), data, hb.LInf(eps), attacks)
        found[name] = {"eps": eps, "n": len(data), **numbers}
    write_networks(found, arguments)
