"""An evaluation asked for by names: what `hardball evaluate` does."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from rich.progress import Progress

from hardball.commands.checklist import ChecklistConfig, refuse_untrusted, run_checklist
from hardball.commands.measure import MeasureConfig, Measured, Say, measure
from hardball.commands.subject import SubjectConfig
from hardball.evaluation.checks.verdict import Verdict
from hardball.places import Places


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What to evaluate, how, and with which checklist."""

    subject: SubjectConfig
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    checklist: ChecklistConfig = field(default_factory=ChecklistConfig)

    def __post_init__(self) -> None:
        self.measure.requirements  # noqa: B018  # seen to be well formed before anything long is done
        self.checklist.require_use(self.measure.with_checklist)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluated:
    """What came of it."""

    measured: Measured
    verdict: Verdict | None
    """The checklist's."""

    @property
    def exit_code(self) -> int:
        """1 if a requirement is missed or the verdict says so; else 0."""
        return int(not self.measured.meets or bool(self.verdict and self.verdict.exit_code))


def record(found: Evaluated) -> dict[str, Any]:
    """The content of evaluation.json."""
    content: dict[str, Any] = json.loads(Places.of(found.measured.path).evaluation.read_bytes())
    return content


def evaluate(
    config: EvaluateConfig,
    *,
    progress: Progress | None = None,
    say: Say = lambda line: None,
    measured: Callable[[Measured], object] = lambda found: None,
) -> Evaluated:
    """Measure, run the checklist where it is asked for, and write evaluation.json after each.

    Args:
        config: what is asked.
        progress: shows how far each attack has come.
        say: called with lines on what was done before, and on each finished check.
        measured: called with the measurement, before the checklist.

    Raises:
        UserError: see `measure` and `run_checklist`.
    """
    if config.measure.with_checklist:
        refuse_untrusted(config.checklist, config.subject)
    with ExitStack() as holding:
        found = measure(config.subject, config.measure, progress=progress, say=say, holding=holding)
        return _judged(config, found, progress, say, measured)


def _judged(
    config: EvaluateConfig,
    found: Measured,
    progress: Progress | None,
    say: Say,
    measured: Callable[[Measured], object],
) -> Evaluated:
    measured(found)
    if not config.measure.with_checklist:
        return Evaluated(measured=found, verdict=None)
    checked, found = run_checklist(
        found,
        config.checklist,
        how=config.measure,
        progress=progress,
        say=say,
    )
    return Evaluated(measured=found, verdict=checked.verdict)
