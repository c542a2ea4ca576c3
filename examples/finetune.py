"""Robust fine-tuning of a torchvision model on a folder of images.

    python examples/finetune.py pictures --model resnet18 --weights DEFAULT --eps 4/255 --out runs/tuned

`pictures` has train/CLASS/ and test/CLASS/ (resize_folder.py makes them). --weights DEFAULT takes
torchvision's pretrained weights, which are downloaded once; without it the network starts from random
ones, and nothing is downloaded.
"""

import argparse
from fractions import Fraction
from pathlib import Path

import torchvision
from torch import nn

import hardball as hb

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet: what the pretrained weights expect."""


def network(name: str, classes: int, weights: str | None = None) -> nn.Module:
    """Pixels in [0, 1] → logits: normalisation, then torchvision's network with a last layer of ours."""
    body = torchvision.models.get_model(name, weights=weights)
    last_name, last = [
        (path, module) for path, module in body.named_modules() if isinstance(module, nn.Linear)
    ][-1]
    parent, _, attribute = last_name.rpartition(".")
    setattr(body.get_submodule(parent), attribute, nn.Linear(last.in_features, classes))
    return nn.Sequential(hb.Normalize(MEAN, STD), body)


def finetune(
    folder: Path,
    *,
    name: str = "resnet18",
    weights: str | None = None,
    eps: float = 4 / 255,
    epochs: int = 10,
    batch_size: int = 64,
    out: Path | None = None,
) -> hb.Run:
    """Train along a ramp from 0 to ε, which takes four of five epochs."""
    train = hb.load_dataset("folder", folder)
    ramp = max(1, 4 * epochs // 5)
    return hb.fit(
        network(name, train.classes, weights),
        train,
        curriculum=hb.Iterative(
            eps, ramp_epochs=ramp, hold=epochs - ramp, per="step", may_stop=False
        ),
        attack=hb.PGD(steps=5),
        settings=hb.Settings(
            batch_size=batch_size,
            optimizer=hb.Optimizer(name="sgd", lr=0.01, weight_decay=5e-4, schedule="cosine"),
        ),
        out=out,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="resnet18", help="a name of torchvision.models")
    parser.add_argument("--weights", help="DEFAULT for pretrained ones")
    parser.add_argument("--eps", type=Fraction, default=Fraction(4, 255))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    weights = None if given.weights in (None, "None") else given.weights
    eps = float(given.eps)
    run = finetune(
        given.folder, name=given.model, weights=weights, eps=eps, epochs=given.epochs, out=given.out
    )
    print(run.outcome.message)
    test = hb.load_dataset("folder", given.folder, "test")
    found = hb.evaluate(run.model, test, eps=[eps / 2, eps], attacks=hb.protocols.strong)
    print(f"clean: {found.clean}")
    for radius, left in found.worst.items():
        print(f"ε={radius:.4f}: {left} (n={left.n})")


if __name__ == "__main__":
    main()
