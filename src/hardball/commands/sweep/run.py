"""A sweep: every trial of a grid trained and judged, one after another or on Ray, and one table.

Trials are ordinary runs, found again by their identity: one that has ended is not repeated, one that
was killed goes on, whoever ran it before.
"""

import json
import math
import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from hardball import environment, storage
from hardball.commands.cost import most_sample_steps, speed_of
from hardball.commands.sweep.grid import Grid, read_grid
from hardball.commands.sweep.trial import (
    STATUSES,
    Result,
    Trial,
    read_result,
    result_file,
    rooted,
    run_trial,
)
from hardball.commands.train import TrainConfig, fresh
from hardball.data import Dataset, load_dataset
from hardball.errors import UserError
from hardball.evaluation import protocols
from hardball.perf import keep_memory
from hardball.report.sweep_tables import sweep_text
from hardball.runs import write_json
from hardball.training.curricula.adaptive import Adaptive
from hardball.training.curricula.base import check_course
from hardball.training.steered import check_search

SCHEMA = 1
"""Of sweep.json."""
MEASURED = 0.5
"""Seconds for which the speed of each network is measured."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Which trials, where they go, and how they are run."""

    grid: Path = field(kw_only=False)
    """YAML file of the sweep."""
    out: Path | None = None
    """Folder for the trials and the table; by default runs/ and the file's name."""
    data_root: Path | None = None
    """Where the data is, if not where the file says."""
    hours: float | None = None
    """Begin no trial after so many hours; the same command does the rest later."""
    again: bool = False
    """Run the trials again that ended in an error."""
    ray_address: str | None = None
    """Address of a Ray cluster; by default one on this machine, for as long as the sweep lasts."""
    cpus: float = 1.0
    """Cores that a trial gets on Ray."""
    gpus: float = 0.0
    """GPUs that a trial gets on Ray, e.g. 0.25."""
    trust_model_code: bool = False
    """Let code outside hardball run that the file names."""

    def __post_init__(self) -> None:
        for name, least in (("cpus", 0), ("gpus", 0), ("hours", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise UserError(f"`{name}={value}`; allowed is {least} or more")

    @property
    def folder(self) -> Path:
        return self.out or Path("runs") / self.grid.stem


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A trial, its folder, and what is known of it."""

    trial: Trial
    folder: Path
    result: Result | None
    sample_steps: int
    """If nothing ends it early."""
    seconds: float
    """The same, at the speed measured."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All trials of a sweep, seen to be possible."""

    grid: Grid
    content: Mapping[str, Any]
    """Of the file."""
    trials: list[Planned]

    @property
    def due(self) -> list[Planned]:
        return [one for one in self.trials if one.result is None]

    @property
    def seconds(self) -> float:
        """Of what is due, one after another."""
        return sum(one.seconds for one in self.due)


def plan(config: SweepConfig) -> Plan:
    """The trials of a grid, each seen to be possible before anything starts, with its cost.

    Raises:
        UserError: a mistake in the file; a trial whose settings are refused or contradict each other;
            two trials that are the same; data that are not there.
        Untrusted: the file names code outside hardball.
    """
    grid, content = read_grid(config.grid)
    return planned(grid, content, config)


def planned(grid: Grid, content: Mapping[str, Any], config: SweepConfig) -> Plan:
    """The same, of a grid that is read already."""
    protocols.named(grid.probe.attacks)
    base = rooted(grid.base, config.data_root)
    trials = [
        _named(own, number, partial(Trial.of, base, own, trusted=config.trust_model_code))
        for number, own in enumerate(grid.own_settings(), 1)
    ]
    _refuse_twins(trials)
    checked = _Checked()
    found = []
    for number, trial in enumerate(trials, 1):
        steps, speed = _named(trial.own, number, partial(checked.cost, trial))
        folder = trial.folder(config.folder)
        result = read_result(trial, folder)
        if result is not None and config.again and not result.settled:
            result_file(folder).unlink()
            result = None
        due = Planned(
            trial=trial, folder=folder, result=result, sample_steps=steps, seconds=steps / speed
        )
        found.append(due)
    return Plan(grid=grid, content=content, trials=found)


def _named(own: Mapping[str, Any], number: int, make: Callable[[], Any]) -> Any:
    """What `make` gives; its errors say which trial they are about."""
    try:
        return make()
    except UserError as error:
        shown = ", ".join(f"{key}={value}" for key, value in own.items())
        raise type(error)(f"trial {number} ({shown}): {error}") from error


def _refuse_twins(trials: Sequence[Trial]) -> None:
    seen: dict[str, Trial] = {}
    for trial in trials:
        first = seen.setdefault(trial.identity, trial)
        if first is not trial:
            raise UserError(
                f"the trials {first.name!r} and {trial.name!r} are the same training (where it runs "
                "changes nothing); remove one of them"
            )


class _Checked:
    """Data, networks and speeds of trials, each looked at once."""

    def __init__(self) -> None:
        self.data: dict[tuple[str, str], Dataset] = {}
        self.speeds: dict[str, float] = {}

    def cost(self, trial: Trial) -> tuple[int, float]:
        """Sample-steps, and sample-steps per second.

        Raises:
            UserError: data or a network that cannot be had, or a curriculum they do not allow.
        """
        config = trial.config(Path("unused"))
        machine = config.settings.machine
        if machine.devices * machine.num_nodes > 1:
            raise UserError(
                f"devices={machine.devices}, num_nodes={machine.num_nodes} in a sweep, whose trials are "
                "one process each; leave them out and run several trials at once with ray"
            )
        place = (config.data.name, str(config.data.root))
        if place not in self.data:
            self.data[place] = load_dataset(*place, "train", trust=config.trust)
        images = self.data[place]
        held = config.settings.held_of(len(images))
        if held >= len(images):
            raise UserError(f"validation={held} of {len(images)} training images; hold out fewer")
        curriculum = config.curriculum
        if isinstance(curriculum, Adaptive):
            check_search(curriculum, config.settings, len(images) - held, held)
        else:
            check_course(curriculum)
        return most_sample_steps(config, len(images) - held), self._speed(config, images)

    def _speed(self, config: TrainConfig, images: Dataset) -> float:
        spec = config.model.spec(config.data.name, images.shape, images.classes)
        key = repr(spec)
        if key not in self.speeds:
            fresh({"model": spec}, 0, trust=config.trust)  # arguments that it refuses
            self.speeds[key] = speed_of(config, images, seconds=MEASURED)
        return self.speeds[key]


Remote = Callable[[Plan, SweepConfig, float, Callable[[Result], object]], bool]
"""Runs what is due elsewhere, hands over each result; False if it was interrupted."""


def sweep(
    plan: Plan, config: SweepConfig, console: Console, remote: Remote | None = None
) -> dict[str, Any]:
    """Run what is due, and write sweep.json and sweep.txt after each trial.

    Args:
        plan: of `config`.
        console: where progress is shown.
        remote: what runs the trials (see `on_ray`); by default one after another, here.

    Returns:
        The content of sweep.json.

    Raises:
        UserError: another process runs this sweep.
        StorageError: the folder cannot be written.
    """
    busy = (
        f"another process runs the sweep in {config.folder}; wait for it, or choose another `out`"
    )
    deadline = math.inf if config.hours is None else time.time() + 3600 * config.hours
    results = {one.trial.identity: one.result for one in plan.trials if one.result is not None}
    with storage.locked(config.folder / "lock", busy):

        def keep(result: Result) -> None:
            results[result.identity] = result
            _write(plan, config, results)
            said = f": {result.reason}" if result.reason else ""
            console.print(
                f"{len(results)}/{len(plan.trials)} {result.name}: {result.status}{said}",
                soft_wrap=True,
                highlight=False,
            )

        _write(plan, config, results)
        (remote or one_by_one)(plan, config, deadline, keep)
        return _write(plan, config, results)


def one_by_one(
    plan: Plan, config: SweepConfig, deadline: float, keep: Callable[[Result], object]
) -> bool:
    """The trials that are due, in this process."""
    keep_memory()
    for one in plan.due:
        result = run_trial(one.trial, one.folder, plan.grid.probe, deadline=deadline)
        if result is None:
            return False
        keep(result)
    return True


def _write(plan: Plan, config: SweepConfig, results: Mapping[str, Result]) -> dict[str, Any]:
    folders = {one.trial.identity: one.folder.name for one in plan.trials}
    ended = [results[one.trial.identity] for one in plan.trials if one.trial.identity in results]
    counts = Counter(one.status for one in ended)
    found = {
        "schema": SCHEMA,
        "kind": "sweep",
        "grid": plan.content,
        "counts": {status: counts[status] for status in STATUSES},
        "unfinished": [o.trial.name for o in plan.trials if o.trial.identity not in results],
        "probe": asdict(plan.grid.probe),
        "trials": [
            asdict(one) | {"folder": folders[one.identity]} for one in sorted(ended, key=_place)
        ],
        "command": f"hardball sweep {shlex.quote(str(config.grid))}",
        "machine": environment.facts(),
    }
    write_json(config.folder / "sweep.json", found)
    storage.write_atomically(config.folder / "sweep.txt", sweep_text(found).encode())
    return found


def _place(result: Result) -> tuple[int, float, str]:
    """What was learned first, the best of it at the top."""
    return STATUSES.index(result.status), -(result.probe or 0.0), result.name


def read_sweep(folder: Path) -> dict[str, Any]:
    """The content of sweep.json."""
    found: dict[str, Any] = json.loads(storage.read_bytes(folder / "sweep.json", "sweep"))
    return found
