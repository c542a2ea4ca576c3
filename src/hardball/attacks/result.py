"""What an attack returns, and what it is called with.

Shapes: B examples; images [B, ...]; every per-example quantity [B].
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from hardball.threats import Generator, ThreatModel

Classifier = Callable[[Tensor], Tensor]
"""Anything that maps images [B, ...] to logits [B, K]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackResult:
    """Adversarial examples and what they cost."""

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


class Attack(Protocol):
    """What `evaluate` runs: see `PGD` for the meaning of the arguments."""

    def __call__(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        *,
        generator: Generator = None,
    ) -> AttackResult: ...

    @property
    def cost(self) -> int:
        """Sample-steps per example if nothing falls early: what "cheapest first" sorts by."""
        ...


def take(generator: Generator, rows: Tensor) -> Generator:
    """The generators of some examples, where there is one for each."""
    if generator is None or isinstance(generator, torch.Generator):
        return generator
    return [generator[i] for i in rows.tolist()]
