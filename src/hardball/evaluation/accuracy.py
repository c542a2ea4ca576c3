"""Robust accuracy: the share of examples classified right under the pointwise worst of all attacks.

Shapes: N examples; images [N, C, H, W], labels [N].
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from zlib import crc32

import torch
from rich.progress import Progress
from torch import Tensor

from hardball import machine
from hardball.attacks import Attack, Classifier
from hardball.checks import check_logits
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.losses import correct
from hardball.modes import evaluating
from hardball.seeding import generators
from hardball.threats import ThreatModel

SCHEMA = 1


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What `evaluate` measured."""

    data: str
    norm: str
    seed: int
    clean: Accuracy
    scores: list[Score]
    attacks: Mapping[str, Attack]
    broken_at: Tensor
    """float [N]: smallest tested ε at which the example fell; 0 if wrong already, ∞ if standing."""
    witnesses: Tensor
    """[N, C, H, W]: the image that broke the example, else the example itself."""
    seconds: float

    @property
    def worst(self) -> dict[float, Accuracy]:
        """ε → accuracy under the pointwise worst of all attacks."""
        return {score.eps: score.after for score in self.scores}

    def as_json(self) -> dict[str, Any]:
        """The content of evaluation.json."""
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
            "attacks": {name: _described(attack) for name, attack in self.attacks.items()},
            "seconds": self.seconds,
            "machine": machine.facts(self.witnesses.device),
        }


def _described(attack: Attack) -> dict[str, Any]:
    inner = asdict(attack) if hasattr(attack, "__dataclass_fields__") else {}  # type: ignore[call-overload]
    return {"kind": type(attack).__name__, **inner}


def evaluate(
    model: Classifier,
    data: Dataset,
    threat: ThreatModel,
    *,
    attacks: Mapping[str, Attack],
    eps: Sequence[float] | None = None,
    seed: int = 0,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Evaluation:
    """Clean and robust accuracy at each ε.

    ε grow, and the cheapest attack goes first; each attacks only the examples that still stand, for
    what broke at a smaller ε is broken at a larger one. The random start of an example depends on
    (seed, attack, ε, its index) alone, so neither batch size nor the other examples change it. The
    model is evaluated in evaluation mode and left in the mode it was in.

    Args:
        model: images [B, C, H, W] in [0, 1] → logits [B, K].
        data: what to measure on, on the model's device: the test part.
        threat: the norm, and ε unless `eps` is given.
        attacks: name → attack (see `hardball.protocols`).
        eps: the radii to measure at.
        seed: of the random starts.
        batch_size: examples at a time; changes the speed, not the answer.
        progress: shows how far each attack has come.

    Raises:
        UserError: nothing to measure, no attack, a model that returns no logits [B, classes].
    """
    if not len(data) or not attacks:
        raise UserError(
            f"{len(data)} examples and {len(attacks)} attacks; give at least one of each"
        )
    count = torch.as_tensor(threat.eps).numel()
    if not eps and count != 1:
        raise UserError(f"{count} values of eps; allowed is one number: pass eps=[...] for several")
    started = time.monotonic()
    radii = sorted(set(eps)) if eps else [float(threat.eps)]
    threats = [threat.at(radius) for radius in radii]
    ordered = dict(sorted(attacks.items(), key=lambda item: item[1].cost))
    state = _State(model, data, batch_size, progress or Progress(disable=True))
    with evaluating(model):
        right = state.classify(data.images, torch.arange(len(data)))
        state.broken_at[~right] = 0.0
        clean = Accuracy(right=int(right.sum()), n=len(data))
        scores = [
            state.run(name, attack, radius, seed)
            for radius in threats
            for name, attack in ordered.items()
        ]
    return Evaluation(
        data=data.name,
        norm=threat.norm,
        seed=seed,
        clean=clean,
        scores=scores,
        attacks=ordered,
        broken_at=state.broken_at,
        witnesses=state.witnesses,
        seconds=time.monotonic() - started,
    )


class _State:
    """Which examples still stand, and what broke the others."""

    def __init__(
        self, model: Classifier, data: Dataset, batch_size: int, progress: Progress
    ) -> None:
        self.model, self.data, self.batch_size = model, data, batch_size
        self.progress = progress
        self.broken_at = torch.full((len(data),), torch.inf)
        self.witnesses = data.images.clone()

    def classify(self, images: Tensor, rows: Tensor) -> Tensor:
        """bool [R] on the CPU: `images`, which belong to examples `rows`, are classified right."""
        found = [torch.zeros(0, dtype=torch.bool)]
        for part in torch.split(torch.arange(len(rows)), self.batch_size):
            labels = self.data.labels[rows[part]]
            with torch.no_grad():
                logits = check_logits(self.model(images[part]), len(part))
            if logits.shape[1] != self.data.classes:
                raise UserError(
                    f"the model has {logits.shape[1]} outputs for {self.data.classes} classes of "
                    f"{self.data.name}; evaluate it on the data it was made for"
                )
            found.append(correct(logits, labels).cpu())
        return torch.cat(found)

    def run(self, name: str, attack: Attack, threat: ThreatModel, seed: int) -> Score:
        """One attack at one ε on everything that stands."""
        started = time.monotonic()
        standing = self.broken_at.isinf().nonzero().squeeze(1)
        broken = unconfirmed = forwards = backwards = 0
        eps = float(threat.eps)
        shown = self.progress.add_task(f"{name} at {threat}", total=len(standing))
        for rows in torch.split(standing, self.batch_size):
            images, labels = self.data.images[rows], self.data.labels[rows]
            sources = generators(seed, rows.tolist(), crc32(name.encode()), _as_int(eps))
            result = attack(self.model, images, labels, threat, generator=sources)
            fooled = result.fooled.cpu()
            claimed = result.examples[fooled.to(result.examples.device)]
            # nothing is believed: in ball and box, and misclassified in a pass of its own
            confirmed = ~self.classify(claimed, rows[fooled])
            confirmed &= threat.allows(claimed, images[fooled.to(images.device)]).cpu()
            fallen = rows[fooled][confirmed]
            self.broken_at[fallen] = eps
            self.witnesses[fallen] = claimed[confirmed.to(claimed.device)]
            broken += len(fallen)
            unconfirmed += int(fooled.sum()) - len(fallen)
            forwards += result.forwards
            backwards += result.backwards
            self.progress.advance(shown, len(rows))
        return Score(
            eps=eps,
            attack=name,
            after=Accuracy(right=int(self.broken_at.isinf().sum()), n=len(self.data)),
            attacked=len(standing),
            broken=broken,
            unconfirmed=unconfirmed,
            forwards=forwards,
            backwards=backwards,
            seconds=time.monotonic() - started,
        )


def _as_int(eps: float) -> int:
    """ε as part of a seed."""
    return round(min(eps, 1e6) * 1e9)
