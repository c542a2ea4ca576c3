"""A run: a folder with everything one training made, and what came of it.

config.yaml           what was asked, enough to rebuild the model and to resume
metrics.csv           one row per epoch (and TensorBoard events)
weights.safetensors   the last good weights
outcome.json          how it ended
epochs/               the weights of some epochs, where asked for
state/                the two newest resume points
evaluation.json       written by `hardball evaluate`
witnesses.safetensors the images that prove it
evaluation.state/     what a killed evaluation continues from
"""

import csv
import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from hardball import models, names, storage
from hardball.errors import UserError

Config = dict[str, Any]

FINISHED, STOPPED, COLLAPSED, NON_FINITE, INTERRUPTED = (
    "finished",
    "stopped",
    "collapsed",
    "non-finite",
    "interrupted",
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a training ended."""

    status: str
    """finished; stopped (a sudden increase of the loss: the curriculum asked for more than could be
    learned); collapsed; non-finite; interrupted (resume it)."""
    message: str
    """What happened, at which ε, and what to try."""
    epochs: int
    """Epochs completed."""
    eps: float
    """ε that the kept weights were trained at."""
    sample_steps: int
    """Examples × attack steps: the cost."""
    seconds: float
    """Wall time over all parts of the run."""


@dataclass(frozen=True)
class RunFolder:
    """The files of a run, by name."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def weights_file(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def outcome_file(self) -> Path:
        return self.path / "outcome.json"

    @property
    def evaluation_file(self) -> Path:
        return self.path / "evaluation.json"

    def epoch_file(self, epoch: int) -> Path:
        """The weights after that many epochs."""
        return self.path / "epochs" / f"{epoch:05d}.safetensors"

    @property
    def state(self) -> Path:
        return self.path / "state"

    def create(self, config: Config) -> None:
        """Claim the folder for a new run.

        Raises:
            UserError: it holds a run, or something else, already.
        """
        self.refuse_if_taken()
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        storage.write_atomically(self.config_file, text.encode())

    def refuse_if_taken(self) -> None:
        """See `create`: asked early, before anything long is done."""
        if self.config_file.exists():
            raise UserError(
                f"{self.path} already holds a run; continue it with `resume={self.path}`, or "
                "choose another `out`"
            )
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"`out={self.path}` is a file; choose a folder")

    def config(self) -> Config:
        """What was asked of this run.

        Raises:
            UserError: no run here, or its config is damaged.
        """
        if not self.config_file.is_file():
            raise UserError(
                f"{self.path} is no run: it has no config.yaml; name a folder that training made"
            )
        try:
            config = yaml.safe_load(storage.read_bytes(self.config_file, "config"))
        except yaml.YAMLError as error:
            raise UserError(
                f"{self.config_file} is damaged: {str(error).splitlines()[0]}; restore it"
            ) from error
        if not isinstance(config, dict) or not all(
            isinstance(config.get(part) or {}, dict) for part in ("data", "model", "origin")
        ):
            raise UserError(f"{self.config_file} is no run's config; restore it")
        return config

    def outcome(self) -> Outcome | None:
        """How the run ended; None while it has not."""
        if not self.outcome_file.exists():
            return None
        return Outcome(**json.loads(storage.read_bytes(self.outcome_file, "outcome")))

    def write_outcome(self, outcome: Outcome) -> None:
        write_json(self.outcome_file, asdict(outcome))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process trains in a folder.

        Raises:
            UserError: another one does.
        """
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            lock = (self.state / "lock").open("w")
        except OSError as error:
            raise UserError(
                f"cannot write in {self.state}: {error.strerror}; choose a place that can be "
                "written to"
            ) from error
        with lock as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(
                    f"another process is training in {self.path}; wait for it, or choose another "
                    "`out`"
                ) from error
            yield


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Readable JSON, written atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    storage.write_atomically(path, text.encode())


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A trained model and where it came from."""

    model: nn.Module
    config: Config
    outcome: Outcome | None
    history: list[dict[str, float]]
    """One row of metrics per epoch."""
    folder: RunFolder | None


def model_from(config: Config, *, trust: bool = False) -> nn.Module:
    """The architecture a config names, with fresh weights.

    Args:
        config: of a run; its `model` has name, args, shape and classes.
        trust: the name may be one of code outside hardball: the user gave it, or trusts the file. A
            file alone makes nothing run but hardball's own networks.

    Raises:
        Untrusted: code outside hardball, without `trust`; nothing was imported.
        UserError: the config names none that can be built by name.
    """
    spec = config.get("model") or {}
    if not spec.get("name"):
        raise UserError(
            "this run's model was made in Python and has no name to rebuild it by; pass the network "
            "itself: load_run(path, model=network)"
        )
    if not trust:
        names.refuse_code("model", spec["name"])
    return models.build(spec["name"], spec["shape"], spec["classes"], spec.get("args"))


def read_metrics(folder: RunFolder) -> list[dict[str, float]]:
    """The rows of metrics.csv, without the fields that are empty; none before the first epoch is
    done."""
    if not folder.metrics_file.exists():
        return []
    text = storage.read_bytes(folder.metrics_file, "metrics").decode()
    rows = csv.DictReader(text.splitlines())
    return [{name: float(value) for name, value in row.items() if value} for row in rows]


def load_run(path: Path | str, *, trust: bool = False, model: nn.Module | str | None = None) -> Run:
    """A run's model, in evaluation mode, with its last good weights.

    Args:
        path: the run's folder.
        trust: code outside hardball that the run's config names may be imported and called. Only for
            folders that you made, or whose code you have read.
        model: where the network is code of your own: its name as the config has it
            ("package.module:Class"), or the network itself, which then gets the weights.

    Raises:
        Untrusted: the network is code outside hardball, and neither `trust` nor `model` says that it
            may run.
        UserError: no run there, no weights yet, weights that do not fit.
    """
    folder = RunFolder(Path(path))
    config = folder.config()
    if not folder.weights_file.exists():
        raise UserError(
            f"{folder.path} has no weights yet; let it finish an epoch: `resume={folder.path}`"
        )
    network = model if isinstance(model, nn.Module) else _named(config, model, trust=trust)
    storage.load_weights(network, folder.weights_file)
    return Run(
        model=network.eval(),
        config=config,
        outcome=folder.outcome(),
        history=read_metrics(folder),
        folder=folder,
    )


def _named(config: Config, name: str | None, *, trust: bool) -> nn.Module:
    """The network of a config, whose name the user may have confirmed."""
    known = (config.get("model") or {}).get("name")
    if name is not None and name != known:
        raise UserError(f"`model={name}`, but the run's is {known}; leave it out, or name that")
    return model_from(config, trust=trust or name is not None)
