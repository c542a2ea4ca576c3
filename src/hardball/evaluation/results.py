"""What an evaluation found: accuracies, what each attack did, and what broke each example.

Shapes: N examples; images [N, C, H, W], labels [N].
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hardball import environment, extras
from hardball.attacks import Attack
from hardball.errors import Contradiction
from hardball.evaluation.first import FirstAnswers

SCHEMA = 3
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
    """Examples that were still classified correctly."""
    broken: int
    """Examples broken by this attack, each confirmed by a fresh forward pass."""
    unconfirmed: int
    """Reported as fooled by the attack, but not confirmed by the fresh pass: the model is not
    deterministic, or the attack is wrong. They count as classified correctly."""
    forwards: int
    backwards: int
    seconds: float
    """Of work: those of an interrupted call before this one included, added over processes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Proof:
    """What a certificate proved at one ε: a lower bound on the robust accuracy."""

    eps: float
    certificate: str
    certified: Tensor
    """bool [N]: no image of ball and box is misclassified."""
    margins: Tensor | None = None
    """float64 [N]: lower bounds on min over j ≠ y of z_y − z_j, if the certificate has such."""

    @property
    def accuracy(self) -> Accuracy:
        return Accuracy(right=int(self.certified.sum()), n=len(self.certified))

    def as_json(self) -> dict[str, Any]:
        return {"eps": self.eps, "certificate": self.certificate, **self.accuracy.as_json()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What `evaluate` measured: upper bounds by attacks and, where asked for, lower bounds by
    certificates.

    Raises:
        Contradiction: an example is certified at an ε and broken at that ε or a smaller one.

    Example:
        >>> found = hb.evaluate(model, test, eps=[0.1, 0.2], attacks={"pgd": hb.PGD(steps=5)})
        >>> found.worst[0.1].value >= found.worst[0.2].value
        True
        >>> found.clean.n
        20
    """

    data: str
    norm: str
    seed: int
    radii: tuple[float, ...]
    """The ε measured at, ascending."""
    scores: list[Score]
    attacks: Mapping[str, Attack]
    broken_at: Tensor
    """float64 [N]: smallest ε tested at which the example was broken; 0 if it is misclassified without
    attack, ∞ if nothing broke it."""
    broken_by: tuple[str, ...]
    """[N]: the attack that broke it; "none" if it is misclassified without attack, "" if nothing did."""
    witnesses: Tensor
    """[N, C, H, W]: the image that broke the example, else the example itself."""
    doubts: tuple[str, ...]
    """Warnings: reasons to distrust it (see `hardball.evaluation.sanity`)."""
    seconds: float
    """Of work, as in `Score`, with the passes over the clean images."""
    proofs: tuple[Proof, ...] = ()
    """What certificates proved, ε ascending."""
    certificates: Mapping[str, Any] = field(default_factory=dict)
    """name → description of each certificate."""
    machine: Mapping[str, Any] = field(default_factory=environment.facts)
    """What it ran on."""
    first: FirstAnswers | str | None = field(default=None, repr=False)
    """What a copy of the model answered before the model's first pass, or why it could not; not kept on
    disk."""

    def __post_init__(self) -> None:
        for proof in self.proofs:
            both = (proof.certified & (self.broken_at <= proof.eps)).nonzero().flatten().tolist()
            if both:
                by = sorted({self.broken_by[row] for row in both})
                raise Contradiction(
                    f"{_few(both)}: certified by {proof.certificate} at eps={proof.eps:g}, and broken "
                    f"at that ε or a smaller one by {', '.join(by)} (none: misclassified without "
                    "attack); the certificate is unsound, or does not allow for rounding: do not "
                    "report it before it is mended"
                )

    @property
    def clean(self) -> Accuracy:
        """Accuracy without any attack."""
        return self._left_above(0.0)

    @property
    def worst(self) -> dict[float, Accuracy]:
        """ε → accuracy under the pointwise worst of everything that was tried."""
        return {eps: self._left_above(eps) for eps in self.radii}

    @property
    def certified(self) -> dict[float, Accuracy]:
        """ε → accuracy that is proved, by all certificates together; empty if there were none."""
        return {
            eps: Accuracy(right=int(rows.sum()), n=len(rows))
            for eps in self.radii
            if (rows := self.certified_at(eps)) is not None
        }

    def certified_at(self, eps: float) -> Tensor | None:
        """bool [N]: the examples that a certificate proved at ε; None if none was asked."""
        rows = [proof.certified for proof in self.proofs if proof.eps == eps]
        return torch.stack(rows).any(dim=0) if rows else None

    def _left_above(self, eps: float) -> Accuracy:
        return Accuracy(right=int((self.broken_at > eps).sum()), n=len(self.broken_at))

    def lowered(
        self, rows: Tensor, examples: Tensor, eps: Sequence[float] | Tensor, attack: str
    ) -> "Evaluation":
        """This evaluation with further broken examples, found by other means.

        The caller vouches for them (in ball and box, misclassified). Each counts from the smallest
        measured ε that is no less than its own; one beyond the largest ε counts for nothing, and an
        example that was broken at the same or a smaller ε before keeps the witness it has.

        Args:
            rows: int64 [R], which examples.
            examples: [R, C, H, W], what breaks them.
            eps: [R], the radius at which they do.
            attack: what found them.

        Raises:
            Contradiction: one of them is certified.
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

    def to_frame(self) -> Any:
        """The scores as a pandas.DataFrame, a row for each ε and attack in the order they ran.

        Columns: eps, attack, n, attacked, broken, accuracy (left after this attack and all before it),
        low and high (its 95% interval); with certificates also certified, the accuracy that is proved at
        that ε. The first row is the clean accuracy: ε 0, attack "none".

        Raises:
            MissingExtra: pandas is not installed.
        """
        clean = {"eps": 0.0, "attack": CLEAN, "attacked": 0, "broken": 0, "after": self.clean}
        rows = [clean, *({name: getattr(score, name) for name in clean} for score in self.scores)]
        proved = self.certified
        for row in rows:
            left = row.pop("after").as_json()
            row |= {name: left[name] for name in ("n", "accuracy", "low", "high")}
            if proved:
                found = proved.get(row["eps"])
                row["certified"] = math.nan if found is None else found.value
        order = ("eps", "attack", "n", "attacked", "broken", "accuracy", "low", "high")
        return extras.frame(rows, [*order, *(["certified"] if proved else [])])

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
            "certified": [proof.as_json() for proof in self.proofs],
            "scores": [
                {k: v for k, v in asdict(s).items() if k != "after"} | {"after": s.after.as_json()}
                for s in self.scores
            ],
            "warnings": list(self.doubts),
            "attacks": {name: attack.description() for name, attack in self.attacks.items()},
            "certificates": dict(self.certificates),
            "seconds": self.seconds,
            "machine": dict(self.machine),
        }


def _few(rows: Sequence[int]) -> str:
    """Which examples, in a few words."""
    shown = ", ".join(map(str, rows[:10])) + ", …" * (len(rows) > 10)
    return f"{len(rows)} example{'s' * (len(rows) != 1)} ({shown})"
