"""What the checks work on: a model, its images, and who has broken which of them so far.

Shapes: N examples, R of them attacked; images [N, C, H, W].
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hardball.attacks import PGD, Attack, Classifier
from hardball.errors import CannotRun
from hardball.evaluation.checks.budget import Budget
from hardball.evaluation.execution import Execution
from hardball.evaluation.journal import Record
from hardball.evaluation.preflight import FAILURES, reason_of
from hardball.evaluation.results import CLEAN, Accuracy, Evaluation
from hardball.fingerprint import model_sha256
from hardball.seeding import derive
from hardball.threats import ThreatModel

DRAW = 6
"""Place, beside the seed, of the images that are drawn."""


class NotApplicable(Exception):
    """A check has no object here; the message says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Origin:
    """Another network that checks compare with, and what to call it.

    Example:
        >>> hb.Origin.of(model).name
        'ConvNet'
    """

    name: str
    model: Classifier | None
    reason: str = ""
    """Why there is no model."""

    def network(self) -> Classifier:
        """The model.

        Raises:
            CannotRun: there is none.
        """
        if self.model is None:
            raise CannotRun(self.reason)
        return self.model

    @classmethod
    def of(cls, other: "Origin | Classifier | None") -> "Origin | None":
        """A plain model under the name of its class; an origin, or nothing, as it is."""
        if other is None or isinstance(other, Origin):
            return other
        return cls(name=getattr(other, "__qualname__", type(other).__qualname__), model=other)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """What an attack did to the examples `rows`."""

    rows: Tensor
    """int64 [R]."""
    broken: Tensor
    """bool [R], confirmed by a forward pass of its own."""
    forwards: int
    backwards: int
    seconds: float


class Context:
    """The model, the images and the state of the examples, which checks only ever make worse.

    Args:
        execution: runs attacks on the model and the images.
        threat: norm and ε.
        evaluation: what is known; what checks break besides lowers it.
        claim: name of the attack, among the evaluation's, whose accuracy is claimed.
        budget: how much each check spends.
        source, base, origin: other networks to compare with.
        fresh: builds the model anew, without anything it has seen.
    """

    def __init__(
        self,
        execution: Execution,
        threat: ThreatModel,
        evaluation: Evaluation,
        *,
        claim: str | None,
        budget: Budget,
        source: Origin | None = None,
        base: Origin | None = None,
        origin: Origin | None = None,
        fresh: Callable[[], Classifier] | None = None,
    ) -> None:
        self.execution, self.threat, self.evaluation = execution, threat, evaluation
        self.model, self.data, self.seed = execution.model, execution.data, execution.seed
        self.batch_size, self.journal = execution.batch_size, execution.journal
        self.budget = budget
        self.source, self.base, self.origin, self.fresh = source, base, origin, fresh
        self.eps = float(threat.eps)
        self.right = evaluation.broken_at > 0
        """bool [N]: classified right as they are."""
        broken = evaluation.broken_at <= self.eps
        black = {name for name, attack in evaluation.attacks.items() if not attack.uses_gradients}
        seen = [name in black for name in evaluation.broken_by]
        self.climbed = broken & ~torch.tensor(seen)
        """bool [N]: broken by an attack that uses gradients, at this ε or below; or wrong anyway."""
        self.reference = self.climbed.clone()
        """The same by the evaluation alone: what checks compare themselves with."""
        self.blind = broken & torch.tensor(seen)
        """bool [N]: broken by a black box."""
        self.remaining = ~broken
        """bool [N]: classified correctly after the evaluation: what the figure consists of."""
        self.unconfirmed = torch.zeros(len(self.data), dtype=torch.bool)
        """bool [N]: an attack of a check reported a find that its own forward pass did not confirm."""
        draws = torch.Generator().manual_seed(derive(self.seed, DRAW))
        self._order = torch.randperm(len(self.data), generator=draws)
        self._noted: list[Record] | None = None
        self.claim_name = claim
        self.claimed = ~self.right
        """bool [N]: broken by the claim's attack on its own; or wrong anyway."""
        self.claim_failure = ""
        """Why there is no claim, if its attack could not run."""
        if claim is not None:
            try:
                self.claimed = self._claimed(claim)
            except FAILURES as error:
                self.claim_name, self.claim_failure = None, reason_of(error)

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
        broken[tried.rows[tried.broken]] = True
        return broken

    @property
    def claim(self) -> PGD:
        """The attack whose accuracy is claimed.

        Raises:
            CannotRun: it could not run.
        """
        found = self.evaluation.attacks.get(self.claim_name or "")
        if not isinstance(found, PGD):
            raise CannotRun("there is no PGD to compare with: it could not run")
        return found

    def accuracy(self, broken: Tensor) -> Accuracy:
        return Accuracy(right=int((~broken).sum()), n=len(broken))

    @property
    def strongest_attack(self) -> str:
        """The one that took most of what is claimed; the claim's own, if none took any."""
        lost = (~self.claimed & (self.evaluation.broken_at <= self.eps)).nonzero().squeeze(1)
        names = Counter(self.evaluation.broken_by[row] for row in lost.tolist())
        return names.most_common(1)[0][0] if names else (self.claim_name or CLEAN)

    def is_this(self, other: Classifier) -> bool:
        """The other network has this one's weights."""
        both = [self.model, other]
        modules = [model for model in both if isinstance(model, nn.Module)]
        return other is self.model or (
            len(modules) == 2 and model_sha256(modules[0]) == model_sha256(modules[1])
        )

    # --- which images

    def drawn(self, count: int) -> Tensor:
        """int64: `count` examples by the seed (all, if there are fewer)."""
        return self._order[:count].sort().values

    def right_among(self, rows: Tensor) -> Tensor:
        """Of the examples `rows`, those classified right.

        Raises:
            NotApplicable: none is.
        """
        found = rows[self.right[rows]]
        if not len(found):
            raise NotApplicable(f"none of {len(rows)} images is classified right")
        return found

    def images_right(self, count: int | None = None) -> Tensor:
        """Up to `count` images (None: all) that are classified right: those that remain after the
        evaluation first, by the seed.

        Raises:
            NotApplicable: none is.
        """
        order = self._order
        remaining = self.remaining[order]
        preferred = torch.cat([order[remaining], order[~remaining & self.right[order]]])
        if not len(preferred):
            raise NotApplicable(f"none of the {len(self.data)} images is classified right")
        return preferred[:count].sort().values

    def finds(self, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Up to `count` images (None: all), by the seed, that are right and something has broken: int64
        rows, and what broke them."""
        broken = self.right & self.evaluation.broken_at.isfinite()
        rows = self._order[broken[self._order]][:count].sort().values
        witnesses = self.evaluation.witnesses
        return rows, witnesses[rows.to(witnesses.device)].to(self.data.images)

    def images_claimed(self, count: int) -> tuple[Tensor, int]:
        """Up to `count` images that the claim's attack did not break, and the number of images drawn by
        the seed until there were so many.

        Those that remain after the evaluation come first; where they are fewer than `count` all images
        are drawn, and those that other attacks broke fill up.
        """
        order = self._order
        places = self.remaining[order].nonzero().flatten()
        if len(places) >= count:
            return order[places[:count]].sort().values, int(places[count - 1]) + 1
        others = order[(~self.claimed & ~self.remaining)[order]]
        rows = torch.cat([order[places], others])[:count]
        return rows.sort().values, len(order)

    def tensors(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(images, labels) on the model's device."""
        here = rows.to(self.data.images.device)
        return self.data.images[here], self.data.labels[here]

    # --- attacks

    def attempt(
        self, name: str, attack: Attack, rows: Tensor, threat: ThreatModel | None = None
    ) -> Tried:
        """Attack some examples. What the journal holds of it is not done again; what is broken inside
        the ball is a witness."""
        threat = threat or self.threat
        results = self.execution.run(name, attack, threat, rows)
        broken = torch.zeros(len(self.data), dtype=torch.bool)
        for result in results:
            broken[result.broken_rows] = True
            self.unconfirmed[result.rows[result.unconfirmed]] = True
            if threat.norm == self.threat.norm:
                eps = float(threat.eps)
                self.note(name, result.broken_rows, result.examples, eps, attack.uses_gradients)
        return Tried(
            rows=rows,
            broken=broken[rows],
            forwards=sum(result.forwards for result in results),
            backwards=sum(result.backwards for result in results),
            seconds=sum(result.seconds for result in results),
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
        self, name: str, rows: Tensor, examples: Tensor, eps: float | Tensor, gradients: bool
    ) -> None:
        """`examples` [R, ...] break `rows` [R] at radii `eps` (one, or [R]), found with or without the
        model's gradients.

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
                    "gradients": gradients,
                }
            )
        (self.climbed if gradients else self.blind)[rows[inside]] = True
        self.evaluation = self.evaluation.lowered(
            rows[inside], examples[inside.to(examples.device)], radii[inside], name
        )
