"""The unit of an evaluation's work: one attack at one ε on some examples.

What a unit finds is a pure function of the model and the unit, so it may be done in any order, in
any process, and kept. Shapes: R examples in the unit, F of them fallen; images [R, C, H, W].
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from hardball.attacks import Attack, Classifier
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.evaluation.journal import Journal
from hardball.losses import correct
from hardball.seeding import generators
from hardball.threats import ThreatModel
from hardball.validation import logits_of_copy


@dataclass(frozen=True, kw_only=True, eq=False)
class Unit:
    """One attack at one ε on the examples `rows`."""

    name: str
    attack: Attack
    threat: ThreatModel
    rows: Tensor
    """int64 [R], on the CPU."""
    seed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What a unit found."""

    rows: Tensor
    """int64 [R]: the examples attacked."""
    fallen: Tensor
    """bool [R]: broken, and seen to be so by `attempt` itself."""
    examples: Tensor
    """[F, C, H, W], on the CPU: what broke them."""
    unconfirmed: Tensor
    """bool [R]: claimed by the attack, but not seen."""
    forwards: int
    backwards: int
    seconds: float

    def as_record(self) -> dict[str, Any]:
        return dict(vars(self))


def key(name: str, attack: Attack, eps: float) -> str:
    """The name under which a journal keeps an attack's parts."""
    return json.dumps({"attack": name, "eps": eps, "is": attack.description()}, sort_keys=True)


def recorded(journal: Journal, key: str) -> list[Part]:
    """What a journal holds of an attack. Of an example attacked twice the first attempt counts."""
    found: list[Part] = []
    seen: set[int] = set()
    for record in journal.records(key):
        part = Part(**record)
        rows = set(part.rows.tolist())
        if not rows & seen:
            found.append(part)
            seen |= rows
    return found


def remaining(parts: Sequence[Part], wanted: Tensor) -> tuple[list[Part], Tensor]:
    """The parts that attacked some of the examples `wanted` (bool [N]), and which of these, bool [N],
    none of them did."""
    used = [part for part in parts if bool(wanted[part.rows].any())]
    left = wanted.clone()
    for part in used:
        left[part.rows] = False
    return used, left


def split(rows: Tensor, attack: Attack, batch_size: int) -> list[Tensor]:
    """The rows of each unit.

    An attack whose random numbers depend on an example's companions says so by an attribute `chunk`:
    its units have exactly that many examples (the last may have fewer), whatever the batch size.
    """
    size = attack.chunk or batch_size
    return [part for part in torch.split(rows, size) if len(part)]


class InItsType(nn.Module):
    """A model of another floating type than the images: they are cast for it, gradients pass."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images.to(self.dtype))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


def accepting(model: Classifier, dtype: torch.dtype) -> Classifier:
    """The model, taking images of `dtype`."""
    if not isinstance(model, nn.Module):
        return model
    own = {p.dtype for p in model.parameters() if p.is_floating_point()}
    return model if not own or dtype in own else InItsType(model, own.pop())


def half_precision(model: Classifier) -> torch.dtype | None:
    """The half precision type of some of the model's parameters, if any."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    halves = (torch.float16, torch.bfloat16)
    return next((p.dtype for p in parameters if p.dtype in halves), None)


def logits_of(model: Classifier, data: Dataset, images: Tensor, batch_size: int) -> Tensor:
    """Logits [R, K] of `images`, on the CPU.

    Raises:
        UserError: the model has not as many outputs as the data has classes, or changes its images.
    """
    found = [torch.zeros(0, data.classes)]
    for batch in torch.split(images, batch_size):
        if not len(batch):
            continue
        with torch.no_grad():
            logits = logits_of_copy(model, batch)
        if logits.shape[1] != data.classes:
            raise UserError(
                f"the model has {logits.shape[1]} outputs for {data.classes} classes of "
                f"{data.name}; evaluate it on the data it was made for"
            )
        found.append(logits.cpu())
    return torch.cat(found[1:] or found)


def attempt(model: Classifier, data: Dataset, unit: Unit, batch_size: int) -> Part:
    """Run a unit. The random numbers of an example depend on (seed, attack, ε, its index).

    Nothing is believed: an example has fallen if what the attack returns for it lies in ball and box
    and is misclassified in a forward pass of its own.
    """
    started = time.monotonic()
    rows = unit.rows
    here = rows.to(data.images.device)
    images, labels = data.images[here], data.labels[here]
    place = (crc32(unit.name.encode()), _as_int(float(unit.threat.eps)))
    sources = generators(unit.seed, rows.tolist(), *place)
    result = unit.attack(model, images, labels, unit.threat, generator=sources)
    claimed = result.fooled.cpu()
    examples = result.examples.detach()[claimed.to(result.examples.device)]
    centres = images[claimed.to(images.device)]
    logits = logits_of(model, data, examples, batch_size)
    confirmed = ~correct(logits, labels.cpu()[claimed])
    confirmed &= unit.threat.allows(examples, centres).cpu()
    fallen = claimed.clone()
    fallen[claimed] = confirmed
    return Part(
        rows=rows,
        fallen=fallen,
        examples=examples.cpu()[confirmed],
        unconfirmed=claimed & ~fallen,
        forwards=result.forwards,
        backwards=result.backwards,
        seconds=time.monotonic() - started,
    )


def _as_int(eps: float) -> int:
    """ε as part of a seed."""
    return round(min(eps, 1e6) * 1e9)
