"""A training asked for by names: what `hardball train` and `hardball extend` do."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import nn

from hardball import models, storage
from hardball.data import load_dataset
from hardball.errors import UserError, unknown
from hardball.runs import Config, Run, RunFolder, model_from
from hardball.seeding import derive
from hardball.training import Constant, Curriculum, Iterative, Settings, checkpoint, fit
from hardball.training.fit import MACHINE

DEFAULT_MODELS = {
    "digits": "digits_cnn",
    "digits-bw": "digits_cnn",
    "mnist": "mnist_cnn",
    "fashion-mnist": "mnist_cnn",
    "cifar10": "resnet18",
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to train on which data, how ε moves, and where the result goes."""

    eps: float
    """ε to train for, in pixel units ([0, 1] for linf; 0 is standard training)."""
    data: str = "digits"
    """digits, digits-bw (black and white), mnist, fashion-mnist, cifar10, or folder
    (DATA_ROOT/train/CLASS/*.png)."""
    data_root: Path = Path("data")
    """Where the data is, in torchvision's layout; what is missing is downloaded there."""
    model: str | None = None
    """mnist_cnn, digits_cnn, resnet18, resnet50 or your own package.module:Class."""
    model_args: dict[str, Any] = field(default_factory=dict)
    """Arguments of the model, as YAML: '{padding: true}'."""
    curriculum: Literal["constant", "iterative"] = "constant"
    """How ε moves: constant, or iterative (a ramp up to ε)."""
    epochs: int | None = None
    """Epochs in all (30 for constant; for iterative the ramp and its hold)."""
    increment: float | None = None
    """ε added per epoch of the ramp (iterative)."""
    ramp_epochs: int | None = None
    """Epochs of the ramp (iterative; 40 if there is no increment either)."""
    hold: int = 0
    """Epochs at the full ε after the ramp (iterative)."""
    start: float = 0.0
    """ε from which the ramp starts (iterative)."""
    shape: Literal["linear", "exponential"] = "linear"
    """Shape of the ramp (iterative)."""
    per: Literal["epoch", "step"] = "epoch"
    """Raise ε each epoch or each step (iterative)."""
    may_stop: bool = True
    """Stop at a sudden increase of the adversarial loss, with the last good weights (iterative)."""
    beyond: float = 0.0
    """Let the ramp end this far above ε: few steps of an attack reach less far than many
    (iterative)."""
    out: Path | None = None
    """Folder of the run; by default runs/ and a name made of the settings."""

    def schedule(self) -> Curriculum:
        """The curriculum of these settings.

        Raises:
            UserError: see `Constant` and `Iterative`; or settings of a ramp without one.
        """
        if self.curriculum == "constant":
            for name in RAMP_FIELDS:
                if getattr(self, name) != getattr(Job, name):
                    raise UserError(
                        f"{name}={getattr(self, name)} without a ramp; add --curriculum iterative "
                        "or leave it out"
                    )
            return Constant(self.eps) if self.epochs is None else Constant(self.eps, self.epochs)
        ramp = Iterative(
            self.eps,
            increment=self.increment,
            ramp_epochs=self.ramp_epochs,
            hold=self.hold,
            start=self.start,
            shape=self.shape,
            per=self.per,
            may_stop=self.may_stop,
            beyond=self.beyond,
        )
        return ramp if self.epochs is None else ramp.lasting(self.epochs)

    def model_name(self) -> str:
        """The model asked for, or the usual one for the data.

        Raises:
            UserError: the data has no usual one.
        """
        name = self.model or DEFAULT_MODELS.get(self.data)
        if name is None:
            raise UserError(
                f"no --model for --data {self.data}; there are: {', '.join(models.MODELS)}"
            )
        return name


def train(
    job: Job, settings: Settings, *, origin: Path | None = None, console: Console | None = None
) -> Run:
    """Train from random weights, or extend those of `origin` (a run or a weights file).

    Raises:
        UserError: see `fit`, `load_dataset`, `models.build` and `storage.load_weights`.
    """
    schedule = job.schedule()
    settings.check_target(schedule.largest)
    out = job.out or _default_folder(job, settings, origin)
    RunFolder(out).refuse_if_taken()
    data = load_dataset(job.data, job.data_root, "train")
    spec = {
        "name": job.model_name(),
        "args": job.model_args,
        "shape": list(data.shape),
        "classes": data.classes,
    }
    about: Config = {
        "data": {"name": job.data, "root": str(job.data_root)},
        "model": spec,
        "origin": None if origin is None else _origin(origin),
    }
    model = _fresh(about, settings.seed)
    if origin is not None:
        storage.load_weights(model, weights_of(origin))
    return fit(
        model,
        data,
        curriculum=schedule,
        settings=settings,
        out=out,
        about=about,
        console=console,
    )


def resume(path: Path, machine: dict[str, Any], *, console: Console | None = None) -> Run:
    """Continue a run where it stopped; `machine` may move it to other devices.

    Raises:
        UserError: no run there, or its data or origin are gone.
    """
    config = RunFolder(path).config()
    if not config.get("data"):
        raise UserError(
            f"{path} was started from Python; resume it with the same call and resume=True"
        )
    asked = config["settings"] | {k: v for k, v in machine.items() if k in MACHINE}
    settings = Settings(**asked)
    kind = {"Constant": Constant, "Iterative": Iterative}
    schedule = dict(config["curriculum"])
    name = schedule.pop("kind")
    if name not in kind:
        raise unknown("curriculum", name, kind)
    model = _fresh(config, settings.seed)
    if config.get("origin") and not checkpoint.exists(RunFolder(path).state):
        _start_from(model, config["origin"])
    return fit(
        model,
        load_dataset(config["data"]["name"], config["data"]["root"], "train"),
        curriculum=kind[name](**schedule),
        settings=settings,
        out=path,
        resume=True,
        about={key: config[key] for key in ("data", "model", "origin")},
        console=console,
    )


def inherited(origin: Path) -> dict[str, Any]:
    """What an extension takes over from the run it extends: data, model and settings.

    Raises:
        UserError: `origin` is neither a run nor a weights file.
    """
    if origin.is_file():
        return {}
    config = RunFolder(origin).config()
    found = {k: v for k, v in config["settings"].items() if k not in MACHINE}
    if config.get("data"):
        found |= {"data": config["data"]["name"], "data_root": config["data"]["root"]}
    if config.get("model"):
        found |= {"model": config["model"]["name"], "model_args": config["model"]["args"] or {}}
    return found


def weights_of(origin: Path) -> Path:
    """The weights file of a run, or the file itself."""
    return RunFolder(origin).weights_file if origin.is_dir() else origin


def _fresh(about: Config, seed: int) -> nn.Module:
    """The model with initial weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, 0))
        return model_from(about, trust=True)


def _origin(path: Path) -> Config:
    """Where extended weights came from: enough to find the run again and to know it is the same."""
    weights = weights_of(path)
    return {"path": str(path), "sha256": storage.digest(storage.read_bytes(weights, "weights"))}


def _start_from(model: nn.Module, origin: Config) -> None:
    """The weights that an extension killed before its first resume point had started from."""
    path = Path(origin["path"])
    if _origin(path) != origin:
        raise UserError(f"{path} has changed since it was extended; start anew in another --out")
    storage.load_weights(model, weights_of(path))


def _default_folder(job: Job, settings: Settings, origin: Path | None) -> Path:
    kind = "standard" if job.eps == 0 else "at" if job.curriculum == "constant" else "iat"
    prefix = f"{job.data}-{kind}"
    if origin is not None:
        # a folder's name may hold a dot (at-0.3): only a file's ending is cut off
        prefix = f"{origin.resolve().name if origin.is_dir() else origin.stem}-to"
    return Path("runs") / f"{prefix}-{job.eps:.4g}-seed{settings.seed}"


RAMP_FIELDS = ("increment", "ramp_epochs", "hold", "start", "shape", "per", "may_stop", "beyond")
JOB_FIELDS = tuple(f.name for f in fields(Job))
SETTINGS_FIELDS = tuple(f.name for f in fields(Settings))
