"""What an evaluation found: accuracies, what each attack did, and what broke each example.

Shapes: N examples; images [N, C, H, W], labels [N].
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hardball import environment
from hardball.attacks import Attack

SCHEMA = 2
"""Of evaluation.json: docs/evaluation.md describes it field by field."""

SLACK = 1e-6
"""Of a radius, as in `ThreatModel.allows`."""

CLEAN = "none"
"""The attack that broke an example which was wrong already."""


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """A share with its 95% Wilson interval."""

    right: int
    n: int

    @property
    def value(self) -> float:
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% score interval."""
        from scipy.stats import binomtest

        found = binomtest(self.right, self.n).proportion_ci(confidence_level=0.95, method="wilson")
        return float(found.low), float(found.high)

    def as_json(self) -> dict[str, Any]:
        low, high = self.interval
        return {"accuracy": self.value, "low": low, "high": high, "right": self.right, "n": self.n}

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.1%} [{low:.1%}, {high:.1%}]"


@dataclass(frozen=True, kw_only=True)
class Score:
    """One attack at one ε."""

    eps: float
    attack: str
    after: Accuracy
    """Accuracy left after this attack and all before it (those at smaller ε included)."""
    attacked: int
    """Examples that were still standing."""
    broken: int
    """Examples that fell to this attack, each re-checked by a fresh forward pass."""
    unconfirmed: int
    """Reported as fooled by the attack, but not by the fresh pass: the model is not deterministic, or
    the attack is wrong. They count as standing."""
    forwards: int
    backwards: int
    seconds: float
    """Of work: those of an interrupted call before this one included, added over processes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What `evaluate` measured."""

    data: str
    norm: str
    seed: int
    radii: tuple[float, ...]
    """The ε measured at, ascending."""
    scores: list[Score]
    attacks: Mapping[str, Attack]
    broken_at: Tensor
    """float64 [N]: smallest tested ε at which the example fell; 0 if wrong already, ∞ if standing."""
    broken_by: tuple[str, ...]
    """[N]: the attack it fell to; "none" if it was wrong already, "" if it stands."""
    witnesses: Tensor
    """[N, C, H, W]: the image that broke the example, else the example itself."""
    doubts: tuple[str, ...]
    """Warnings: reasons not to take it at its word (see `evaluation.doubts`)."""
    seconds: float
    """Of work, as in `Score`, with the passes over the clean images."""

    @property
    def clean(self) -> Accuracy:
        """Accuracy without any attack."""
        return self._standing_above(0.0)

    @property
    def worst(self) -> dict[float, Accuracy]:
        """ε → accuracy under the pointwise worst of everything that was tried."""
        return {eps: self._standing_above(eps) for eps in self.radii}

    def _standing_above(self, eps: float) -> Accuracy:
        return Accuracy(right=int((self.broken_at > eps).sum()), n=len(self.broken_at))

    def lowered(
        self, rows: Tensor, examples: Tensor, eps: Sequence[float] | Tensor, attack: str
    ) -> "Evaluation":
        """This evaluation with further broken examples, found by other means.

        The caller vouches for them (in ball and box, misclassified). Each counts from the smallest
        measured ε that is no less than its own; one beyond the largest ε counts for nothing, and an
        example that broke at the same or a smaller ε already keeps the witness it has.

        Args:
            rows: int64 [R], which examples.
            examples: [R, C, H, W], what breaks them.
            eps: [R], the radius at which they do.
            attack: what found them.
        """
        broken_at, witnesses = self.broken_at.clone(), self.witnesses.clone()
        broken_by = list(self.broken_by)
        own = torch.as_tensor(eps, dtype=torch.float64).tolist()
        for row, example, least in zip(rows.tolist(), examples, own, strict=True):
            # a radius kept in float32 may lie above its own number
            reached = (r for r in self.radii if r * (1 + SLACK) + SLACK >= least)
            radius = min(reached, default=math.inf)
            if radius < broken_at[row]:
                broken_at[row], broken_by[row] = radius, attack
                witnesses[row] = example.to(witnesses)
        return replace(self, broken_at=broken_at, broken_by=tuple(broken_by), witnesses=witnesses)

    def as_json(self) -> dict[str, Any]:
        """The measurement's part of evaluation.json."""
        return {
            "schema": SCHEMA,
            "data": self.data,
            "norm": self.norm,
            "n": self.clean.n,
            "seed": self.seed,
            "clean": self.clean.as_json(),
            "robust": [{"eps": eps, **a.as_json()} for eps, a in self.worst.items()],
            "scores": [
                {k: v for k, v in asdict(s).items() if k != "after"} | {"after": s.after.as_json()}
                for s in self.scores
            ],
            "warnings": list(self.doubts),
            "attacks": {name: attack.description() for name, attack in self.attacks.items()},
            "seconds": self.seconds,
            "machine": environment.facts(self.witnesses.device),
        }
