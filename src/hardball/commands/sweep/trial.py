"""One trial of a sweep: trained, probed and judged; trial.json beside the run's own files."""

import json
import math
import re
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from rich.console import Console

from hardball import names, storage
from hardball.commands.sweep.grid import ProbePlan
from hardball.commands.sweep.settings import complete
from hardball.commands.train import TrainConfig, train
from hardball.data import DATASETS, Dataset, load_dataset
from hardball.errors import Damaged, StorageError, UserError
from hardball.evaluation import evaluate, protocols
from hardball.evaluation.sanity import Doubt
from hardball.presets import Values, merged
from hardball.runs import COLLAPSED, INTERRUPTED, NON_FINITE, Run, RunFolder, write_json
from hardball.training.curricula.adaptive import ABOVE_CHANCE, MASKED
from hardball.training.fit import describe, fingerprint

SCHEMA = 1
"""Of trial.json."""

Status = Literal["learned", "masked", "collapsed", "failed"]
STATUSES: tuple[Status, ...] = ("learned", "masked", "collapsed", "failed")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is trained."""

    name: str
    """Its own settings, in short."""
    own: Values
    """What it has of its own, as the file writes it."""
    values: Values
    """Everything asked for, nested (see `TrainConfig.of`)."""
    identity: str
    """The same for trials that ask for the same weights, however they are written."""
    trusted: bool
    """Code outside hardball that the file names may run."""

    @classmethod
    def of(cls, base: Values, own: Values, *, trusted: bool) -> Self:
        """The trial with these settings.

        Raises:
            UserError: settings that are refused, or that contradict each other.
        """
        values = complete(base, own, trusted=trusted)
        config = TrainConfig.of(values, trusted=trusted)
        names.find("data set", config.data.name, DATASETS, trusted=trusted)
        config.settings.check_target(config.curriculum.largest)
        return cls(
            name=" ".join(f"{key}={_short(value)}" for key, value in own.items()) or "base",
            own=own,
            values=values,
            identity=_identity(config),
            trusted=trusted,
        )

    def config(self, out: Path) -> TrainConfig:
        """As a training in this folder, whose end the sweep probes by itself."""
        values = merged({"machine": {"final_probe": 0}}, {**self.values, "out": out})
        return TrainConfig.of(values, trusted=self.trusted)

    def folder(self, sweep: Path) -> Path:
        """Its run: the one that is there, by its identity, or where it will be."""
        there = sorted(sweep.glob(f"*-{self.identity[:12]}"))
        if there:
            return there[0]
        readable = re.sub(r"[^\w.=+]+", "-", self.name.replace(" ", ",")).strip("-")[:80]
        return sweep / f"{readable}-{self.identity[:12]}"


def _identity(config: TrainConfig) -> str:
    about = {
        "data": {"name": config.data.name},
        "model": config.model.spec(config.data.name, (), 0),
    }
    return fingerprint(describe(config.curriculum, config.settings, about))


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "+".join(f"{key}={_short(inner)}" for key, inner in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a trial."""

    name: str
    identity: str
    own: Values
    status: Status
    reason: str = ""
    """Why it was not learned."""
    eps: float | None = None
    """ε that the weights were trained at."""
    epochs: int = 0
    sample_steps: int = 0
    seconds: float = 0.0
    n: int = 0
    """Images of the figures below, of those that the training held out."""
    clean: float | None = None
    trained: float | None = None
    """Accuracy under the training attack."""
    probe: float | None = None
    """… and under the stronger ones."""

    @property
    def settled(self) -> bool:
        """Training it again would give the same."""
        return self.status != "failed" or self.reason == NON_FINITE


def result_file(folder: Path) -> Path:
    return folder / "trial.json"


def read_result(trial: Trial, folder: Path) -> Result | None:
    """What came of a trial that has ended; None for any other."""
    path = result_file(folder)
    if not path.is_file():
        return None
    try:
        found = json.loads(storage.read_bytes(path, "trial"))
        if found.pop("schema") != SCHEMA or found["identity"] != trial.identity:
            return None
        return replace(Result(**found), name=trial.name, own=trial.own)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # made again from the run, which is there


def run_trial(
    trial: Trial,
    folder: Path,
    probe: ProbePlan,
    *,
    deadline: float = math.inf,
    console: Console | None = None,
) -> Result | None:
    """Train, or take up, and judge.

    Args:
        deadline: seconds of `time.time()` after which it does not begin.

    Returns:
        What came of it, in trial.json too; None if it did not begin or was interrupted.

    Raises:
        StorageError: a disk that cannot be written to, which is no fault of the trial.
    """
    if time.time() >= deadline:
        return None
    try:
        there = RunFolder(folder).config_file.exists()
        run = train(trial.config(folder), resume=there, console=console)
        if run.outcome is not None and run.outcome.status == INTERRUPTED:
            return None
        result = _judged(trial, run, probe)
    except StorageError as error:
        if not isinstance(error, Damaged):
            raise
        result = _failed(trial, error)
    except Exception as error:  # whatever a setting does, the others are tried
        result = _failed(trial, error)
    write_json(result_file(folder), {"schema": SCHEMA, **asdict(result)})
    return result


def _failed(trial: Trial, error: Exception) -> Result:
    text = " ".join(str(error).split()) or type(error).__name__
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return Result(
        name=trial.name,
        identity=trial.identity,
        own=trial.own,
        status="failed",
        reason=f"{kind}{text}"[:500],
    )


def _judged(trial: Trial, run: Run, probe: ProbePlan) -> Result:
    """By its outcome, and where it was not stuck by what a stronger attack leaves."""
    outcome = run.outcome
    assert outcome is not None
    found = Result(
        name=trial.name,
        identity=trial.identity,
        own=trial.own,
        status="collapsed",
        eps=outcome.eps,
        epochs=outcome.epochs,
        sample_steps=outcome.sample_steps,
        seconds=round(outcome.seconds, 1),
    )
    if outcome.status == NON_FINITE:
        return replace(found, status="failed", reason=NON_FINITE)
    if outcome.status == COLLAPSED:
        return replace(found, reason="the loss stayed at that of a constant prediction")
    config = trial.config(Path("unused"))
    held = _held_out(config).rows(slice(0, probe.n))
    chance = float(torch.bincount(held.labels).max()) / len(held) + ABOVE_CHANCE
    clean, trained, probed = _measured(run, config, held, outcome.eps, probe)
    found = replace(found, n=len(held), clean=clean, trained=trained, probe=probed)
    if trained < chance:
        return replace(found, reason=f"{trained:.1%} under its own attack, no more than chance")
    if probed < max(MASKED * trained, chance):
        said = f"{trained:.1%} under its own attack, {probed:.1%} under {', '.join(probe.attacks)}"
        return replace(found, status="masked", reason=said)
    return replace(found, status="learned")


def _held_out(config: TrainConfig) -> Dataset:
    """What the training held out: a sweep chooses settings, so it sees no test image."""
    data = load_dataset(config.data.name, config.data.root, "train", trust=config.trust)
    return config.settings.hold_out(data)[1]


def _measured(
    run: Run, config: TrainConfig, held: Dataset, eps: float, probe: ProbePlan
) -> tuple[float, float, float]:
    """Accuracy on clean images, under the training attack, and under the probe's as well."""
    own, norm = config.settings.attack, config.settings.norm
    images = held.to(next(run.model.parameters()).device)
    with warnings.catch_warnings(action="ignore", category=Doubt):  # the figures are for a table
        if eps == 0:
            clean = evaluate(run.model, images, eps=0.0, attacks=protocols.quick).clean.value
            return clean, clean, clean
        training = {"training": own.at(eps)}
        first = evaluate(run.model, images, eps=eps, attacks=training, norm=norm)
        every = {**training, **protocols.named(probe.attacks)}
        more = evaluate(run.model, images, eps=eps, attacks=every, norm=norm)
    return first.clean.value, first.worst[eps].value, more.worst[eps].value


def rooted(base: Values, root: Path | None) -> Values:
    """The settings with the data elsewhere."""
    if root is None:
        return base
    named = base.get("data")
    group = {"name": named} if isinstance(named, str) else (named or {})
    without = {k: v for k, v in base.items() if k not in ("data", "data_root", "data-root")}
    return merged(
        without, {"data": {**group, "root": str(root)}} if group else {"data_root": str(root)}
    )
