"""A run: a folder with everything one training made, and what came of it.

config.yaml           what was asked, enough to rebuild the model and to resume
metrics.csv           one row per epoch (and TensorBoard events); metrics.csv.sha256 is its digest
weights.safetensors   the last good weights
outcome.json          how it ended
epochs/               the weights of some epochs, where asked for
state/                the two newest resume points
evaluation.json       written by `hardball evaluate`
witnesses.safetensors the images that prove it
evaluation.state/     what a killed evaluation continues from
report.html           written by `hardball report`; examples.safetensors, the examples on it
"""

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from hardball import models, names, settings_file, storage
from hardball.errors import Damaged, UserError

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
    failed_eps: float | None = None
    """Of an adaptive curriculum: the smallest ε above `eps` that was tried and not learned …"""
    failed_how: str | None = None
    """… and how it failed: collapse, plateau, masking or non-finite."""
    probe: dict[str, Any] | None = None
    """Accuracy of the kept weights on `n` held-out images under the training attack (`trained`) and
    under stronger ones as well (`accuracy`; `by`: after each); `masked`: what the two say; and what that
    took (`sample_steps`: of the cost above for an adaptive curriculum alone). None: too short a
    training, nothing to attack."""

    @property
    def masked(self) -> bool:
        """The probe found that the weights hide from the training attack."""
        return self.probe is not None and bool(self.probe["masked"])

    @property
    def withstood(self) -> str:
        """What the probe found, in words; empty without one."""
        if self.probe is None:
            return ""
        return (
            f"{self.probe['trained']:.1%} withstand the training attack, "
            f"{self.probe['accuracy']:.1%} stronger ones as well"
        )


SECTIONS: dict[str, dict[str, Any]] = {
    "data": {"name": str, "root": str},
    "model": {
        "args": dict | None,
        "front": str | None,
        "front_args": dict | None,
        "init": str | None,
        "shape": list[int],
        "classes": int,
    },
    "origin": {"path": str, "sha256": str},
    "curriculum": {"name": str, "target": float, "eps": float},
    "objective": {"name": str},
}
"""Types in config.yaml, where they are there. Those of the settings are checked when they are made, and
a network's name where it is trusted or not."""
NEEDED = {"data": ("name",), "model": ("shape", "classes"), "origin": ("path", "sha256")}


def _check_config(path: Path, config: Config) -> None:
    """Refuse a config whose sections have other forms than those that training writes.

    Raises:
        Damaged: the first that has.
    """
    for section, kinds in SECTIONS.items():
        values = config.get(section)
        if values is None or values == {}:
            continue
        try:
            names.check_types("config", {section: dict}, config)
            names.check_types(section, kinds, values)
        except UserError as error:
            raise Damaged(f"{path}: {error}; restore it from a copy") from error
        lacking = [name for name in NEEDED.get(section, ()) if name not in values]
        if lacking and not (section == "model" and values.get("name") is None):
            raise Damaged(f"{path}: {section} has no {lacking[0]}; restore it from a copy")


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
    def decisions_file(self) -> Path:
        """What an adaptive curriculum decided, a line each."""
        return self.path / "decisions.jsonl"

    @property
    def ladder_file(self) -> Path:
        """Every ε that an adaptive curriculum learned."""
        return self.path / "ladder.json"

    def rung_file(self, name: str) -> Path:
        """The weights with which an ε was learned."""
        return self.path / "rungs" / f"{name}.safetensors"

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def cure_of_weights(self) -> str:
        """What to do about weights that have changed."""
        cure = "restore it from a copy"
        if any(self.state.glob("epoch*.pt")):
            cure += (
                f", or move it away and give `resume={self.path}`: it is made again from the newest "
                "resume point"
            )
        return cure

    def create(self, config: Config) -> None:
        """Claim the folder for a new run.

        Raises:
            UserError: it holds a run, or something else, already.
        """
        self.refuse_if_taken()
        seal = f"# {storage.SEAL}: {storage.UNSEALED}\n"
        text = seal + yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        storage.write_atomically(self.config_file, storage.sealed(text.encode()))

    def refuse_if_taken(self) -> None:
        """See `create`: asked early, before anything long is done."""
        if self.path == Path():
            raise UserError("`out=.` is the current folder; name one of the run's own")
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
            UserError: no run here.
            Damaged: its config has changed since it was written, or is no config.
        """
        if not self.config_file.is_file():
            raise UserError(
                f"{self.path} is no run: it has no config.yaml; name a folder that training made"
            )
        cure = "restore it from a copy, or remove its first line if you changed it yourself"
        content = storage.read_sealed(self.config_file, "config", cure)
        try:
            config = settings_file.parse(content)
        except ValueError as error:
            raise Damaged(
                f"{self.config_file} is no run's config ({_first_line(error)}); restore it from a copy"
            ) from error
        _check_config(self.config_file, config)
        return config

    def outcome(self) -> Outcome | None:
        """How the run ended; None while it has not.

        Raises:
            Damaged: its outcome.json has changed since it was written, or is something else.
        """
        if not self.outcome_file.exists():
            return None
        content = storage.read_sealed(self.outcome_file, "outcome")
        try:
            found = json.loads(content)
            found = {"probe": None} | found  # earlier versions had none
            return Outcome(**{field.name: found[field.name] for field in fields(Outcome)})
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Damaged(
                f"{self.outcome_file} is no run's outcome ({_first_line(error)}); restore it from a copy"
            ) from error

    def write_outcome(self, outcome: Outcome) -> None:
        text = as_json({storage.SEAL: storage.UNSEALED, **asdict(outcome)})
        storage.write_atomically(self.outcome_file, storage.sealed(text))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process trains in a folder.

        Raises:
            StorageError: the folder cannot be written, or only through a link.
            UserError: another process does.
        """
        for folder in (self.state, self.epoch_file(0).parent):
            storage.refuse_link(folder)
        busy = f"another process is training in {self.path}; wait for it, or choose another `out`"
        with storage.locked(self.state / "lock", busy):
            for folder in (self.path, self.state, self.epoch_file(0).parent):
                storage.remove_leftovers(folder)
            yield


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Readable JSON, written atomically."""
    storage.write_atomically(path, as_json(content))


def as_json(content: Mapping[str, Any]) -> bytes:
    """Readable JSON."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A trained model and where it came from.

    Example:
        >>> network = hb.build("digits_cnn", test.shape, test.classes, {"width": 4})
        >>> run = hb.fit(network, test, curriculum=hb.Constant(0.1, epochs=1), attack=hb.PGD(steps=2))
        >>> run.outcome.status, len(run.history)
        ('finished', 1)
    """

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
    return models.build(
        spec["name"],
        spec["shape"],
        spec["classes"],
        spec.get("args"),
        front=spec.get("front"),
        front_args=spec.get("front_args"),
    )


def noise_of(config: Config) -> float | None:
    """The σ that a run was trained for with Gaussian noise; None if it was trained otherwise."""
    if (config.get("objective") or {}).get("name") != "noise":
        return None
    return float(config["curriculum"]["target"])


def read_metrics(folder: RunFolder) -> list[dict[str, float]]:
    """The rows of metrics.csv, without fields that are empty; none before the first epoch is done.

    Raises:
        Damaged: it has changed since it was written, or is something else.
    """
    if not folder.metrics_file.exists():
        return []
    content = storage.read_beside_digest(folder.metrics_file, "metrics")
    try:
        rows = csv.DictReader(content.decode().splitlines(), strict=True)
        return [{name: float(v) for name, v in row.items() if v != ""} for row in rows]
    except (ValueError, TypeError, csv.Error) as error:
        raise Damaged(
            f"{folder.metrics_file} is no run's metrics ({_first_line(error)}); restore it from a copy"
        ) from error


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

    Example:
        >>> import tempfile
        >>> curriculum, attack = hb.Constant(0.1, epochs=1), hb.PGD(steps=2)
        >>> with tempfile.TemporaryDirectory() as out:
        ...     network = hb.build("digits_cnn", (1, 8, 8), 10, {"width": 4})
        ...     fitted = hb.fit(network, test, curriculum=curriculum, attack=attack, out=out + "/r")
        ...     hb.load_run(out + "/r", model=network).outcome.status
        'finished'
    """
    folder = RunFolder(Path(path))
    config = folder.config()
    if not folder.weights_file.exists():
        raise UserError(
            f"{folder.path} has no weights yet; let it finish an epoch: `resume={folder.path}`"
        )
    network = model if isinstance(model, nn.Module) else _named(config, model, trust=trust)
    storage.load_weights(network, folder.weights_file, folder.cure_of_weights)
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
