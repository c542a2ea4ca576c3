"""Appendix B: the budget's grid as a sweep."""

from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from hardball.commands.reproduce.config import ReproduceConfig
from hardball.commands.sweep.grid import Grid
from hardball.commands.sweep.run import Plan, SweepConfig, planned, sweep
from hardball.storage import write_atomically


def sweep_plan(config: ReproduceConfig, folder: Path) -> Plan:
    """Its trials; those in the folder that have ended are not done again."""
    tried = config.tried
    return planned(Grid.of(tried), tried, _asked(config, folder))


def swept(config: ReproduceConfig, folder: Path, console: Console) -> dict[str, Any]:
    """What came of the trials, which are in the folder; grid.yaml there is for `hardball sweep`."""
    text = yaml.safe_dump(config.tried, sort_keys=False, allow_unicode=True)
    write_atomically(folder / "grid.yaml", text.encode())
    found = sweep(sweep_plan(config, folder), _asked(config, folder), console)
    if found["unfinished"]:
        raise KeyboardInterrupt
    return found


def _asked(config: ReproduceConfig, folder: Path) -> SweepConfig:
    return SweepConfig(folder / "grid.yaml", out=folder, data_root=config.data_root)
