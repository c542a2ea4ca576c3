"""Which attacks can run on a model at all: asked before hours are spent."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch

from hardball.attacks import Attack, Classifier
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.evaluation.execution import accepting, logits_of
from hardball.isolation import evaluating
from hardball.losses import correct
from hardball.threats import ThreatModel

EFFORT = ("steps", "restarts", "iterations", "targets", "queries", "samples")
"""Fields of attacks that can be 1."""


def usable(
    attacks: Mapping[str, Attack], model: Classifier, data: Dataset, threat: ThreatModel
) -> tuple[dict[str, Attack], list[tuple[str, str]]]:
    """The attacks that run, and (name, reason) of those that do not: a missing package, a model without
    gradients, a norm that an attack does not know.

    Each is tried on one image, the first classified right, with the least effort; where there is none,
    on no image.

    Raises:
        UserError: the reason, if none runs.
    """
    can: dict[str, Attack] = {}
    cannot: list[tuple[str, str]] = []
    asked = accepting(model, data.images.dtype)
    with evaluating(model):
        few = data.rows(slice(0, 256))
        right = correct(logits_of(asked, few, few.images, 256), few.labels.cpu())
        row = right.nonzero().flatten()[:1].to(few.images.device)
        images, labels = few.images[row], few.labels[row]
        for name, attack in attacks.items():
            try:
                hurried(attack)(asked, images, labels, threat, generator=torch.Generator())
            except UserError as error:
                cannot.append((name, str(error)))
            else:
                can[name] = attack
    if not can:
        raise UserError(cannot[0][1])
    return can, cannot


def hurried(attack: Any) -> Any:
    """The same attack with one step, one restart, one query, inner attacks included. One that is no
    dataclass comes back as it is."""
    if not is_dataclass(attack) or isinstance(attack, type):
        return attack
    changes: dict[str, Any] = {}
    for field in fields(attack):
        value = getattr(attack, field.name)
        if field.name in EFFORT and value is not None:
            changes[field.name] = 1
        elif field.name == "attack":
            changes[field.name] = hurried(value)
    return replace(attack, **changes)
