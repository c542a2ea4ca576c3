"""The trainings that recipes need: what they cost here, and how they went."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from hardball.commands.cost import speed_of
from hardball.commands.reproduce.config import ReproduceConfig
from hardball.commands.train import TrainConfig, train
from hardball.data import load_dataset
from hardball.errors import UserError
from hardball.presets import merged, short_flags
from hardball.reproduction import Planned, Training, plan
from hardball.reproduction.plan import sample_steps
from hardball.runs import COLLAPSED, NON_FINITE, RunFolder


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
    speed: float
    """Sample-steps per second."""

    @property
    def seconds(self) -> float:
        return sum(one.seconds for one in self.due)


def estimate(config: ReproduceConfig) -> Estimate:
    """The trainings that are not there yet, with their cost on this machine.

    Raises:
        UserError: an unknown name or budget, data that are not there, a run of other settings or one
            that ended without weights, or more than `hours`.
    """
    planned = plan(config.names, config.size.without)
    size = config.size
    configs = {name: _config(config, training) for name, training in planned.trainings.items()}
    due: list[Due] = []
    speed = 0.0
    if configs:
        images = load_dataset(size.data, config.data_root, "train")
        left = [name for name in configs if not _finished(config.folder(name))]
        speed = speed_of(configs[left[0]], images) if left else 0.0
        for name in left:
            steps = sample_steps(
                configs[name].curriculum, configs[name].settings.attack.pgd, len(images)
            )
            due.append(Due(name=name, sample_steps=steps, seconds=steps / speed))
    found = Estimate(planned=planned, due=due, speed=speed)
    if config.hours is not None and found.seconds > config.hours * 3600:
        raise UserError(
            f"`hours={config.hours:g}`, but the trainings take {found.seconds / 3600:.1f} h at "
            f"{speed:,.0f} sample-steps/s; allow more, or choose another `budget`"
        )
    return found


def _config(config: ReproduceConfig, training: Training) -> TrainConfig:
    values = merged(training.values(config.size), {"data": {"root": config.data_root}})
    return TrainConfig.of(values)


def _finished(folder: Path) -> bool:
    return RunFolder(folder).outcome_file.exists()


def trained(
    config: ReproduceConfig, name: str, training: Training, console: Console
) -> dict[str, Any]:
    """Train, or take up, or find again; how it went."""
    folder = config.folder(name)
    asked = merged(training.values(config.size), {"data": {"root": config.data_root}})
    console.print(f"\n{name}", style="bold", highlight=False)
    origin = None if training.start is None else config.folder(training.start)
    if origin is not None:
        _refuse_without_weights(origin)
    run = train(
        TrainConfig.of({**asked, "out": folder}),
        origin=origin,
        resume=RunFolder(folder).config_file.exists(),
        console=console,
    )
    outcome = run.outcome
    assert outcome is not None
    verb = f"extend {training.start}" if training.start else "train"
    return {
        "command": f"hardball {verb} {short_flags(training.values(config.size))} --out {name}",
        "status": outcome.status,
        "epochs": outcome.epochs,
        "eps": outcome.eps,
        "sample_steps": outcome.sample_steps,
        "minutes": round(outcome.seconds / 60, 1),
        "seed": training.seed,
    }


def _refuse_without_weights(origin: Path) -> None:
    outcome = RunFolder(origin).outcome()
    if outcome is not None and outcome.status in (COLLAPSED, NON_FINITE):
        raise UserError(
            f"{origin} ended as {outcome.status} ({outcome.message}); what is extended from it would "
            "start from nothing: remove it to train it again, or choose another `budget`"
        )
