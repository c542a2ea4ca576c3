"""What makes an evaluation doubtful before any attack: warnings, each beginning with its name.

None of them stops it, and none of the examples is left out: n stays what was asked for.

Shapes: n examples, K classes; logits [n, K].
"""

import torch
from torch import Tensor

from hardball.attacks import Classifier, autoattack_flags
from hardball.data import Dataset
from hardball.errors import CannotRun
from hardball.evaluation.forward import half_precision, logits_of
from hardball.losses import correct

ENOUGH = 100
"""A network that gets so many images right without an error is too good to be measured on them."""

UNLIKELY = 0.01
"""Classes are missed if balanced labels would leave so few of them with at most this probability."""

SAME = 1e-3
"""Logits of two passes differ if by more than this, relative to the largest: no rounding does that."""


class Doubt(UserWarning):
    """A reason not to take an evaluation at its word."""


def doubts(model: Classifier, data: Dataset, logits: Tensor, batch_size: int) -> list[str]:
    """The warnings for a model, in evaluation mode, whose clean logits are `logits`."""
    labels = data.labels.cpu()
    right = int(correct(logits, labels).sum())
    found = [
        _nothing_to_attack(right, len(data)),
        _labels_that_are_predictions(right, len(data)),
        _absent_classes(labels, data.classes),
        _nan(logits),
        _stochastic(model, data, logits, batch_size),
        _half(model),
    ]
    return [line for line in found if line is not None]


def of_autoattack(model: Classifier, data: Dataset) -> list[str]:
    """AutoAttack's own warnings about a model, in evaluation mode, from its first images."""
    some = data.rows(slice(0, ENOUGH))
    try:
        flags = autoattack_flags(model, some.images, some.labels)
    except (CannotRun, RuntimeError):
        # no package, no gradient or an error of the model's: the attack itself says so, or needs it not
        return []
    return [f"AutoAttack flag: {name}: {meaning}" for name, meaning in flags.items()]


def _nothing_to_attack(right: int, n: int) -> str | None:
    if right:
        return None
    return (
        f"nothing to attack: the model gets all {n} images wrong already; check that weights, data "
        "and the order of the classes belong together"
    )


def _labels_that_are_predictions(right: int, n: int) -> str | None:
    if right < n or n < ENOUGH:
        return None
    return (
        f"labels like predictions: the model agrees with all {n} labels; if they were made by this "
        "model the accuracies mean nothing: use the true labels, and images it was not trained on"
    )


def _absent_classes(labels: Tensor, classes: int) -> str | None:
    absent = sorted(set(range(classes)) - set(labels.tolist()))
    present = classes - len(absent)
    if not absent or chance_of_at_most(present, len(labels), classes) > UNLIKELY:
        return None
    named = ", ".join(str(label) for label in absent[:10]) + ", …" * (len(absent) > 10)
    return (
        f"absent classes: no image of class {named} among {len(labels)}; the accuracies say nothing "
        "about them: if the data is sorted by class take all of it"
    )


def chance_of_at_most(present: int, n: int, classes: int) -> float:
    """P(at most `present` of K classes occur among n labels drawn evenly), by the recurrence over
    the labels: a label is of a class seen before, or of a new one."""
    seen = torch.arange(classes + 1, dtype=torch.float64) / classes
    chances = torch.zeros(classes + 1, dtype=torch.float64)
    chances[0] = 1
    for _ in range(n):
        new = chances * (1 - seen)
        chances = chances * seen
        chances[1:] += new[:-1]
    return float(chances[: present + 1].sum())


def _nan(logits: Tensor) -> str | None:
    count = int(logits.isnan().any(dim=1).sum())
    if not count:
        return None
    return (
        f"NaN outputs: the model's outputs are no numbers for {count} of {len(logits)} images; they "
        "count as errors"
    )


def _stochastic(model: Classifier, data: Dataset, logits: Tensor, batch_size: int) -> str | None:
    some = data.images[:batch_size]
    first, again = logits[: len(some)], logits_of(model, data, some, batch_size)
    scale = float(first.nan_to_num(0, 0, 0).abs().max())
    if torch.allclose(first, again, rtol=SAME, atol=SAME * scale, equal_nan=True):
        return None
    return (
        "stochastic model: two passes over the same images differ, in evaluation mode; attacks and "
        "accuracies depend on luck: fix its randomness (dropout by F.dropout needs "
        "training=self.training)"
    )


def _half(model: Classifier) -> str | None:
    dtype = half_precision(model)
    if dtype is None:
        return None
    return (
        f"half precision: the model computes in {str(dtype).removeprefix('torch.')}, where small "
        "gradients become 0 and attacks look weaker than they are; evaluate model.float() as well"
    )
