"""What an attack returns, and how its answers are judged.

Shapes: B examples; images [B, ...]; every per-example quantity [B].
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hardball.losses import correct, margin
from hardball.threats import Generator, ThreatModel
from hardball.validation import validate_logits

Classifier = Callable[[Tensor], Tensor]
"""Anything that maps images [B, ...] to logits [B, K]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackResult:
    """Adversarial examples and what they cost.

    Example:
        >>> result = hb.PGD(steps=5)(model, test.images, test.labels, hb.LInf(0.2))
        >>> right = model(result.examples).argmax(1) == test.labels
        >>> bool((result.fooled == ~right).all())
        True
    """

    examples: Tensor
    """[B, ...], inside ball and box."""
    loss: Tensor
    """[B], the attack's loss of the true label at `examples` (also for targeted attacks)."""
    fooled: Tensor
    """bool [B]: `examples` are misclassified (a tie or NaN counts as misclassified)."""
    forwards: int
    """Examples passed through the model."""
    backwards: int
    """Examples whose gradient was taken: the cost in sample-steps."""

    def worst(self, rows: Tensor, other: "AttackResult") -> "AttackResult":
        """Per example the worse of this result and `other`, which attacked only `rows`:
        a fooled one, else the one with the higher loss. Costs add up."""
        better = (other.fooled & ~self.fooled[rows]) | (
            (other.fooled == self.fooled[rows]) & (other.loss > self.loss[rows])
        )
        taken = rows[better]
        examples, loss, fooled = self.examples.clone(), self.loss.clone(), self.fooled.clone()
        examples[taken], loss[taken] = other.examples[better], other.loss[better]
        fooled[taken] = other.fooled[better]
        return replace(
            self,
            examples=examples,
            loss=loss,
            fooled=fooled,
            forwards=self.forwards + other.forwards,
            backwards=self.backwards + other.backwards,
        )


def take(generator: Generator, rows: Tensor) -> Generator:
    """The generators of some examples, where there is one for each."""
    if generator is None or isinstance(generator, torch.Generator):
        return generator
    return [generator[i] for i in rows.tolist()]


def unattacked(model: Classifier, images: Tensor, labels: Tensor) -> tuple[AttackResult, int]:
    """The images themselves as a result with the margin as its loss, and the number of classes K
    (0 for an empty batch, which the model is not asked about)."""
    if not len(images):
        nothing = images.new_zeros(0, dtype=torch.float32)
        result = AttackResult(
            examples=images.detach().clone(),
            loss=nothing,
            fooled=nothing.bool(),
            forwards=0,
            backwards=0,
        )
        return result, 0
    logits = validate_logits(model(images), len(images)).detach()
    result = AttackResult(
        examples=images.detach().clone(),
        loss=margin(logits, labels).float(),
        fooled=~correct(logits, labels),
        forwards=len(images),
        backwards=0,
    )
    return result, logits.shape[1]


def judged(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    candidates: Tensor,
    *,
    forwards: int = 0,
    backwards: int = 0,
) -> AttackResult:
    """What someone else proposes as adversarial examples, brought into ball and box first and then
    classified by a pass of its own: nothing that was claimed is believed. A proposal that is no number
    is replaced by the image.

    Args:
        forwards, backwards: what finding the candidates has cost.
    """
    known = candidates.isfinite().flatten(1).all(dim=1)
    proposed = torch.where(known.view(-1, *(1,) * (images.dim() - 1)), candidates, images)
    examples = threat.project(proposed.to(images), images).detach()
    result, _ = unattacked(model, examples, labels)
    return AttackResult(
        examples=result.examples,
        loss=result.loss,
        fooled=result.fooled,
        forwards=result.forwards + forwards,
        backwards=backwards,
    )
