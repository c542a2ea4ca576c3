"""What the checks work on: a model, its images, and who has broken which of them so far.

Shapes: N examples, R of them attacked; images [N, C, H, W].
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from rich.progress import Progress
from torch import Tensor, nn

from hardball.attacks import (
    PGD,
    ARTAttack,
    Attack,
    AutoAttackPart,
    BruteForce,
    Classifier,
    Transfer,
)
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.evaluation import execution
from hardball.evaluation.checks.budget import Budget
from hardball.evaluation.execution import Unit
from hardball.evaluation.journal import Journal, Record
from hardball.evaluation.results import CLEAN, Accuracy, Evaluation
from hardball.fingerprint import model_sha256
from hardball.threats import ThreatModel


class NotApplicable(Exception):
    """A check has no object here; the message says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Origin:
    """Another network that checks compare with, and what to call it."""

    name: str
    model: Classifier | None
    reason: str = ""
    """Why there is no model."""

    def network(self) -> Classifier:
        """The model.

        Raises:
            UserError: there is none.
        """
        if self.model is None:
            raise UserError(self.reason)
        return self.model


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """What an attack did to the examples `rows`."""

    rows: Tensor
    """int64 [R]."""
    fallen: Tensor
    """bool [R], seen to be so in a pass of its own."""
    forwards: int
    backwards: int
    seconds: float


class Context:
    """The model, the images and the state of the examples, which checks only ever make worse.

    Args:
        claim: name of the attack, among the evaluation's, whose accuracy is claimed.
        evaluation: what is known; what checks break besides lowers it.
    """

    def __init__(
        self,
        model: Classifier,
        data: Dataset,
        threat: ThreatModel,
        evaluation: Evaluation,
        *,
        claim: str | None,
        budget: Budget,
        seed: int,
        batch_size: int = 128,
        journal: Journal | None = None,
        progress: Progress | None = None,
        source: Origin | None = None,
        base: Origin | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.model, self.data, self.threat, self.evaluation = model, data, threat, evaluation
        self.budget, self.seed, self.batch_size = budget, seed, batch_size
        self.journal, self.progress = journal or Journal(), progress or Progress(disable=True)
        self.source, self.base, self.origin = source, base, origin
        self.eps = float(threat.eps)
        self.right = evaluation.broken_at > 0
        """bool [N]: classified right as they are."""
        broken = evaluation.broken_at <= self.eps
        black = {name for name, attack in evaluation.attacks.items() if not climbs(attack)}
        seen = [name in black for name in evaluation.broken_by]
        self.climbed = broken & ~torch.tensor(seen)
        """bool [N]: broken by an attack that climbs a gradient, at this ε or below; or wrong anyway."""
        self.reference = self.climbed.clone()
        """The same by the evaluation alone: what checks compare themselves with."""
        self.blind = broken & torch.tensor(seen)
        """bool [N]: broken by a black box."""
        self._noted: list[Record] | None = None
        self.claim_name = claim
        self.claimed = ~self.right
        """bool [N]: broken by the claim's attack on its own; or wrong anyway."""
        if claim is not None:
            self.claimed = self._claimed(claim)

    def _claimed(self, name: str) -> Tensor:
        """The evaluation runs the claim's attack on what cheaper attacks left; here it gets the rest."""
        attack = self.evaluation.attacks[name]
        broken = ~self.right
        by = torch.tensor([who == name for who in self.evaluation.broken_by])
        broken |= by & (self.evaluation.broken_at == self.eps)
        done = broken | self.evaluation.broken_at.isinf()
        others = [i for i, who in enumerate(self.evaluation.broken_by) if who not in ("", CLEAN)]
        later = [i for i in others if not bool(done[i])]
        tried = self.attempt(name, attack, torch.tensor(later, dtype=torch.int64))
        broken[tried.rows[tried.fallen]] = True
        return broken

    @property
    def claim(self) -> PGD:
        """The attack whose accuracy is claimed.

        Raises:
            UserError: it could not run.
        """
        found = self.evaluation.attacks.get(self.claim_name or "")
        if not isinstance(found, PGD):
            raise UserError("there is no PGD to compare with: it could not run")
        return found

    def accuracy(self, broken: Tensor) -> Accuracy:
        return Accuracy(right=int((~broken).sum()), n=len(broken))

    @property
    def strongest_attack(self) -> str:
        """The one that took most of what is claimed; the claim's own, if none took any."""
        fallen = (~self.claimed & (self.evaluation.broken_at <= self.eps)).nonzero().squeeze(1)
        names = Counter(self.evaluation.broken_by[row] for row in fallen.tolist())
        return names.most_common(1)[0][0] if names else (self.claim_name or CLEAN)

    def is_this(self, other: Classifier) -> bool:
        """The other network has this one's weights."""
        both = [self.model, other]
        modules = [model for model in both if isinstance(model, nn.Module)]
        return other is self.model or (
            len(modules) == 2 and model_sha256(modules[0]) == model_sha256(modules[1])
        )

    # --- which images

    def first(self, count: int) -> Tensor:
        """int64: the first `count` examples (all, if there are fewer)."""
        return torch.arange(min(count, len(self.data)))

    def images_right(self, count: int) -> Tensor:
        """Of the first `count`, those classified right.

        Raises:
            NotApplicable: none is.
        """
        rows = self.first(count)
        rows = rows[self.right[rows]]
        if not len(rows):
            raise NotApplicable(f"none of the first {count} images is classified right")
        return rows

    def images_claimed(self, count: int) -> Tensor:
        """Of the first `count`, those that the claim's attack left standing."""
        rows = self.first(count)
        return rows[~self.claimed[rows]]

    def tensors(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(images, labels) on the model's device."""
        here = rows.to(self.data.images.device)
        return self.data.images[here], self.data.labels[here]

    # --- attacks

    def attempt(
        self, name: str, attack: Attack, rows: Tensor, threat: ThreatModel | None = None
    ) -> Tried:
        """Attack some examples. What the journal holds of it is not done again; what falls inside the
        ball is a witness."""
        threat = threat or self.threat
        eps = float(threat.eps)
        key = execution.key(name, attack, eps)
        wanted = torch.zeros(len(self.data), dtype=torch.bool)
        wanted[rows] = True
        parts, missing = execution.remaining(execution.recorded(self.journal, key), wanted)
        left = rows[missing[rows]]
        shown = self.progress.add_task(name, total=len(rows))
        self.progress.advance(shown, len(rows) - len(left))
        for piece in execution.split(left, attack, self.batch_size):
            unit = Unit(name=name, attack=attack, threat=threat, rows=piece, seed=self.seed)
            part = execution.attempt(self.model, self.data, unit, self.batch_size)
            self.journal.append(key, part.as_record())
            self.progress.advance(shown, len(piece))
            parts.append(part)
        self.progress.remove_task(shown)
        fallen = torch.zeros(len(self.data), dtype=torch.bool)
        for part in parts:
            fallen[part.rows[part.fallen]] = True
            if threat.norm == self.threat.norm:
                self.note(name, part.rows[part.fallen], part.examples, eps, climbs(attack))
        return Tried(
            rows=rows,
            fallen=fallen[rows],
            forwards=sum(part.forwards for part in parts),
            backwards=sum(part.backwards for part in parts),
            seconds=sum(part.seconds for part in parts),
        )

    @contextmanager
    def noting(self) -> Iterator[list[Record]]:
        """What is noted meanwhile, as arguments of `note`."""
        self._noted = []
        try:
            yield self._noted
        finally:
            self._noted = None

    def note(
        self, name: str, rows: Tensor, examples: Tensor, eps: float | Tensor, climbing: bool
    ) -> None:
        """`examples` [R, ...] break `rows` [R] at radii `eps` (one, or [R]).

        The caller has seen that they do.
        """
        radii = torch.as_tensor(eps, dtype=torch.float64).expand(len(rows))
        inside = radii <= self.eps
        if self._noted is not None:
            self._noted.append(
                {
                    "name": name,
                    "rows": rows[inside],
                    "examples": examples[inside.to(examples.device)].cpu(),
                    "eps": radii[inside].clone(),
                    "climbing": climbing,
                }
            )
        (self.climbed if climbing else self.blind)[rows[inside]] = True
        self.evaluation = self.evaluation.lowered(
            rows[inside], examples[inside.to(examples.device)], radii[inside], name
        )


def climbs(attack: Attack) -> bool:
    """Does it climb a gradient of the model attacked? The others see the model's answers alone."""
    if isinstance(attack, AutoAttackPart):
        return attack.name != "square"
    return not isinstance(attack, BruteForce | ARTAttack | Transfer)
