"""The checklist: does a robust accuracy mean what it says?

Each row of `TABLE` is a function of a `Context` that returns a `Finding`; here they are run, kept, and
judged.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from rich.progress import Progress

from hardball.attacks import PGD, Attack, Classifier
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.evaluation.checks.budget import budget as named_budget
from hardball.evaluation.checks.context import Context, NotApplicable, Origin
from hardball.evaluation.checks.registry import TABLE, Row
from hardball.evaluation.checks.result import Check, Finding, Status
from hardball.evaluation.checks.verdict import Figure, Verdict, judge
from hardball.evaluation.execution import accepting
from hardball.evaluation.journal import Journal
from hardball.evaluation.protocols import CLAIM
from hardball.evaluation.results import Evaluation
from hardball.fingerprint import described
from hardball.perf import measuring
from hardball.threats import ThreatModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Checklist:
    """What the checks found."""

    budget: str
    eps: float
    """At which they ran."""
    checks: list[Check]
    claimed: Figure | None
    strongest: Figure
    evaluation: Evaluation
    """With the examples that checks broke besides."""
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        return {
            "budget": self.budget,
            "eps": self.eps,
            "claimed": self.claimed and self.claimed.as_json(),
            "strongest": self.strongest.as_json(),
            "checks": [check.as_json() for check in self.checks],
        }


def checklist(
    model: Classifier,
    data: Dataset,
    threat: ThreatModel,
    evaluation: Evaluation,
    *,
    budget: str = "standard",
    source: Origin | None = None,
    base: Origin | None = None,
    origin: Origin | None = None,
    required: float | None = None,
    failures: Sequence[tuple[str, str]] = (),
    seed: int = 0,
    batch_size: int = 128,
    journal: Journal | None = None,
    progress: Progress | None = None,
    done: Callable[[Check], object] = lambda check: None,
) -> Checklist:
    """Run every check of `TABLE` and judge.

    Whatever a check breaks that the evaluation had left standing lowers the accuracy and leaves a
    witness. The claim is the accuracy under `protocols.CLAIM`, else the evaluation's first PGD.

    Args:
        model: images [B, C, H, W] in [0, 1] → logits [B, K]; put in evaluation mode meanwhile.
        data: the examples that the evaluation measured, in its order.
        threat: norm and ε; one of those measured.
        evaluation: the protocol's result.
        budget: quick, standard or full (see `BUDGETS`).
        source: another network to transfer from.
        base: the network whose smallest distortions are to be surpassed.
        origin: the network whose weights this one started from.
        required: the accuracy that must be left.
        failures: (attack, reason) of the protocol's attacks that could not run.
        seed: of all random numbers.
        batch_size: images at a time; changes the speed, not the answer.
        journal: keeps what was found: a finished check is not done again, and of a begun one what its
            attacks found is not lost.
        progress: shows how far each attack has come.
        done: called with each check when it is finished.

    Raises:
        UserError: no such budget, or ε was not measured.
    """
    if float(threat.eps) not in evaluation.worst:
        measured = ", ".join(f"{eps:g}" for eps in evaluation.worst)
        raise UserError(f"eps={float(threat.eps):g} was not measured; measured are: {measured}")
    model = accepting(model, data.images.dtype)
    with measuring(model, data.images):
        context = Context(
            model,
            data,
            threat,
            evaluation,
            claim=_claim(evaluation.attacks),
            budget=named_budget(budget),
            seed=seed,
            batch_size=batch_size,
            journal=journal,
            progress=progress,
            source=source,
            base=base,
            origin=origin,
        )
        checks = [_absent(name, reason) for name, reason in failures]
        for check in checks:
            done(check)
        state = _fingerprint(context)
        for row in TABLE:
            check = _recorded(row, context, state)
            checks.append(check)
            done(check)
    return _judged(context, checks, required)


def _claim(attacks: Mapping[str, Attack]) -> str | None:
    """The name of the attack whose accuracy is claimed."""
    if CLAIM in attacks:
        return CLAIM
    return next((name for name, attack in attacks.items() if isinstance(attack, PGD)), None)


def _absent(name: str, reason: str) -> Check:
    return Check(
        number="–",
        name=name,
        kind="strength",
        essential=True,
        meaning="",
        status="could not run",
        measured={},
        reason=reason,
    )


def _judged(context: Context, checks: list[Check], required: float | None) -> Checklist:
    claimed = (
        Figure(accuracy=context.accuracy(context.claimed), attack=context.claim_name)
        if context.claim_name
        else None
    )
    strongest = Figure(
        accuracy=context.evaluation.worst[context.eps], attack=context.strongest_attack
    )
    verdict = judge(claimed, strongest, checks, threat=str(context.threat), required=required)
    return Checklist(
        budget=context.budget.name,
        eps=context.eps,
        checks=checks,
        claimed=claimed,
        strongest=strongest,
        evaluation=context.evaluation,
        verdict=verdict,
    )


def _fingerprint(context: Context) -> str:
    """Of everything that decides what a check finds, beside the check itself."""
    known = {
        "eps": context.eps,
        "seed": context.seed,
        "budget": described(context.budget),
        "claim": context.claim_name,
        "broken_at": [str(eps) for eps in context.evaluation.broken_at.tolist()],
        "broken_by": context.evaluation.broken_by,
        "others": described([context.source, context.base, context.origin]),
    }
    return sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _recorded(row: Row, context: Context, state: str) -> Check:
    """The check from the journal with what it broke, or run now."""
    key = json.dumps({"check": row.number, "name": row.name, "state": state})
    for record in context.journal.records(key):
        for found in record["broken"]:
            context.note(**found)
        return Check(**record["check"])
    with context.noting() as broken:
        check = run(row, context)
    if check.status in ("pass", "fail"):
        context.journal.append(key, {"check": asdict(check), "broken": broken})
        context.journal.flush()
    return check


def run(row: Row, context: Context) -> Check:
    """One check."""
    started = time.monotonic()
    finding: Finding | None = None
    status: Status = "could not run"
    reason = ""
    try:
        finding = row.run(context)
        status = "pass" if finding.passed else "fail"
    except NotApplicable as why:
        status, reason = "not applicable", str(why)
    except UserError as why:
        reason = str(why)
    return Check(
        number=row.number,
        name=row.name,
        kind=row.kind,
        essential=row.essential,
        meaning=row.meaning,
        status=status,
        reason=reason,
        seconds=time.monotonic() - started,
        **_fields(finding),
    )


def _fields(finding: Finding | None) -> dict[str, Any]:
    if finding is None:
        return {"measured": {}}
    return {name: value for name, value in vars(finding).items() if name != "passed"}
