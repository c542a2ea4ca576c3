"""`hardball sweep GRID`: many trainings at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hardball.cli.flags import about
from hardball.cli.parsing import Parser
from hardball.cli.terminal import answered, terminal
from hardball.commands.sweep.remote import on_ray
from hardball.commands.sweep.run import Plan, Planned, SweepConfig, plan
from hardball.commands.sweep.run import sweep as run_all
from hardball.report.sweep_tables import sweep_table


def sweep(words: Sequence[str]) -> int:
    """Train every trial of a grid, end those early that are stuck, and make one table of them.

    GRID is a YAML file (docs/sweep.md). Killed or interrupted, the sweep goes on when the same command
    is given again, with or without Ray.
    """
    parser = Parser("sweep", "GRID", description=about(sweep))
    parser.add_argument("grid", type=Path, help="YAML file: base, axes, trials, sample, probe")
    parser.add_class_arguments(SweepConfig, None, skip={"grid"}, fail_untyped=False)
    parser.add_argument("--ray", action="store_true", help="each trial is a task on Ray")
    parser.add_argument("--list", action="store_true", help="show trials and cost, and end")
    values = parser.parsed(words)
    ray, only_list = values.pop("ray"), values.pop("list")
    config = SweepConfig(values.pop("grid"), **values)
    console = terminal()
    found = plan(config)
    if only_list and answered({"trials": [_shown(one) for one in found.trials]}):
        return 0
    if only_list:
        console.print(_trials(found))
    _show_cost(found, console)
    if only_list:
        return 0
    result = run_all(found, config, console, on_ray if ray else None)
    if not answered(result):
        console.print(sweep_table(result))
        console.print(f"{config.folder}/sweep.txt", soft_wrap=True, highlight=False)
    if result["unfinished"] and config.hours is None:
        return 130
    return 0


def _shown(one: Planned) -> dict[str, Any]:
    ended = None if one.result is None else one.result.status
    cost = {"sample_steps": one.sample_steps, "seconds": one.seconds}
    return {"name": one.trial.name, "own": one.trial.own, "ended": ended, **cost}


def _trials(found: Plan) -> Table:
    table = Table(title="Trials", title_justify="left")
    for name in ("trial", "ended", "sample-steps", "minutes"):
        justify = "left" if name in ("trial", "ended") else "right"
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for one in found.trials:
        ended = "" if one.result is None else one.result.status
        table.add_row(one.trial.name, ended, f"{one.sample_steps:,}", f"{one.seconds / 60:.1f}")
    return table


def _show_cost(found: Plan, console: Console) -> None:
    steps = sum(one.sample_steps for one in found.due)
    console.print(
        f"{len(found.due)} of {len(found.trials)} trials to run: at most {steps:,} sample-steps, "
        f"{found.seconds / 60:.1f} minutes one after another (measured now); what is stuck ends early",
        soft_wrap=True,
        highlight=False,
    )
