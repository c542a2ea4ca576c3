"""Targeted attacks: towards one class, or towards every wrong class in turn."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hardball.attacks.base import Around
from hardball.attacks.pgd import PGD
from hardball.attacks.result import AttackResult, Classifier, take
from hardball.errors import UserError
from hardball.losses import LOSSES, correct
from hardball.threats import Generator, ThreatModel
from hardball.validation import validate_logits


@dataclass(frozen=True, kw_only=True)
class Targeted(Around):
    """Runs `attack` towards `target` and keeps per example the worst result.

    `target` is a class, or "all": every wrong class in turn, on the examples that still stand (up to
    K − 1 times the cost of one). `fooled` means "not the true class", as everywhere. An example whose
    label *is* the target cannot be attacked; it is returned as it came.

    Raises:
        UserError: a target that is no class of the model.

    Example:
        >>> attack = hb.Targeted(attack=hb.PGD(steps=5))
        >>> attack(model, test.images, test.labels, hb.LInf(0.1)).fooled.shape
        torch.Size([20])
    """

    attack: PGD
    target: int | Literal["all"] = "all"

    def __post_init__(self) -> None:
        if self.target != "all" and not isinstance(self.target, int):
            raise UserError(f"target {self.target!r}; allowed is the number of a class, or 'all'")

    @property
    def cost(self) -> int:
        # the number of classes is the model's; ten is assumed, for sorting only
        return self.attack.cost * (9 if self.target == "all" else 1)

    def run(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: Generator,
    ) -> AttackResult:
        if not len(images):
            return self.attack.run(model, images, labels, threat, generator)
        logits = validate_logits(model(images), len(images))
        classes = logits.shape[1]
        if self.target != "all" and not 0 <= self.target < classes:
            raise UserError(f"target {self.target}; allowed is 0 … {classes - 1}, or 'all'")
        result = AttackResult(
            examples=images.detach().clone(),
            loss=LOSSES[self.attack.loss](logits, labels).float(),
            fooled=~correct(logits, labels),
            forwards=len(images),
            backwards=0,
        )
        for turn in range(1, classes) if self.target == "all" else (0,):
            targets = (
                (labels + turn) % classes if turn else torch.full_like(labels, int(self.target))
            )
            rows = (~result.fooled & (targets != labels)).nonzero().squeeze(1)
            if len(rows):
                found = self.attack.run(
                    model,
                    images[rows],
                    labels[rows],
                    threat.rows(rows),
                    take(generator, rows),
                    targets=targets[rows],
                )
                result = result.worst(rows, found)
        return result
