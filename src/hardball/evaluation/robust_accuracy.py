"""Robust accuracy: the share of examples classified right under the pointwise worst of all attacks.

Shapes: N examples; images [N, C, H, W], labels [N].
"""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from rich.progress import Progress
from torch import Tensor

from hardball.attacks import Attack, AutoAttackPart, Classifier
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.evaluation import execution
from hardball.evaluation.execution import Part, Unit
from hardball.evaluation.journal import Journal
from hardball.evaluation.results import CLEAN, Accuracy, Evaluation, Score
from hardball.evaluation.sanity import Doubt, doubts, of_autoattack
from hardball.evaluation.workers import Attempts, attempting
from hardball.losses import correct
from hardball.perf import measuring
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
    processes: int = 1,
    journal: Journal | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Evaluation:
    """Clean and robust accuracy at each ε.

    ε grow, and the cheapest attack goes first; each attacks only the examples that still stand, for
    what broke at a smaller ε is broken at a larger one. The random start of an example depends on
    (seed, attack, ε, its index) alone, so neither batch size nor the other examples change it; an
    attack that draws for a whole batch at once gets fixed batches (see `execution.split`). The model is
    evaluated in evaluation mode and left in the mode it was in.

    Args:
        model: images [B, C, H, W] in [0, 1] → logits [B, K].
        data: what to measure on, on the model's device: the test part.
        threat: the norm, and ε unless `eps` is given.
        attacks: name → attack (see `hardball.protocols`).
        eps: the radii to measure at.
        seed: of the random starts.
        batch_size: examples at a time; changes the speed, not the answer.
        processes: how many work at once, on the CPU; changes the speed, not the answer. With more
            than one, the model and the attacks must be picklable, and a script that calls this must
            have its own work behind `if __name__ == "__main__":`.
        journal: keeps what was found: what is in it already is not done again.
        progress: shows how far each attack has come.
        say: told, in one line, how much of this evaluation was done before.

    Raises:
        UserError: nothing to measure, no attack, a model that returns no logits [B, classes], a
            journal of something else, several processes with a model that cannot be sent to them.
    """
    started = time.monotonic()
    plan = _plan(data, threat, attacks, eps)
    journal = journal or Journal()
    journal.check(data, threat.norm, seed)
    model = execution.accepting(model, data.images.dtype)
    with (
        measuring(model, data.images),
        attempting(model, data, batch_size, processes) as attempts,
    ):
        logits = execution.logits_of(model, data, data.images, batch_size)
        state = _State(data, ~correct(logits, data.labels.cpu()))
        found = doubts(model, data, logits, batch_size)
        if any(isinstance(attack, AutoAttackPart) for attack in attacks.values()):
            found += of_autoattack(model, data)
        for line in found:
            warnings.warn(line, Doubt, stacklevel=2)
        seconds = time.monotonic() - started
        told = _already_done(plan, state, journal)
        if told is not None:
            say(told)
        search = _Search(
            data=data,
            seed=seed,
            batch_size=batch_size,
            processes=processes,
            attempts=attempts,
            journal=journal,
            progress=progress or Progress(disable=True),
        )
        try:
            scores = [search.run(stage, state) for stage in plan]
        finally:
            journal.flush()
    return Evaluation(
        data=data.name,
        norm=threat.norm,
        seed=seed,
        radii=tuple(dict.fromkeys(stage.eps for stage in plan)),
        scores=scores,
        attacks={stage.name: stage.attack for stage in plan},
        broken_at=state.broken_at,
        broken_by=tuple(state.broken_by),
        witnesses=state.witnesses,
        doubts=tuple(found),
        seconds=seconds + sum(score.seconds for score in scores),
    )


class _Stage:
    """One attack at one ε: everything that stands then is attacked by it."""

    def __init__(self, name: str, attack: Attack, threat: ThreatModel) -> None:
        self.name, self.attack, self.threat = name, attack, threat
        self.eps = float(threat.eps)
        self.key = execution.key(name, attack, self.eps)


def _plan(
    data: Dataset, threat: ThreatModel, attacks: Mapping[str, Attack], eps: Sequence[float] | None
) -> list[_Stage]:
    """ε ascending, and at each the cheapest attack first."""
    if not len(data) or not attacks:
        raise UserError(
            f"{len(data)} examples and {len(attacks)} attacks; give at least one of each"
        )
    count = torch.as_tensor(threat.eps).numel()
    if not eps and count != 1:
        raise UserError(f"{count} values of eps; allowed is one number: pass eps=[...] for several")
    return [
        _Stage(name, attack, threat.at(radius))
        for radius in (sorted(set(eps)) if eps else [float(threat.eps)])
        for name, attack in sorted(attacks.items(), key=lambda item: item[1].cost)
    ]


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


@dataclass(frozen=True, kw_only=True)
class _Search:
    """Runs stages, asking the journal first."""

    data: Dataset
    seed: int
    batch_size: int
    processes: int
    attempts: Attempts
    journal: Journal
    progress: Progress

    def run(self, stage: _Stage, state: _State) -> Score:
        """One attack at one ε on everything that stands."""
        standing = state.standing
        attacked = torch.zeros(len(self.data), dtype=torch.bool)
        attacked[standing] = True
        used, left = execution.remaining(execution.recorded(self.journal, stage.key), attacked)
        shown = self.progress.add_task(f"{stage.name} at {stage.threat}", total=len(standing))
        self.progress.advance(shown, len(standing) - int(left.sum()))
        for part in self.attempts(self._units(stage, left.nonzero().squeeze(1))):
            self.journal.append(stage.key, part.as_record())
            used.append(part)
            self.progress.advance(shown, len(part.rows))
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

    def _units(self, stage: _Stage, rows: Tensor) -> list[Unit]:
        # where processes would stand idle, batches are smaller
        size = min(self.batch_size, max(1, -(-len(rows) // self.processes)))
        return [
            Unit(
                name=stage.name,
                attack=stage.attack,
                threat=stage.threat,
                rows=piece,
                seed=self.seed,
            )
            for piece in execution.split(rows, stage.attack, size)
        ]


def _already_done(plan: Sequence[_Stage], state: _State, journal: Journal) -> str | None:
    """How far the journal goes, in words; None where it knows nothing of this plan."""
    standing = state.broken_at.isinf()
    done = begun = known = 0
    for stage in plan:
        parts = execution.recorded(journal, stage.key)
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
