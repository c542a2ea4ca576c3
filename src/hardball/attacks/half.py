"""Attacks that compute in half precision, and are judged in the model's own.

Shapes: B examples; images [B, ...]; logits [B, K].
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hardball.attacks.adapters import Guarded
from hardball.attacks.base import Around, Attack
from hardball.attacks.result import Classifier, take
from hardball.errors import unknown
from hardball.fronts import Front, front_of
from hardball.losses import correct
from hardball.threats import Generator, ThreatModel

SUFFIX = {"32-true": "", "bf16-mixed": "-bf16"}
"""Precision → what the names of attacks that compute in it end in."""


class InHalf(nn.Module):
    """A model whose convolutions and matrix products are computed in bfloat16 (autocast); images and
    logits keep the type they have."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            logits: Tensor = self.model(images)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def front_and_body(self) -> tuple[Front, nn.Module] | None:
        """Those of the model (see `front_of`); a front has no matrix products."""
        found = front_of(self.model)
        return None if found is None else (found[0], InHalf(found[1]))


@dataclass(frozen=True, kw_only=True)
class HalfPrecision(Around):
    """Runs `attack` on the model computed in bfloat16, which is faster on processors made for it. Every
    find is judged by the model as it is; where it does not confirm one, that example is attacked again
    without half precision.

    What counts as broken is broken, but an attack of many small steps can find clearly less than in
    float32: rounding hides the slope it follows (docs/evaluation.md has numbers).

    Example:
        >>> attack = hb.HalfPrecision(attack=hb.PGD(steps=5))
        >>> result = attack(model, test.images, test.labels, hb.LInf(0.2))
        >>> right = model(result.examples).argmax(1) == test.labels
        >>> bool((result.fooled == ~right).all())
        True
    """

    @property
    def uses_gradients(self) -> bool:
        return self.attack.uses_gradients

    def validate(self, images: Tensor, threat: ThreatModel) -> None:
        self.attack.validate(images, threat)

    def search(
        self,
        model: Guarded,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: Generator,
    ) -> Tensor:
        rough = self.attack(InHalf(model.model).eval(), images, labels, threat, generator=generator)
        model.forwards += rough.forwards
        model.backwards += rough.backwards
        examples = rough.examples
        rows = (rough.fooled & correct(model(examples), labels)).nonzero().squeeze(1)
        if len(rows):
            again = self.attack(
                model.model,
                images[rows],
                labels[rows],
                threat.rows(rows),
                generator=take(generator, rows),
            )
            model.forwards += again.forwards
            model.backwards += again.backwards
            examples[rows] = again.examples
        return examples


def check_precision(precision: str) -> None:
    """Raises:
    UserError: a precision that attacks cannot compute in.
    """
    if precision not in SUFFIX:
        raise unknown("precision", precision, SUFFIX)


def in_precision(attacks: Mapping[str, Attack], precision: str) -> dict[str, Attack]:
    """The attacks, computing in "32-true" (as they are) or "bf16-mixed", and named for it.

    Raises:
        UserError: another precision.
    """
    check_precision(precision)
    if precision == "32-true":
        return dict(attacks)
    return {f"{n}{SUFFIX[precision]}": HalfPrecision(attack=a) for n, a in attacks.items()}
