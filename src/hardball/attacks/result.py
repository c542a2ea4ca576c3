"""What an attack returns, and the promise to leave everything else as it was.

Shapes: B examples; images [B, ...]; every per-example quantity [B].
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

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


@contextmanager
def untouched(model: Classifier, *, random_state: bool = True) -> Iterator[None]:
    """Within this block the model may be called in any mode; afterwards its buffers (batch-norm
    statistics and the like) and, with `random_state`, the global random states (torch's, numpy's and
    Python's own) are as before.

    Parameters, `.grad`, `requires_grad` and train/eval modes need no restoring: the attacks take
    gradients of their input only and switch nothing.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    saved = [
        (module, name, buffer, buffer.clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    # the legacy state: no Generator can be passed to what draws from it
    numbers = (random.getstate(), np.random.get_state()) if random_state else None  # noqa: NPY002
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if started else ()
    try:
        with torch.random.fork_rng(devices=devices, enabled=random_state):
            yield
    finally:
        if numbers is not None:
            random.setstate(numbers[0])
            np.random.set_state(numbers[1])  # noqa: NPY002
        with torch.no_grad():
            for module, name, buffer, value in saved:
                buffer.copy_(value)
                module._buffers[name] = buffer
