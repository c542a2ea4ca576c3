"""How long PGD-200 with 10 restarts takes on a trained network, by whom, and what accuracy it reports.

    python benchmarks/evaluation.py RUN --data-root data [--n 100] [--eps 0.4] [--note "what else ran"]

The same network, images and steps (α = 2.5·ε/200) for everyone, in turn: hardball in one process on
all cores and in one process per core; torchattacks and foolbox, whose users repeat PGD and keep the
worst (every image attacked every time); ART with its own restarts; AutoAttack's APGD-CE with 10
restarts of its 100 steps (another attack: fewer and adaptive steps). Peers get the network in
PyTorch's default layout, as they would, and run in this process, where hardball has set the memory
allocator for all of them. Writes benchmarks/results/evaluation.json.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peers import art_pgd, foolbox_pgd, torchattacks_pgd
from timing import interleaved, ratio, seconds
from torch import Tensor, nn

from hardball import PGD, LInf, evaluate, load_dataset, machine
from hardball.attacks import AutoAttackPart
from hardball.losses import correct
from hardball.runs import load_run

STEPS, RESTARTS = 200, 10
CORES = os.cpu_count() or 1


def standing(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return correct(model(images), labels)


def by_repeating(
    attack: Callable[..., Tensor], model: nn.Module, images: Tensor, labels: Tensor, eps: float
) -> float:
    """Accuracy under the worst of several runs of an attack with one start."""
    right = torch.ones(len(labels), dtype=torch.bool)
    for _ in range(RESTARTS):
        found = attack(model, images, labels, eps=eps, alpha=2.5 * eps / STEPS, steps=STEPS)
        right &= standing(model, found, labels)
    return right.float().mean().item()


def by_art(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> float:
    alpha = 2.5 * eps / STEPS
    found = art_pgd(model, images, labels, eps=eps, alpha=alpha, steps=STEPS, restarts=RESTARTS)
    return standing(model, found, labels).float().mean().item()


def by_apgd(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> float:
    attack = AutoAttackPart(name="apgd-ce", restarts=RESTARTS, chunk=len(images))
    right = standing(model, images, labels)
    found = attack(model, images[right], labels[right], LInf(eps), generator=torch.Generator())
    return (~found.fooled).sum().item() / len(labels)


PEERS = {
    "torchattacks, worst of 10": partial(by_repeating, torchattacks_pgd),
    "foolbox, worst of 10": partial(by_repeating, foolbox_pgd),
    "ART, 10 restarts": by_art,
    "AutoAttack's APGD-CE, 10 restarts of 100 steps": by_apgd,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--eps", type=float, default=0.4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--note", default="")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results/evaluation.json"
    )
    arguments = parser.parse_args()
    run, eps = load_run(arguments.run), arguments.eps
    test = load_dataset(run.config["data"]["name"], arguments.data_root, "test")
    test = test.rows(slice(0, arguments.n))
    accuracy: dict[str, list[float]] = {}

    def ours(processes: int) -> float:
        attack = PGD(steps=STEPS, restarts=RESTARTS)
        found = evaluate(
            run.model, test, LInf(eps), attacks={"pgd-200-x10": attack}, processes=processes
        )
        return found.worst[eps].value

    def timed(name: str, call: Callable[[], float]) -> Callable[[], float]:
        return lambda: seconds(lambda: accuracy.setdefault(name, []).append(call()))

    ways: dict[str, Callable[[], float]] = {"hardball, one process": lambda: ours(1)}
    if CORES > 1:
        ways[f"hardball, {CORES} processes"] = lambda: ours(CORES)
    for name, peer in PEERS.items():
        ways[name] = lambda peer=peer: peer(run.model, test.images, test.labels, eps)
    taken = interleaved(
        {name: timed(name, way) for name, way in ways.items()}, arguments.repeats, warm=0
    )
    best = min(PEERS, key=lambda name: sorted(taken[name]))
    mine = min((name for name in ways if name not in PEERS), key=lambda name: sorted(taken[name]))
    rows: dict[str, Any] = {
        name: {
            "accuracy": [round(a, 4) for a in accuracy[name]],
            "seconds": [round(t, 1) for t in times],
            "speedup_of_hardball": ratio(taken[mine], times),
        }
        for name, times in taken.items()
    }
    given = ["RUN" if word == str(arguments.run) else word for word in sys.argv[1:]]
    result = {
        "command": " ".join(["python benchmarks/evaluation.py", *given]),
        "what": f"PGD-{STEPS}, {RESTARTS} restarts, the first {arguments.n} test images, ε={eps}",
        "run": arguments.run.name,
        "speedup_over_fastest_peer": ratio(taken[mine], taken[best]),
        "fastest_peer": best,
        "rows": rows,
        "note": arguments.note,
        "machine": machine.facts(),
    }
    arguments.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(rows, indent=1, ensure_ascii=False))
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
