"""`hardball evaluate`."""

import sys
from collections.abc import Sequence
from dataclasses import fields
from textwrap import wrap
from typing import Any

from hardball.cli.parsing import Parser
from hardball.cli.terminal import answered, printable, terminal
from hardball.commands.checklist import ChecklistConfig
from hardball.commands.evaluate import EvaluateConfig, Evaluated, record
from hardball.commands.evaluate import evaluate as run_evaluation
from hardball.commands.measure import MeasureConfig
from hardball.commands.subject import SubjectConfig
from hardball.evaluation.workers import preload
from hardball.report.tables import evaluation_table
from hardball.time_left import bars

PARTS: dict[str, type[Any]] = {
    "subject": SubjectConfig,
    "measure": MeasureConfig,
    "checklist": ChecklistConfig,
}
"""The parts of `EvaluateConfig`; each field is a flag."""


def evaluate(argv: Sequence[str]) -> int:
    """Measure clean and robust accuracy of a run; prints the table and writes evaluation.json.

    Killed or interrupted, it continues when the same command is given again.
    """
    config = _parsed(argv)
    console = terminal()

    def say(line: str) -> None:
        console.print(printable(line), soft_wrap=True, highlight=False)

    if config.measure.processes > 1:
        preload()
    try:
        with bars(console) as progress:
            found = run_evaluation(
                config,
                progress=progress,
                say=say,
                measured=lambda one: console.print(
                    evaluation_table(
                        one.evaluation,
                        title=printable(config.subject.run.name),
                        width=console.width,
                    )
                ),
            )
    except KeyboardInterrupt:
        print("hardball: interrupted; the same command continues it", file=sys.stderr)
        return 130
    for line in _last_lines(found):
        say(line)
    answered(record(found))
    return found.exit_code


def _parsed(argv: Sequence[str]) -> EvaluateConfig:
    about = (evaluate.__doc__ or "").split("\n\n", maxsplit=1)[0]
    parser = Parser("evaluate", "RUN", description=" ".join(about.split()))
    parser.add_argument("--config", action="config", help="YAML file with any of these settings")
    for part in PARTS.values():
        parser.add_class_arguments(part, None, as_positional=True, instantiate=False)
    values = parser.parsed(argv)
    return EvaluateConfig(
        **{
            name: part(**{field.name: values[field.name] for field in fields(part)})
            for name, part in PARTS.items()
        }
    )


def _last_lines(found: Evaluated) -> list[str]:
    measured = found.measured
    lines = [requirement.line(measured.evaluation) for requirement in measured.require]
    if found.verdict is not None:
        lines.append("\n".join(wrap(found.verdict.sentence, 80)))
    return lines
