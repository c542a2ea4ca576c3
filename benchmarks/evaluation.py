"""How long a strong evaluation of a trained network takes, by whom, and what accuracy it reports.

    python benchmarks/evaluation.py RUN --data-root data [--n 100] [--eps 0.4] [--note "what else ran"]

Three attacks on the same network and images, in turn. PGD-200 with 10 restarts (α = 2.5·ε/200):
hardball in one process on all cores and in one process per core; torchattacks and foolbox, whose
users repeat PGD and keep the worst (every image attacked every time); ART with its own restarts.
APGD-CE with 10 restarts of its 100 steps, and AutoAttack's standard version: AutoAttack, and hardball,
which runs the same code on its own engine. Peers get the network in PyTorch's default layout, as they
would, and run in this process, where hardball has set the memory allocator for all of them. Writes
benchmarks/results/evaluation.json; attacks that were not asked for stay there as they are.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from peers import art_pgd, autoattack, foolbox_pgd, torchattacks_pgd
from record import RESULTS, command, parser, write
from timing import interleaved, ratio, seconds
from torch import Tensor, nn

from hardball import PGD, environment, evaluate, load_dataset
from hardball.attacks import AUTOATTACK, Attack, AutoAttackPart
from hardball.data import Dataset
from hardball.losses import correct
from hardball.runs import load_run

STEPS, RESTARTS = 200, 10
CORES = os.cpu_count() or 1


def remaining(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """bool [n]: still classified correctly."""
    with torch.no_grad():
        return correct(model(images), labels)


def by_repeating(
    attack: Callable[..., Tensor], model: nn.Module, images: Tensor, labels: Tensor, eps: float
) -> float:
    """Accuracy under the worst of several runs of an attack with one start."""
    right = torch.ones(len(labels), dtype=torch.bool)
    for _ in range(RESTARTS):
        found = attack(model, images, labels, eps=eps, alpha=2.5 * eps / STEPS, steps=STEPS)
        right &= remaining(model, found, labels)
    return right.float().mean().item()


def by_art(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> float:
    alpha = 2.5 * eps / STEPS
    found = art_pgd(model, images, labels, eps=eps, alpha=alpha, steps=STEPS, restarts=RESTARTS)
    return remaining(model, found, labels).float().mean().item()


def by_autoattack(
    attacks: Sequence[str],
    restarts: int,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
) -> float:
    found = autoattack(model, images, labels, eps=eps, attacks=attacks, restarts=restarts)
    return remaining(model, found, labels).float().mean().item()


PEERS: dict[str, dict[str, Callable[[nn.Module, Tensor, Tensor, float], float]]] = {
    "pgd": {
        "torchattacks, worst of 10": partial(by_repeating, torchattacks_pgd),
        "foolbox, worst of 10": partial(by_repeating, foolbox_pgd),
        "ART, 10 restarts": by_art,
    },
    "apgd-ce": {"AutoAttack": partial(by_autoattack, ["apgd-ce"], RESTARTS)},
    "autoattack": {"AutoAttack": partial(by_autoattack, list(AUTOATTACK), 1)},
}
"""attack → who else makes it → how."""

WHAT = {
    "pgd": f"{STEPS} steps, {RESTARTS} restarts",
    "apgd-ce": f"100 steps, {RESTARTS} restarts",
    "autoattack": "its standard version",
}

OURS: dict[str, tuple[Mapping[str, Attack], list[int]]] = {
    "pgd": ({"pgd": PGD(steps=STEPS, restarts=RESTARTS)}, sorted({1, CORES})),
    # its random numbers depend on the batch, so one process attacks all of it
    "apgd-ce": ({"apgd-ce": AutoAttackPart(name="apgd-ce", restarts=RESTARTS)}, [1]),
    "autoattack": (AUTOATTACK, sorted({1, CORES})),
}
"""attack → hardball's, and by how many processes."""


def by_hardball(
    attacks: Mapping[str, Attack], model: nn.Module, test: Dataset, eps: float, processes: int
) -> float:
    found = evaluate(model, test, eps=eps, attacks=attacks, processes=processes)
    return found.worst[eps].value


def timed(way: Callable[[], float], kept: list[float]) -> Callable[[], float]:
    """A call that notes the accuracy and returns the seconds."""
    return lambda: seconds(lambda: kept.append(way()))


def compared(
    attack: str, names: list[str], taken: dict[str, list[float]], accuracy: dict[str, list[float]]
) -> dict[str, Any]:
    """One attack's rows, and how much faster hardball (its quicker way) is than each and than the
    fastest peer."""
    times = {name: taken[f"{attack}: {name}"] for name in names}
    fastest_peer = min(PEERS[attack], key=lambda name: median(times[name]))
    mine = min(times.keys() - PEERS[attack].keys(), key=lambda name: median(times[name]))
    return {
        "speedup_over_fastest_peer": ratio(times[mine], times[fastest_peer]),
        "fastest_peer": fastest_peer,
        "rows": {
            name: {
                "accuracy": [round(a, 4) for a in accuracy[f"{attack}: {name}"]],
                "seconds": [round(t, 1) for t in times[name]],
                "speedup_of_hardball": ratio(times[mine], times[name]),
            }
            for name in names
        },
    }


def main() -> None:
    made = parser(__doc__, RESULTS / "evaluation.json")
    made.add_argument("run", type=Path)
    made.add_argument("--data-root", type=Path, default=Path("data"))
    made.add_argument("--n", type=int, default=100)
    made.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS))
    made.add_argument("--eps", type=float, default=0.4)
    made.add_argument("--repeats", type=int, default=3)
    arguments = made.parse_args()
    run, eps = load_run(arguments.run), arguments.eps
    test = load_dataset(run.config["data"]["name"], arguments.data_root, "test")
    test = test.rows(slice(0, arguments.n))
    ways: dict[str, dict[str, Callable[[], float]]] = {one: {} for one in arguments.only}
    for attack in arguments.only:
        mine, counts = OURS[attack]
        for count in counts:
            name = f"hardball, {count} process" + "es" * (count > 1)
            ways[attack][name] = partial(by_hardball, mine, run.model, test, eps, count)
        for name, peer in PEERS[attack].items():
            ways[attack][name] = partial(peer, run.model, test.images, test.labels, eps)
    accuracy: dict[str, list[float]] = {}
    calls = {
        f"{attack}: {name}": timed(way, accuracy.setdefault(f"{attack}: {name}", []))
        for attack, named in ways.items()
        for name, way in named.items()
    }
    taken = interleaved(calls, arguments.repeats, warm=0)
    result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for attack, named in ways.items():
        result[attack] = {
            **compared(attack, list(named), taken, accuracy),
            "command": command(run=arguments.run),
            "n": arguments.n,
            "what": f"the first {arguments.n} test images, ε={eps}; {WHAT[attack]}; accuracy and seconds "
            "of each round",
            "run": arguments.run.name,
            "note": arguments.note,
            "machine": environment.facts(),
        }
    write(result, arguments.out)
    for attack in ways:
        found = result[attack]
        print(f"{attack}: {found['speedup_over_fastest_peer']}× {found['fastest_peer']}")


if __name__ == "__main__":
    main()
