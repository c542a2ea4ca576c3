"""The smallest piece of an evaluation's work: one attack at one ε on a few examples.

What a task finds is a pure function of the model and the task, so tasks may be done in any order, in
any process, and their results kept. Shapes: R examples in the task, F of them broken; images
[R, C, H, W].
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import torch
from torch import Tensor

from hardball.attacks import Attack, AttackResult, Classifier
from hardball.data import Dataset
from hardball.evaluation.forward import logits_of
from hardball.losses import correct
from hardball.seeding import generators
from hardball.threats import ThreatModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One attack at one ε on the examples `rows`."""

    name: str
    attack: Attack
    threat: ThreatModel
    rows: Tensor
    """int64 [R], on the CPU."""
    seed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskResult:
    """What a task found."""

    rows: Tensor
    """int64 [R]: the examples attacked."""
    broken: Tensor
    """bool [R]: misclassified, confirmed by a forward pass of its own."""
    examples: Tensor
    """[F, C, H, W], on the CPU: what broke them."""
    unconfirmed: Tensor
    """bool [R]: reported by the attack, but not confirmed."""
    forwards: int
    backwards: int
    seconds: float

    def as_record(self) -> dict[str, Any]:
        return dict(vars(self))

    @property
    def broken_rows(self) -> Tensor:
        """int64 [F]: the examples that `examples` belong to."""
        return self.rows[self.broken]


def search(model: Classifier, data: Dataset, task: Task) -> AttackResult:
    """What the task's attack returns, unconfirmed. The random numbers of an example depend on (seed,
    attack, ε, its index)."""
    here = task.rows.to(data.images.device)
    place = (crc32(task.name.encode()), _as_int(float(task.threat.eps)))
    sources = generators(task.seed, task.rows.tolist(), *place)
    return task.attack(model, data.images[here], data.labels[here], task.threat, generator=sources)


def attempt(model: Classifier, data: Dataset, task: Task, batch_size: int) -> TaskResult:
    """Do a task.

    The attack's own report is not believed: an example is broken if what the attack returns for it
    lies in ball and box and is misclassified in a forward pass of its own.
    """
    started = time.monotonic()
    rows = task.rows
    result = search(model, data, task)
    claimed = result.fooled.cpu()
    examples = result.examples.detach()[claimed.to(result.examples.device)]
    confirmed = confirms(model, data, rows[claimed], examples, task.threat, batch_size)
    broken = claimed.clone()
    broken[claimed] = confirmed
    return TaskResult(
        rows=rows,
        broken=broken,
        examples=examples.cpu()[confirmed],
        unconfirmed=claimed & ~broken,
        forwards=result.forwards,
        backwards=result.backwards,
        seconds=time.monotonic() - started,
    )


def confirms(
    model: Classifier,
    data: Dataset,
    rows: Tensor,
    examples: Tensor,
    threat: ThreatModel,
    batch_size: int,
) -> Tensor:
    """bool [F]: each of `examples` [F, C, H, W] lies in ball and box around the image of its row, and
    a forward pass takes it for another class."""
    here = rows.to(data.images.device)
    logits = logits_of(model, data, examples, batch_size)
    wrong = ~correct(logits, data.labels[here].cpu())
    return wrong & threat.allows(examples, data.images[here]).cpu()


def is_result(record: Mapping[str, Any], data: Dataset) -> bool:
    """A journal's record has the fields of a `TaskResult` on `data`, with tensors that fit together."""
    if record.keys() != TaskResult.__annotations__.keys():
        return False
    rows, broken, examples, unconfirmed = (
        record[name] for name in ("rows", "broken", "examples", "unconfirmed")
    )
    if not all(isinstance(one, Tensor) for one in (rows, broken, examples, unconfirmed)):
        return False
    if rows.ndim != 1 or rows.dtype != torch.int64 or len(rows.unique()) != len(rows):
        return False
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(data):
        return False
    if any(one.dtype != torch.bool or one.shape != rows.shape for one in (broken, unconfirmed)):
        return False
    return (
        examples.is_floating_point()
        and examples.shape == (int(broken.sum()), *data.shape)
        and all(isinstance(record[name], int) for name in ("forwards", "backwards"))
        and isinstance(record["seconds"], float)
    )


def _as_int(eps: float) -> int:
    """ε as part of a seed."""
    return round(min(eps, 1e6) * 1e9)
