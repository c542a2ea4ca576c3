"""Robust accuracy: the share of examples classified right under the pointwise worst of all attacks.

Shapes: N examples; images [N, C, H, W], labels [N].
"""

import time
from collections.abc import Callable, Mapping, Sequence

import torch
from rich.progress import Progress
from torch import Tensor

from hardball.attacks import Attack, Classifier
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.evaluation import units
from hardball.evaluation.accuracy import CLEAN, Accuracy, Evaluation, Score
from hardball.evaluation.journal import Journal
from hardball.evaluation.units import Part, Unit
from hardball.losses import correct
from hardball.modes import evaluating
from hardball.threats import ThreatModel


def evaluate(
    model: Classifier,
    data: Dataset,
    threat: ThreatModel,
    *,
    attacks: Mapping[str, Attack],
    eps: Sequence[float] | None = None,
    seed: int = 0,
    batch_size: int = 256,
    journal: Journal | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Evaluation:
    """Clean and robust accuracy at each ε.

    ε grow, and the cheapest attack goes first; each attacks only the examples that still stand, for
    what broke at a smaller ε is broken at a larger one. The random start of an example depends on
    (seed, attack, ε, its index) alone, so neither batch size nor the other examples change it; an
    attack that draws for a whole batch at once gets fixed batches (see `units.split`). The model is
    evaluated in evaluation mode and left in the mode it was in.

    Args:
        model: images [B, C, H, W] in [0, 1] → logits [B, K].
        data: what to measure on, on the model's device: the test part.
        threat: the norm, and ε unless `eps` is given.
        attacks: name → attack (see `hardball.protocols`).
        eps: the radii to measure at.
        seed: of the random starts.
        batch_size: examples at a time; changes the speed, not the answer.
        journal: keeps what was found: what is in it already is not done again.
        progress: shows how far each attack has come.
        say: told, in one line, how much of this evaluation was done before.

    Raises:
        UserError: nothing to measure, no attack, a model that returns no logits [B, classes], a
            journal of something else.
    """
    if not len(data) or not attacks:
        raise UserError(
            f"{len(data)} examples and {len(attacks)} attacks; give at least one of each"
        )
    count = torch.as_tensor(threat.eps).numel()
    if not eps and count != 1:
        raise UserError(f"{count} values of eps; allowed is one number: pass eps=[...] for several")
    started = time.monotonic()
    journal = journal or Journal()
    journal.check(data, threat.norm, seed)
    radii = sorted(set(eps)) if eps else [float(threat.eps)]
    ordered = dict(sorted(attacks.items(), key=lambda item: item[1].cost))
    plan = [
        _Stage(name, attack, threat.at(radius))
        for radius in radii
        for name, attack in ordered.items()
    ]
    with evaluating(model):
        logits = units.logits_of(model, data, data.images, batch_size)
        state = _State(data, ~correct(logits, data.labels.cpu()))
        seconds = time.monotonic() - started
        told = _already_done(plan, state, journal)
        if told is not None:
            say(told)
        search = _Search(model, data, seed, batch_size, journal, progress or Progress(disable=True))
        try:
            scores = [search.run(stage, state) for stage in plan]
        finally:
            journal.flush()
    return Evaluation(
        data=data.name,
        norm=threat.norm,
        seed=seed,
        radii=tuple(radii),
        scores=scores,
        attacks=ordered,
        broken_at=state.broken_at,
        broken_by=tuple(state.broken_by),
        witnesses=state.witnesses,
        seconds=seconds + sum(score.seconds for score in scores),
    )


class _Stage:
    """One attack at one ε: everything that stands then is attacked by it."""

    def __init__(self, name: str, attack: Attack, threat: ThreatModel) -> None:
        self.name, self.attack, self.threat = name, attack, threat
        self.eps = float(threat.eps)
        self.key = units.key(name, attack, self.eps)

    def known(self, journal: Journal) -> list[Part]:
        """What was found before. Of an example attacked twice the first attempt counts."""
        found: list[Part] = []
        seen: set[int] = set()
        for record in journal.records(self.key):
            part = Part(**record)
            rows = set(part.rows.tolist())
            if not rows & seen:
                found.append(part)
                seen |= rows
        return found


class _State:
    """Which examples still stand, and what broke the others."""

    def __init__(self, data: Dataset, wrong: Tensor) -> None:
        self.broken_at = torch.full((len(data),), torch.inf, dtype=torch.float64)
        self.broken_at[wrong] = 0.0
        self.broken_by = [CLEAN if bad else "" for bad in wrong.tolist()]
        self.witnesses = data.images.clone()

    @property
    def standing(self) -> Tensor:
        return self.broken_at.isinf().nonzero().squeeze(1)

    def take(self, part: Part, stage: _Stage) -> int:
        """Note what a part broke of what stands; how many that is."""
        rows = part.rows[part.fallen]
        new = self.broken_at[rows].isinf()
        rows = rows[new]
        self.broken_at[rows] = stage.eps
        self.witnesses[rows.to(self.witnesses.device)] = part.examples[new].to(self.witnesses)
        for row in rows.tolist():
            self.broken_by[row] = stage.name
        return len(rows)


class _Search:
    """Runs stages, asking the journal first."""

    def __init__(
        self,
        model: Classifier,
        data: Dataset,
        seed: int,
        batch_size: int,
        journal: Journal,
        progress: Progress,
    ) -> None:
        self.model, self.data, self.seed, self.batch_size = model, data, seed, batch_size
        self.journal, self.progress = journal, progress

    def run(self, stage: _Stage, state: _State) -> Score:
        """One attack at one ε on everything that stands."""
        standing = state.standing
        attacked = torch.zeros(len(self.data), dtype=torch.bool)
        attacked[standing] = True
        used = [part for part in stage.known(self.journal) if bool(attacked[part.rows].any())]
        left = attacked.clone()
        for part in used:
            left[part.rows] = False
        shown = self.progress.add_task(f"{stage.name} at {stage.threat}", total=len(standing))
        self.progress.advance(shown, len(standing) - int(left.sum()))
        rows = left.nonzero().squeeze(1)
        for piece in units.split(rows, stage.attack, self.batch_size):
            unit = Unit(
                name=stage.name,
                attack=stage.attack,
                threat=stage.threat,
                rows=piece,
                seed=self.seed,
            )
            part = units.attempt(self.model, self.data, unit, self.batch_size)
            self.journal.append(stage.key, part.as_record())
            used.append(part)
            self.progress.advance(shown, len(piece))
        self.journal.flush()
        broken = sum(state.take(part, stage) for part in used)
        return Score(
            eps=stage.eps,
            attack=stage.name,
            after=Accuracy(right=len(state.standing), n=len(self.data)),
            attacked=len(standing),
            broken=broken,
            unconfirmed=sum(int(attacked[p.rows[p.unconfirmed]].sum()) for p in used),
            forwards=sum(part.forwards for part in used),
            backwards=sum(part.backwards for part in used),
            seconds=sum(part.seconds for part in used),
        )


def _already_done(plan: Sequence[_Stage], state: _State, journal: Journal) -> str | None:
    """How far the journal goes, in words; None where it knows nothing of this plan."""
    standing = state.broken_at.isinf()
    done = begun = known = 0
    for stage in plan:
        parts = stage.known(journal)
        seen = torch.zeros_like(standing)
        for part in parts:
            seen[part.rows] = True
        if bool(seen[standing].all()):
            done += 1
        elif parts:
            begun += 1
        known += len(parts)
        for part in parts:
            standing[part.rows[part.fallen]] = False
    if not known:
        return None
    more = f" and {begun} begun" if begun else ""
    return f"continuing: {done} of {len(plan)} attacks done{more}"
