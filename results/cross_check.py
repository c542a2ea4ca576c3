"""PGD and APGD of four libraries on one network and the same images, with the same settings.

    python results/cross_check.py runs/iat04 --eps 0.4 --n 500

Prints JSON. The libraries draw other random starts, so they need not agree on each image; `difference`
is hardball's accuracy minus the other's, with its standard error from the images on which the two
disagree (paired).
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foolbox
import numpy as np
import torch
import torchattacks
from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from hardball import PGD, LInf, load_dataset, load_run
from hardball.attacks import AutoAttackPart
from hardball.environment import facts
from hardball.losses import correct
from hardball.seeding import generators

STEPS = 100
BATCH = 250

Examples = Callable[[nn.Module, Tensor, Tensor, float], Tensor]


def hardball(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    return ours(model, images, labels, eps, keep="last")


def hardball_any_iterate(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    return ours(model, images, labels, eps, keep="worst")


def ours(model: nn.Module, images: Tensor, labels: Tensor, eps: float, *, keep: Any) -> Tensor:
    attack = PGD(steps=STEPS, step_size=2.5 * eps / STEPS, keep=keep)
    sources = generators(0, range(len(images)))
    return attack(model, images, labels, LInf(eps), generator=sources).examples


def with_foolbox(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    attack = foolbox.attacks.LinfPGD(rel_stepsize=2.5 / STEPS, steps=STEPS, random_start=True)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack(wrapped, images, labels, epsilons=eps)[1]


def with_torchattacks(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    attack = torchattacks.PGD(model, eps=eps, alpha=2.5 * eps / STEPS, steps=STEPS)
    return attack(images, labels).detach()


def with_art(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    attack = ProjectedGradientDescentPyTorch(
        art_classifier(model, images),
        eps=eps,
        eps_step=2.5 * eps / STEPS,
        max_iter=STEPS,
        num_random_init=1,
        batch_size=BATCH,
        verbose=False,
    )
    return torch.from_numpy(attack.generate(images.numpy(), y=labels.numpy()))


def apgd(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    attack = AutoAttackPart(name="apgd-ce", iterations=STEPS)
    sources = generators(0, range(len(images)))
    return attack(model, images, labels, LInf(eps), generator=sources).examples


def apgd_of_torchattacks(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    attack = torchattacks.APGD(model, norm="Linf", eps=eps, steps=STEPS, seed=0, loss="ce")
    return attack(images, labels).detach()


def apgd_of_art(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    attack = AutoProjectedGradientDescent(
        art_classifier(model, images),
        eps=eps,
        eps_step=2 * eps,  # the first step of APGD's paper
        max_iter=STEPS,
        nb_random_init=1,
        batch_size=BATCH,
        loss_type="cross_entropy",
        verbose=False,
    )
    return torch.from_numpy(attack.generate(images.numpy(), y=np.eye(10)[labels.numpy()]))


def art_classifier(model: nn.Module, images: Tensor) -> PyTorchClassifier:
    return PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


LIBRARIES: dict[str, dict[str, Examples]] = {
    "pgd": {
        "hardball": hardball,
        "foolbox": with_foolbox,
        "torchattacks": with_torchattacks,
        "art": with_art,
        "hardball, any iterate": hardball_any_iterate,
    },
    "apgd-ce": {
        "hardball (pyautoattack)": apgd,
        "torchattacks": apgd_of_torchattacks,
        "art": apgd_of_art,
    },
}
"""attack → library → its adversarial examples. The first of each attack is compared with the others."""

NOTES = {
    "pgd": f"{STEPS} signed steps of 2.5·ε/{STEPS}, one random start, judged by the last iterate as "
    "the others do; hardball's evaluation counts any misclassified iterate",
    "apgd-ce": f"{STEPS} iterations on the cross entropy, one random start, first step 2·ε",
}


def standing(make: Examples, run: Path, eps: float, n: int) -> tuple[Tensor, float]:
    """bool [n]: right on the examples made, each in ball and box; and the seconds it took.

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
            raise SystemExit(f"{make.__name__}: {int((~inside).sum())} examples outside the ball")
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
            right, seconds = standing(make, run, eps, n)
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--eps", type=float, required=True)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = cross_check(arguments.run, arguments.eps, arguments.n)
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    if arguments.out:
        arguments.out.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
