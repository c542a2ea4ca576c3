"""The trainings that recipes need: what they cost here, and how they went."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console

from hardball.commands.cost import most_sample_steps, speed_of
from hardball.commands.reproduce.config import ReproduceConfig
from hardball.commands.reproduce.from_zoo import placed, refuse_epochs, told
from hardball.commands.reproduce.sweeps import sweep_plan
from hardball.commands.train import TrainConfig, train
from hardball.data import Dataset, load_dataset
from hardball.errors import UserError
from hardball.extras import require
from hardball.presets import Values, merged, short_flags
from hardball.reproduction import Planned, Training, plan
from hardball.reproduction.parts import Sweep
from hardball.runs import COLLAPSED, INTERRUPTED, NON_FINITE, RunFolder


@dataclass(frozen=True, kw_only=True)
class Due:
    """A training that is still to be done."""

    name: str
    sample_steps: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is to be done, at the speed measured."""

    planned: Planned
    due: list[Due]

    @property
    def seconds(self) -> float:
        return sum(one.seconds for one in self.due)

    @property
    def sample_steps(self) -> int:
        return sum(one.sample_steps for one in self.due)


def estimate(config: ReproduceConfig) -> Estimate:
    """The trainings that are not there yet, with their cost on this machine.

    Raises:
        MissingExtra: matplotlib is not installed.
        UserError: an unknown name or budget, data that are not there, a run of other settings or one
            that ended without weights, epochs asked of the zoo, or more than `hours`.
    """
    require("the paper's figures need", "matplotlib")
    planned = plan(config.names, config.size.without)
    refuse_epochs(config, planned)
    # all data are looked at first: nothing starts where some of them are missing
    sides = {training.on for training in planned.trainings.values()}
    images = {on: load_dataset(*config.data_of(on), "train") for on in sorted(sides)}
    due = _trainings_due(config, planned, images)
    for name, recipe in planned.recipes.items():
        if any(isinstance(part, Sweep) for part in recipe.parts.values()):
            trials = sweep_plan(config, config.out / name).due
            steps = sum(one.sample_steps for one in trials)
            seconds = sum(one.seconds for one in trials)
            if trials:
                said = f"{name}: {len(trials)} trials, at most"
                due.append(Due(name=said, sample_steps=steps, seconds=seconds))
    found = Estimate(planned=planned, due=due)
    if config.hours is not None and found.seconds > config.hours * 3600:
        raise UserError(
            f"`hours={config.hours:g}`, but the trainings take {found.seconds / 3600:.1f} h at the speed "
            "measured now; allow more, or choose another `budget`"
        )
    return found


def _trainings_due(
    config: ReproduceConfig, planned: Planned, images: dict[Any, Dataset]
) -> list[Due]:
    """Those without an outcome, at the speed of the first of them on each data set."""
    speeds: dict[str, float] = {}
    due = []
    for name, training in planned.trainings.items():
        if config.entry(name) or RunFolder(config.folder(name)).outcome_file.exists():
            continue
        asked = TrainConfig.of(_asked(config, training))
        if training.on not in speeds:
            speeds[training.on] = speed_of(asked, images[training.on])
        steps = most_sample_steps(asked, len(images[training.on]))
        due.append(Due(name=name, sample_steps=steps, seconds=steps / speeds[training.on]))
    return due


def _asked(config: ReproduceConfig, training: Training) -> Values:
    name, root = config.data_of(training.on)
    return merged(
        config.on_machine(training.values(config.size)), {"data": {"name": name, "root": root}}
    )


def trained(
    config: ReproduceConfig, name: str, training: Training, console: Console
) -> dict[str, Any]:
    """Train, or take up, or find again, or take from the zoo; how it went."""
    folder = config.folder(name)
    console.print(f"\n{name}", style="bold", highlight=False)
    wanted = TrainConfig.of({**_asked(config, training), "out": folder})
    if config.entry(name):
        return placed(config, name, training, wanted)
    origin = None if training.start is None else config.folder(training.start)
    run = train(
        wanted,
        origin=origin,
        resume=RunFolder(folder).config_file.exists(),
        console=console,
    )
    outcome = run.outcome
    assert outcome is not None
    if outcome.status == INTERRUPTED:  # nothing is measured on weights that are not finished
        raise KeyboardInterrupt
    verb = f"extend {training.start}" if training.start else "train"
    flags = short_flags(config.on_machine(training.values(config.size)))
    return told(outcome, f"hardball {verb} {flags} --out {name}", training.seed)


def without_weights(config: ReproduceConfig, training: Training) -> str | None:
    """Why it cannot be trained: what it is extended from has no weights to start from."""
    if training.start is None:
        return None
    origin = config.folder(training.start)
    outcome = RunFolder(origin).outcome()
    if outcome is None:
        return f"{origin} could not be trained"
    if outcome.status not in (COLLAPSED, NON_FINITE):
        return None
    return (
        f"{origin} ended as {outcome.status} ({outcome.message}); what is extended from it would start "
        "from nothing: remove it to train it again, or choose another `budget`"
    )
