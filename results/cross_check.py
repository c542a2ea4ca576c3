"""PGD and APGD of four libraries on one network and the same images, with the same settings.

    python results/cross_check.py runs/iat04 --eps 0.4 --n 500

Prints JSON. The libraries draw other random starts, so they need not agree on each image; `difference`
is hardball's accuracy minus the other's, with its standard error from the images on which the two
disagree (paired).
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from running import parser, write
from torch import Tensor, nn

from hardball import PGD, LInf, load_dataset, load_run
from hardball.attacks import AutoAttackPart
from hardball.environment import facts
from hardball.losses import correct
from hardball.seeding import generators

# after `running`, which makes benchmarks/ importable
from peers import art_apgd, art_pgd, foolbox_pgd, torchattacks_apgd, torchattacks_pgd  # isort: skip

STEPS = 100
BATCH = 250

Examples = Callable[[nn.Module, Tensor, Tensor, float], Tensor]


def pgd(keep: Any) -> Examples:
    """hardball's PGD."""

    def examples(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        attack = PGD(steps=STEPS, step_size=2.5 * eps / STEPS, keep=keep)
        sources = generators(0, range(len(images)))
        return attack(model, images, labels, LInf(eps), generator=sources).examples

    return examples


def apgd(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """hardball's APGD, which is AutoAttack's."""
    attack = AutoAttackPart(name="apgd-ce", iterations=STEPS)
    sources = generators(0, range(len(images)))
    return attack(model, images, labels, LInf(eps), generator=sources).examples


def same_steps(peer: Callable[..., Tensor]) -> Examples:
    """Another library's PGD with the same steps."""
    return lambda model, images, labels, eps: peer(
        model, images, labels, eps=eps, alpha=2.5 * eps / STEPS, steps=STEPS
    )


def same_iterations(peer: Callable[..., Tensor]) -> Examples:
    """Another library's APGD with as many iterations."""
    return lambda model, images, labels, eps: peer(model, images, labels, eps=eps, steps=STEPS)


LIBRARIES: dict[str, dict[str, Examples]] = {
    "pgd": {
        "hardball": pgd("last"),
        "foolbox": same_steps(foolbox_pgd),
        "torchattacks": same_steps(torchattacks_pgd),
        "art": same_steps(art_pgd),
        "hardball, any iterate": pgd("worst"),
    },
    "apgd-ce": {
        "hardball (pyautoattack)": apgd,
        "torchattacks": same_iterations(torchattacks_apgd),
        "art": same_iterations(art_apgd),
    },
}
"""attack → library → its adversarial examples. The first of each attack is compared with the others."""

NOTES = {
    "pgd": f"{STEPS} signed steps of 2.5·ε/{STEPS}, one random start, judged by the last iterate as "
    "the others do; hardball's evaluation counts any misclassified iterate",
    "apgd-ce": f"{STEPS} iterations on the cross entropy, one random start, first step 2·ε",
}


def remaining(name: str, make: Examples, run: Path, eps: float, n: int) -> tuple[Tensor, float]:
    """bool [n]: still classified correctly, and the seconds it took. Examples outside ball or box end
    the script.

    Each library gets a network of its own: some leave it in another state."""
    found = load_run(run)
    data = load_dataset("mnist", found.config["data"]["root"], "test").rows(slice(0, n))
    model = found.model.eval()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the source of randomness that ART uses
    started = time.monotonic()
    parts = []
    for rows in torch.split(torch.arange(n), BATCH):
        images, labels = data.images[rows], data.labels[rows]
        examples = make(model, images.clone(), labels.clone(), eps)
        inside = LInf(eps).allows(examples, images)
        if not bool(inside.all()):
            raise SystemExit(f"{name}: {int((~inside).sum())} examples outside the ball")
        with torch.no_grad():
            parts.append(correct(model.eval()(examples), labels))
    return torch.cat(parts), time.monotonic() - started


def compare(run: Path, eps: float, n: int) -> dict[str, Any]:
    """attack → library → accuracy, difference and its standard error."""
    result: dict[str, Any] = {}
    for attack, libraries in LIBRARIES.items():
        rows: dict[str, Any] = {}
        reference: Tensor | None = None
        for name, make in libraries.items():
            right, seconds = remaining(name, make, run, eps, n)
            reference = right if reference is None else reference
            more = int((reference & ~right).sum())
            fewer = int((~reference & right).sum())
            difference = (more - fewer) / n
            rows[name] = {
                "accuracy": int(right.sum()) / n,
                "difference": difference,
                "standard_error": math.sqrt((more + fewer) / n - difference**2) / math.sqrt(n),
                "seconds": round(seconds, 1),
            }
            print(f"{attack}: {name}: {rows[name]}", flush=True)
        result[attack] = {"settings": NOTES[attack], "libraries": rows}
    return result


def cross_check(run: Path, eps: float, n: int) -> dict[str, Any]:
    """What results/checklist_mnist.json holds."""
    return {
        "what": "PGD and APGD of four libraries on the same network and images; differences are "
        "hardball's accuracy minus the other's, standard errors are paired",
        "command": f"python results/cross_check.py runs/{run.name} --eps {eps:g} --n {n}",
        "run": run.name,
        "eps": eps,
        "n": n,
        "machine": facts(),
        **compare(run, eps, n),
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("run", type=Path)
    made.add_argument("--eps", type=float, required=True)
    made.add_argument("--n", type=int, default=500)
    made.add_argument("--out", type=Path)
    arguments = made.parse_args()
    found = cross_check(arguments.run, arguments.eps, arguments.n)
    if arguments.out:
        write(found, arguments.out)
    else:
        print(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
