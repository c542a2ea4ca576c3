"""The checklist: does a robust accuracy mean what it says?

Each line of `TABLE` names a function of a `Context` that returns a `Finding`; here they are run, kept,
and judged.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from rich.progress import Progress
from torch import nn

from hardball import extras
from hardball.attacks import PGD, Attack, Classifier
from hardball.data import Dataset
from hardball.errors import CannotRun, UserError
from hardball.evaluation.checks.behind import claim_behind, in_view
from hardball.evaluation.checks.budget import budget as named_budget
from hardball.evaluation.checks.context import Context, NotApplicable, Origin
from hardball.evaluation.checks.registry import TABLE, CheckSpec
from hardball.evaluation.checks.result import Check, Finding, Status
from hardball.evaluation.checks.verdict import Figure, Verdict, judge
from hardball.evaluation.execution import Execution
from hardball.evaluation.first import copied
from hardball.evaluation.journal import Journal
from hardball.evaluation.preflight import FAILURES, reason_of, usable
from hardball.evaluation.protocols import CLAIM, autoattack
from hardball.evaluation.results import Evaluation
from hardball.evaluation.robust_accuracy import evaluate
from hardball.fingerprint import described
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

    def to_frame(self) -> Any:
        """The checks as a pandas.DataFrame, a row for each: number, name, kind, status, found, limit and
        reason (why it could not run).

        Raises:
            MissingExtra: pandas is not installed.
        """
        columns = ("number", "name", "kind", "status", "found", "limit", "reason")
        rows = [{name: getattr(check, name) for name in columns} for check in self.checks]
        return extras.frame(rows, columns)

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
    evaluation: Evaluation | None = None,
    *,
    budget: str = "standard",
    source: Origin | Classifier | None = None,
    base: Origin | Classifier | None = None,
    origin: Origin | Classifier | None = None,
    fresh: Callable[[], Classifier] | None = None,
    required: float | None = None,
    failures: Sequence[tuple[str, str]] = (),
    seed: int = 0,
    batch_size: int = 128,
    processes: int = 1,
    journal: Journal | None = None,
    progress: Progress | None = None,
    done: Callable[[Check], object] = lambda check: None,
) -> Checklist:
    """Run every check of `TABLE` and judge.

    Whatever a check breaks that the evaluation did not lowers the accuracy and leaves a witness. The
    claim is the accuracy under `protocols.CLAIM`, else the evaluation's first PGD.

    Args:
        model: images [B, C, H, W] in [0, 1] → logits [B, K]; put in evaluation mode meanwhile.
        data: the examples that the evaluation measured, in its order.
        threat: norm and ε; one of those measured.
        evaluation: the protocol's result; without it the protocol `autoattack` runs first.
        budget: quick, standard or full (see `BUDGETS`).
        source: another network to transfer from.
        base: the network whose smallest distortions are to be surpassed.
        origin: the network whose weights this one started from.
        fresh: builds the model anew from what it is stored in, so that the copy knows nothing of earlier
            passes. By default a `copy.deepcopy`, made before the first pass of the evaluation: it shares
            with the model what functions close over, and the variables of modules.
        required: the accuracy that must be left.
        failures: (attack, reason) of the protocol's attacks that could not run.
        seed: of all random numbers.
        batch_size: images at a time; changes the speed, not the answer.
        processes: how many work at once, on the CPU, as in `evaluate`.
        journal: keeps what was found: a finished check is not done again, and of a begun one what its
            attacks found is not lost.
        progress: shows how far each attack has come.
        done: called with each check when it is finished.

    Raises:
        UserError: no such budget, or ε was not measured.
        Contradiction: a check broke an example that is certified.
    """
    spending = named_budget(budget)
    how: dict[str, Any] = {
        "seed": seed,
        "batch_size": batch_size,
        "processes": processes,
        "journal": journal,
        "progress": progress,
    }
    if evaluation is None:
        fresh = fresh or _copy_of(model)
        attacks, failures = usable(autoattack, model, data, threat)
        unable = dict(failures)
        evaluation = evaluate(
            model,
            data,
            eps=float(threat.eps),
            norm=threat.norm,
            attacks=attacks,
            unable=unable.setdefault,
            **how,
        )
        failures = list(unable.items())
    if float(threat.eps) not in evaluation.worst:
        measured = ", ".join(f"{eps:g}" for eps in evaluation.worst)
        raise UserError(f"eps={float(threat.eps):g} was not measured; measured are: {measured}")
    with Execution(model, data, **how) as execution:
        context = Context(
            execution,
            threat,
            evaluation,
            claim=_claim(evaluation.attacks, dict(failures)),
            budget=spending,
            source=Origin.of(source),
            base=Origin.of(base),
            origin=Origin.of(origin),
            fresh=fresh,
        )
        absent = dict(failures)
        if context.claim_failure:
            absent.setdefault(CLAIM, context.claim_failure)
        checks = [_absent(name, reason) for name, reason in absent.items()]
        for check in checks:
            done(check)
        state = _fingerprint(context)
        for spec in TABLE:
            check = _recorded(spec, context, state)
            checks.append(check)
            done(check)
    return _judged(context, checks, required)


def _copy_of(model: Classifier) -> Callable[[], Classifier] | None:
    """Gives a copy of the model as it is now, where there is one."""
    with suppress(CannotRun):  # `evaluate` meets the same, and has the reason
        copy = copied(model) if isinstance(model, nn.Module) else None
        return None if copy is None else lambda: copy
    return None


def _claim(attacks: Mapping[str, Attack], unable: Mapping[str, str]) -> str | None:
    """The name of the attack whose accuracy is claimed; behind a front, that of the attack there."""
    behind = claim_behind({name: one for name, one in attacks.items() if name not in unable})
    if behind is not None:
        return behind
    if CLAIM in attacks:
        return None if CLAIM in unable else CLAIM
    able = (name for name, attack in attacks.items() if isinstance(attack, PGD))
    return next((name for name in able if name not in unable), None)


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


def _recorded(spec: CheckSpec, context: Context, state: str) -> Check:
    """The check from the journal with what it broke, or run now."""
    key = json.dumps({"check": spec.number, "name": spec.name, "state": state})
    for record in context.journal.records(key):
        for found in record["broken"]:
            context.note(**found)
        return Check(**record["check"])
    with context.noting() as broken:
        check = run(spec, context)
    if check.status in ("pass", "fail"):
        context.journal.append(key, {"check": asdict(check), "broken": broken})
        context.journal.flush()
    return check


def run(spec: CheckSpec, context: Context) -> Check:
    """One check."""
    started = time.monotonic()
    finding: Finding | None = None
    status: Status = "could not run"
    reason = ""
    try:
        finding = spec.run(in_view(spec.run, context))
        status = "pass" if finding.passed else "fail"
    except NotApplicable as why:
        status, reason = "not applicable", str(why)
    except FAILURES as why:
        reason = reason_of(why)
    return Check(
        number=spec.number,
        name=spec.name,
        kind=spec.kind,
        essential=spec.essential,
        meaning=spec.meaning,
        status=status,
        reason=reason,
        seconds=time.monotonic() - started,
        **_fields(finding),
    )


def _fields(finding: Finding | None) -> dict[str, Any]:
    if finding is None:
        return {"measured": {}}
    return {name: value for name, value in vars(finding).items() if name != "passed"}
