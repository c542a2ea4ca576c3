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

from hardball import environment, names
from hardball.attacks import Attack, AutoAttackPart, Classifier, in_precision
from hardball.certify import Certificate
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.evaluation.behind import about_front, with_front
from hardball.evaluation.certification import proofs
from hardball.evaluation.execution import Execution
from hardball.evaluation.first import first_answers
from hardball.evaluation.forward import logits_of
from hardball.evaluation.journal import Journal
from hardball.evaluation.preflight import FAILURES, reason_of
from hardball.evaluation.results import CLEAN, Accuracy, Evaluation, Score
from hardball.evaluation.sanity import Doubt, doubts, of_autoattack
from hardball.evaluation.tasks import TaskResult
from hardball.losses import correct
from hardball.threats import ThreatModel


def evaluate(
    model: Classifier,
    data: Dataset,
    *,
    eps: float | Sequence[float],
    attacks: Mapping[str, Attack],
    norm: str = "linf",
    certify: Certificate | Mapping[str, Certificate] | None = None,
    seed: int = 0,
    batch_size: int = 256,
    processes: int = 1,
    precision: str = "32-true",
    journal: Journal | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] = lambda line: None,
    unable: Callable[[str, str], object] | None = None,
) -> Evaluation:
    """Clean and robust accuracy at each ε.

    ε grows, and the cheapest attack goes first; each attacks only the examples that are still
    classified correctly, for what is broken at a smaller ε is broken at a larger one. The random start
    of an example depends on (seed, attack, ε, its index) alone, so neither batch size nor the other
    examples change it; an attack that draws for a whole batch at once gets fixed batches (see
    `execution.split`). Behind a model's front (see `hb.front_of`) the attacks run in the box that is
    reachable there too, with a search without gradients. The model is evaluated in evaluation mode and
    left in the mode it was in.

    Args:
        model: images [B, C, H, W] in [0, 1] → logits [B, K].
        data: what to measure on, on the model's device: the test part.
        eps: the radius to measure at, or several; in pixel units.
        attacks: name → attack (see `hardball.protocols`).
        norm: "linf", "l2", "l0" or "unbounded" (with eps=1).
        certify: a certificate, or name → certificate: lower bounds, beside the attacks' upper bounds.
        seed: of the random starts.
        batch_size: examples at a time; changes the speed, not the answer.
        processes: how many work at once, on the CPU; changes the speed, not the answer. With more
            than one, the model and the attacks must be picklable, and a script that calls this must
            have its own work behind `if __name__ == "__main__":`.
        precision: "32-true", or "bf16-mixed": attacks search in half precision, as `HalfPrecision`
            does, and are named for it (pgd-20-bf16); whatever they find is judged without it.
        journal: keeps what was found: what is in it already is not done again.
        progress: shows how far each attack has come.
        say: called with one line on how much of this evaluation was done before.
        unable: called with (attack, reason) where an attack ends in an error, on which the evaluation
            then goes on with the others; what it had found counts. By default the error is raised.

    Raises:
        UserError: nothing to measure, no attack, another precision, a model that returns no logits
            [B, classes], a journal of something else, several processes with a model that cannot be
            sent to them.
        CannotRun: an attack or a certificate cannot run on this model, norm or machine.
        Contradiction: an example is certified at an ε and broken at that ε or a smaller one.

    Example:
        >>> attacks = {"pgd": hb.PGD(steps=5), "margin": hb.PGD(steps=5, loss="margin")}
        >>> found = hb.evaluate(model, test, eps=[0.1], attacks=attacks)
        >>> sorted({score.attack for score in found.scores})
        ['margin', 'pgd']
        >>> left = found.worst[0.1]
        >>> left.right <= found.clean.right
        True
    """
    started = time.monotonic()
    attacks = with_front(attacks, model, norm)
    plan = _plan(data, norm, eps, in_precision(attacks, precision))
    certificates = _certificates(certify)
    journal = journal or Journal()
    journal.require(data, norm, seed)
    first = first_answers(model, data, plan[-1].threat, seed, batch_size)
    with Execution(
        model,
        data,
        seed=seed,
        batch_size=batch_size,
        processes=processes,
        journal=journal,
        progress=progress,
    ) as execution:
        logits = logits_of(execution.model, data, data.images, batch_size)
        state = _State(data, ~correct(logits, data.labels.cpu()))
        found = doubts(execution.model, data, logits, batch_size)
        if any(isinstance(attack, AutoAttackPart) for attack in attacks.values()):
            found += of_autoattack(execution.model, data)
        found = about_front(found, execution.model, norm)
        for line in found:
            warnings.warn(line, Doubt, stacklevel=2)
        # before the attacks, which take longest: a certificate that cannot run says so at once
        proved = proofs(execution, certificates, _threats(plan))
        seconds = time.monotonic() - started
        line_on_progress = _already_done(plan, state, execution)
        if line_on_progress is not None:
            say(line_on_progress)
        scores = [_score(stage, state, execution, unable) for stage in plan]
    return Evaluation(
        data=data.name,
        norm=norm,
        seed=seed,
        radii=tuple(float(threat.eps) for threat in _threats(plan)),
        scores=scores,
        attacks={stage.name: stage.attack for stage in plan},
        broken_at=state.broken_at,
        broken_by=tuple(state.broken_by),
        witnesses=state.witnesses,
        doubts=tuple(found),
        seconds=seconds + sum(score.seconds for score in scores),
        proofs=proved,
        certificates={name: one.description() for name, one in certificates.items()},
        first=first,
        machine=environment.facts(data.images.device),
    )


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """One attack at one ε, on everything that is still classified correctly then."""

    name: str
    attack: Attack
    threat: ThreatModel

    @property
    def eps(self) -> float:
        return float(self.threat.eps)


def _plan(
    data: Dataset, norm: str, eps: float | Sequence[float], attacks: Mapping[str, Attack]
) -> list[_Stage]:
    """ε ascending, and at each the cheapest attack first."""
    radii = sorted(set(torch.as_tensor(eps, dtype=torch.float64).flatten().tolist()))
    if not len(data) or not attacks or not radii:
        raise UserError(
            f"{len(data)} examples, {len(attacks)} attacks and {len(radii)} values of `eps`; give at "
            "least one of each"
        )
    for name, attack in attacks.items():
        names.derived("attack", name, attack, Attack)
    return [
        _Stage(name=name, attack=attack, threat=ThreatModel(norm, radius))
        for radius in radii
        for name, attack in sorted(attacks.items(), key=lambda item: item[1].cost)
    ]


def _threats(plan: Sequence[_Stage]) -> list[ThreatModel]:
    """One for each ε, ascending."""
    return list({stage.eps: stage.threat for stage in plan}.values())


def _certificates(
    certify: Certificate | Mapping[str, Certificate] | None,
) -> dict[str, Certificate]:
    if certify is None:
        return {}
    given = certify if isinstance(certify, Mapping) else {type(certify).__name__: certify}
    return {
        name: names.derived("certificate", name, certificate, Certificate)
        for name, certificate in given.items()
    }


class _State:
    """Which examples are still classified correctly, and what broke the others."""

    def __init__(self, data: Dataset, wrong: Tensor) -> None:
        self.broken_at = torch.full((len(data),), torch.inf, dtype=torch.float64)
        self.broken_at[wrong] = 0.0
        self.broken_by = [CLEAN if bad else "" for bad in wrong.tolist()]
        self.witnesses = data.images.clone()

    @property
    def remaining(self) -> Tensor:
        """int64: the examples that nothing broke so far."""
        return self.broken_at.isinf().nonzero().squeeze(1)

    def take(self, result: TaskResult, stage: _Stage) -> int:
        """Note what a result broke of what remains; how many that is."""
        rows = result.broken_rows
        new = self.broken_at[rows].isinf()
        rows = rows[new]
        self.broken_at[rows] = stage.eps
        self.witnesses[rows.to(self.witnesses.device)] = result.examples[new].to(self.witnesses)
        for row in rows.tolist():
            self.broken_by[row] = stage.name
        return len(rows)


def _score(
    stage: _Stage,
    state: _State,
    execution: Execution,
    unable: Callable[[str, str], object] | None,
) -> Score:
    """One attack at one ε on everything that remains."""
    remaining = state.remaining
    attacked = state.broken_at.isinf()
    try:
        results = execution.run(stage.name, stage.attack, stage.threat, remaining)
    except FAILURES as error:
        if unable is None:
            raise
        unable(stage.name, reason_of(error))
        results = execution.recorded(stage.name, stage.attack, stage.threat)
    broken = sum(state.take(result, stage) for result in results)
    return Score(
        eps=stage.eps,
        attack=stage.name,
        after=Accuracy(right=len(state.remaining), n=len(execution.data)),
        attacked=len(remaining),
        broken=broken,
        unconfirmed=sum(int(attacked[r.rows[r.unconfirmed]].sum()) for r in results),
        forwards=sum(result.forwards for result in results),
        backwards=sum(result.backwards for result in results),
        seconds=sum(result.seconds for result in results),
    )


def _already_done(plan: Sequence[_Stage], state: _State, execution: Execution) -> str | None:
    """How far the journal goes, in words; None where it knows nothing of this plan."""
    remaining = state.broken_at.isinf()
    done = begun = known = 0
    for stage in plan:
        results = execution.recorded(stage.name, stage.attack, stage.threat)
        seen = torch.zeros_like(remaining)
        for result in results:
            seen[result.rows] = True
        if bool(seen[remaining].all()):
            done += 1
        elif results:
            begun += 1
        known += len(results)
        for result in results:
            remaining[result.broken_rows] = False
    if not known:
        return None
    more = f" and {begun} begun" if begun else ""
    return f"continuing: {done} of {len(plan)} attacks done{more}"
