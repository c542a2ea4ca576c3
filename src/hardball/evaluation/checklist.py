"""The checklist: does a robust accuracy mean what it says?

`TABLE` holds the twelve checks of arXiv 2003.13370, Appendix C, the stronger attacks of its section
3.3, and hardball's own detectors. Each is a function of a `Bench` that returns a `Finding`.
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
from hardball.evaluation.accuracy import Evaluation, described
from hardball.evaluation.checks import blackbox, detectors, distortion, planted, whitebox
from hardball.evaluation.checks.bench import Bench, NotApplicable, Origin
from hardball.evaluation.checks.budget import budget as named_budget
from hardball.evaluation.checks.check import Check, Finding, Kind, Status
from hardball.evaluation.journal import Journal
from hardball.evaluation.protocols import CLAIM
from hardball.evaluation.verdict import Figure, Verdict, judge
from hardball.modes import evaluating
from hardball.threats import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Row:
    """One check, before it has run."""

    number: str
    name: str
    run: Callable[[Bench], Finding]
    kind: Kind
    meaning: str
    """What a failure means, as part of a sentence."""
    essential: bool = True
    """Without it there is no verdict. Not so for what needs another network."""


TABLE = (
    Row(
        number="1",
        name="FGSM not stronger",
        run=whitebox.one_step,
        kind="masking",
        meaning="one large step finds what 200 steps do not",
    ),
    Row(
        number="2",
        name="unbounded attack",
        run=whitebox.unbounded,
        kind="masking",
        meaning="images stand even without a bound, so the attack cannot find what exists",
    ),
    Row(
        number="3",
        name="random start",
        run=whitebox.random_start,
        kind="strength",
        meaning="it matters whether PGD starts at random",
    ),
    Row(
        number="4",
        name="ten restarts",
        run=whitebox.restarts,
        kind="strength",
        meaning="more restarts break more",
    ),
    Row(
        number="5",
        name="2000 steps",
        run=whitebox.many_steps,
        kind="strength",
        meaning="more steps break more",
    ),
    Row(
        number="6",
        name="falls with ε",
        run=whitebox.monotone,
        kind="masking",
        meaning="the accuracy rises with ε",
    ),
    Row(
        number="7",
        name="targeted, all classes",
        run=whitebox.targeted,
        kind="strength",
        meaning="aiming at every class breaks more",
    ),
    Row(
        number="3.3",
        name="many small steps",
        run=whitebox.small_steps,
        kind="strength",
        meaning="many small steps break more",
    ),
    Row(
        number="3.3",
        name="raw gradient",
        run=whitebox.raw_gradient,
        kind="strength",
        meaning="steps along the raw gradient break more",
    ),
    Row(
        number="3.3",
        name="ℓ2 steps",
        run=whitebox.euclidean,
        kind="strength",
        meaning="steps in another norm break more",
    ),
    Row(
        number="8",
        name="brute force",
        run=blackbox.brute_force,
        kind="strength",
        meaning="random noise breaks what gradients do not",
    ),
    Row(
        number="9",
        name="smallest distortion",
        run=distortion.smallest_distortion,
        kind="strength",
        meaning="images break at no larger distortion than the base's",
        essential=False,
    ),
    Row(
        number="10",
        name="ZOO",
        run=blackbox.zoo,
        kind="strength",
        meaning="finite differences break what gradients do not",
    ),
    Row(
        number="10",
        name="HopSkipJump",
        run=blackbox.decisions,
        kind="strength",
        meaning="an attack on decisions alone breaks what gradients do not",
    ),
    Row(
        number="11",
        name="transfer",
        run=blackbox.transfer,
        kind="strength",
        meaning="examples of another network break what gradients do not",
        essential=False,
    ),
    Row(
        number="12",
        name="transfer from origin",
        run=blackbox.semi_black_box,
        kind="strength",
        meaning="examples of the network it started from break what gradients do not",
        essential=False,
    ),
    Row(
        number="A",
        name="zero gradients",
        run=detectors.vanishing_gradients,
        kind="masking",
        meaning="the loss has no gradient to climb",
    ),
    Row(
        number="B",
        name="false gradients",
        run=detectors.disagreement,
        kind="masking",
        meaning="the gradient is not the slope of the loss",
    ),
    Row(
        number="C",
        name="saturated outputs",
        run=detectors.saturated_outputs,
        kind="masking",
        meaning="the outputs are saturated and blind the loss",
    ),
    Row(
        number="D",
        name="stochastic outputs",
        run=detectors.stochastic_outputs,
        kind="masking",
        meaning="the model answers at random",
    ),
    Row(
        number="E",
        name="loss rises",
        run=detectors.loss_rises,
        kind="masking",
        meaning="the loss does not rise along the attack",
    ),
    Row(
        number="F",
        name="no way back",
        run=detectors.turns_back,
        kind="masking",
        meaning="images fall on the way of a step and are right again at its end",
    ),
    Row(
        number="G",
        name="step size",
        run=detectors.step_size,
        kind="masking",
        meaning="another step size breaks much more",
    ),
    Row(
        number="H",
        name="planted example",
        run=planted.planted,
        kind="masking",
        meaning="the attack misses an adversarial example that was planted",
    ),
    # these two look at what all others have found
    Row(
        number="I",
        name="claim holds",
        run=detectors.claim_falls,
        kind="masking",
        meaning="stronger attacks break more than half of what the claim leaves",
    ),
    Row(
        number="J",
        name="no black box wins",
        run=blackbox.black_box_wins,
        kind="masking",
        meaning="black boxes break much that no gradient attack does",
    ),
)


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
    with evaluating(model):
        bench = Bench(
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
        state = _fingerprint(bench)
        for row in TABLE:
            check = _recorded(row, bench, state)
            checks.append(check)
            done(check)
    return _judged(bench, checks, required)


def _claim(attacks: Mapping[str, Attack]) -> str | None:
    """The name of the attack whose accuracy is claimed."""
    if CLAIM in attacks:
        return CLAIM
    return next((name for name, attack in attacks.items() if isinstance(attack, PGD)), None)


def _absent(name: str, reason: str) -> Check:
    return Check(
        number="0",
        name=name,
        kind="strength",
        essential=True,
        meaning="",
        status="could not run",
        measured={},
        reason=reason,
    )


def _judged(bench: Bench, checks: list[Check], required: float | None) -> Checklist:
    claimed = (
        Figure(accuracy=bench.accuracy(bench.claimed), attack=bench.claim_name)
        if bench.claim_name
        else None
    )
    strongest = Figure(accuracy=bench.evaluation.worst[bench.eps], attack=bench.strongest_attack)
    verdict = judge(claimed, strongest, checks, threat=str(bench.threat), required=required)
    return Checklist(
        budget=bench.budget.name,
        eps=bench.eps,
        checks=checks,
        claimed=claimed,
        strongest=strongest,
        evaluation=bench.evaluation,
        verdict=verdict,
    )


def _fingerprint(bench: Bench) -> str:
    """Of everything that decides what a check finds, beside the check itself."""
    known = {
        "eps": bench.eps,
        "seed": bench.seed,
        "budget": described(bench.budget),
        "claim": bench.claim_name,
        "broken_at": [str(eps) for eps in bench.evaluation.broken_at.tolist()],
        "broken_by": bench.evaluation.broken_by,
        "others": described([bench.source, bench.base, bench.origin]),
    }
    return sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _recorded(row: Row, bench: Bench, state: str) -> Check:
    """The check from the journal with what it broke, or run now."""
    key = json.dumps({"check": row.number, "name": row.name, "state": state})
    for record in bench.journal.records(key):
        for found in record["broken"]:
            bench.note(**found)
        return Check(**record["check"])
    with bench.noting() as broken:
        check = run(row, bench)
    if check.status in ("pass", "fail"):
        bench.journal.append(key, {"check": asdict(check), "broken": broken})
        bench.journal.flush()
    return check


def run(row: Row, bench: Bench) -> Check:
    """One check."""
    started = time.monotonic()
    finding: Finding | None = None
    status: Status = "could not run"
    reason = ""
    try:
        finding = row.run(bench)
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
