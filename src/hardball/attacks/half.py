"""Attacks that compute in half precision, and are judged in the model's own.

Shapes: B examples; images [B, ...]; logits [B, K].
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hardball.attacks.base import Attack
from hardball.attacks.result import AttackResult, Classifier, judged, take, unattacked
from hardball.errors import unknown
from hardball.fronts import Front, front_of
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
class HalfPrecision(Attack):
    """Runs `attack` on the model computed in bfloat16, which is several times as fast on processors made
    for it. Every find is judged by the model as it is; where it does not confirm one, that example is
    attacked again without half precision.

    What counts as broken is broken, but an attack of many small steps can find clearly less than in
    float32: rounding hides the slope it follows (docs/evaluation.md has numbers).

    Example:
        >>> attack = hb.HalfPrecision(attack=hb.PGD(steps=5))
        >>> result = attack(model, test.images, test.labels, hb.LInf(0.2))
        >>> right = model(result.examples).argmax(1) == test.labels
        >>> bool((result.fooled == ~right).all())
        True
    """

    attack: Attack
    """What runs."""

    @property
    def uses_gradients(self) -> bool:
        return self.attack.uses_gradients

    @property
    def cost(self) -> int:
        return self.attack.cost

    @property
    def chunk(self) -> int | None:
        return self.attack.chunk

    def cheapest(self) -> "HalfPrecision":
        return replace(self, attack=self.attack.cheapest())

    def validate(self, images: Tensor, threat: ThreatModel) -> None:
        self.attack.validate(images, threat)

    def run(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: Generator,
    ) -> AttackResult:
        result, _ = unattacked(model, images, labels)
        rows = (~result.fooled).nonzero().squeeze(1)
        if not len(rows):
            return result
        here, own = (images[rows], labels[rows], threat.rows(rows)), take(generator, rows)
        rough = self.attack.run(InHalf(model).eval(), *here, own)
        spent, climbed = rough.forwards, rough.backwards
        found = judged(model, *here, rough.examples, forwards=spent, backwards=climbed)
        claimed = (rough.fooled & ~found.fooled).nonzero().squeeze(1)
        if len(claimed):
            again = self.attack.run(
                model,
                images[rows[claimed]],
                labels[rows[claimed]],
                threat.rows(rows[claimed]),
                take(own, claimed),
            )
            found = found.worst(claimed, again)
        return result.worst(rows, found)


def in_precision(attacks: Mapping[str, Attack], precision: str) -> dict[str, Attack]:
    """The attacks, computing in "32-true" (as they are) or "bf16-mixed", and named for it.

    Raises:
        UserError: another precision.
    """
    if precision not in SUFFIX:
        raise unknown("precision", precision, SUFFIX)
    if precision == "32-true":
        return dict(attacks)
    return {f"{n}{SUFFIX[precision]}": HalfPrecision(attack=a) for n, a in attacks.items()}
