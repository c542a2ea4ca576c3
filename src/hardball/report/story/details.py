"""Settings, versions and cost."""

from collections.abc import Mapping
from typing import Any

import yaml

from hardball.report.blocks import Listing, Section, Table
from hardball.report.results import RunResults
from hardball.report.story.naming import Runs

LONGEST = 40
"""Characters of a fact: as many as a commit has."""


def details(runs: Runs) -> Section:
    """Settings, versions and cost."""
    columns = [_facts(run) for run in runs]
    rows = [[what, *(facts[what] for facts in columns)] for what in columns[0]]
    settings = [
        Listing(
            title=f"{run.name}: config.yaml",
            text=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
        )
        for run in runs
    ]
    table = Table(columns=["", *(run.name for run in runs)], rows=rows, words=True)
    return Section(
        title="Settings, versions, cost",
        text="A sample-step is one image through one forward pass and input gradient of an attack.",
        blocks=[table, *settings],
    )


def _facts(run: RunResults) -> dict[str, str]:
    """What it cost, and what it ran on."""
    outcome, e = run.outcome, run.evaluation or {}
    machine = e.get("machine") or {}
    steps = [one["backwards"] for one in [*e.get("scores", []), *_checks(e)]]
    return {
        "training, sample-steps": f"{outcome.sample_steps:,}" if outcome else "",
        "training, time": duration(outcome.seconds) if outcome else "",
        "evaluation, sample-steps": f"{sum(steps):,}" if e else "",
        "evaluation, work": duration(e["seconds"]) if e else "",
        "trained by hardball": str(run.config.get("hardball", "")),
        **{
            f"evaluated: {name}": str(machine.get(name) or "")[:LONGEST]
            for name in ("hardball", "commit", "torch", "python", "processor", "cores")
        },
    }


def _checks(e: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return (e.get("checklist") or {}).get("checks") or []


def duration(seconds: float) -> str:
    """In the unit that fits."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
