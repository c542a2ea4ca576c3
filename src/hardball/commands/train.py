"""A training asked for by names: what `hardball train` and `hardball extend` do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from rich.console import Console
from torch import nn

from hardball import models, names, storage
from hardball.data import load_dataset
from hardball.errors import UserError, unknown
from hardball.runs import Config, Run, RunFolder, model_from
from hardball.seeding import derive
from hardball.training import Adaptive, Constant, Curriculum, Settings, checkpoint, fit
from hardball.training.curricula import curriculum_from
from hardball.training.fit import SCHEMA
from hardball.training.machine import Machine

DEFAULT_MODELS = {
    "digits": "digits_cnn",
    "digits-bw": "digits_cnn",
    "mnist": "mnist_cnn",
    "fashion-mnist": "mnist_cnn",
    "cifar10": "resnet18",
    "cifar10-jpeg": "resnet18",
    "cifar10-small": "resnet8",
}


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What to train on."""

    name: str = "digits"
    """digits, digits-bw (black and white), mnist, fashion-mnist, cifar10, cifar10-jpeg (from image files),
    cifar10-small (1,000 images), folder (DATA_ROOT/train/CLASS/*.png), or your own
    package.module:function."""
    root: Path = Path("data")
    """Where the data is, in torchvision's layout; what is missing is downloaded there."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network."""

    name: str | None = None
    """mnist_cnn, digits_cnn, strided_cnn, cnn7, resnet8, resnet18, resnet50 or your own
    package.module:Class; by default the usual one for the data."""
    args: dict[str, Any] = field(default_factory=dict)
    """Arguments of the model, as YAML: '{padding: true}'."""
    front: str | None = None
    """What images pass before the network: rounding (1 above ½, else 0) or clip (0 up to a low
    value, 1 from a high one). A front of your own goes into your own model."""
    front_args: dict[str, Any] = field(default_factory=dict)
    """Arguments of the front, as YAML: '{threshold: 0.4}', '{low: 0.4, high: 0.6}'."""
    init: str | None = None
    """How random weights are drawn: glorot, he or orthogonal; by default as PyTorch does."""

    def __post_init__(self) -> None:
        if self.init is not None and self.init not in models.INITIALS:
            raise unknown("initialisation", self.init, models.INITIALS)
        if self.front_args and self.front is None:
            raise UserError(
                f"`front_args={self.front_args}` without `front`, whose they are; name one: "
                f"{', '.join(models.FRONTS)}"
            )

    def spec(self, data: str, shape: Sequence[int], classes: int) -> Config:
        """What config.yaml says of the network, enough to build it again."""
        front = {"front": self.front, "front_args": self.front_args} if self.front else {}
        made = {"name": self.named(data), "args": self.args}
        made |= {"init": self.init} if self.init else {}
        return made | front | {"shape": list(shape), "classes": classes}

    def named(self, data: str) -> str:
        """The model asked for, or the usual one for the data.

        Raises:
            UserError: the data has no usual one.
        """
        name = self.name or DEFAULT_MODELS.get(data)
        if name is None:
            raise UserError(
                f"no `model` for the data {data}; there are: {', '.join(models.MODELS)}, "
                "your.module:Class"
            )
        return name


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What to train on which data, how, and where the result goes."""

    curriculum: Curriculum
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    settings: Settings = field(default_factory=Settings)
    out: Path | None = None
    """Folder of the run; by default runs/ and a name made of the settings."""
    trust: bool = True
    """Code outside hardball may run: the user has named it."""

    @classmethod
    def of(cls, values: Mapping[str, Any], *, trusted: bool = True) -> Self:
        """From nested values: those of a YAML file, of flags or of a preset.

        Args:
            values: `eps`, `epochs`, `curriculum`, `data`, `model`, `out`, and those of `Settings.of`.
            trusted: False where a file names code outside hardball, and not the user.

        Raises:
            UserError: values that are refused.
            Untrusted: see `names.find`.
        """
        spec = {"name": "constant", **(values.get("curriculum") or {}), "target": values["eps"]}
        curriculum = curriculum_from(spec, trusted=trusted)
        epochs = values.get("epochs")
        return cls(
            curriculum=curriculum if epochs is None else curriculum.lasting(epochs),
            data=names.made("data", "data", DataConfig, **(values.get("data") or {})),
            model=names.made("model", "model", ModelConfig, **(values.get("model") or {})),
            settings=Settings.of(values, trusted=trusted),
            out=values.get("out"),
            trust=trusted,
        )

    def folder(self, origin: Path | None) -> Path:
        """Where the run goes."""
        if self.out is not None:
            return self.out
        eps = self.curriculum.target
        kind = "standard" if eps == 0 else _kind(self.curriculum)
        noise = "noise-" if self.settings.objective.noisy else ""
        prefix = f"{self.data.name.replace(':', '.')}-{noise}{kind}"
        if origin is not None:
            # a folder's name may hold a dot (at-0.3): only a file's ending is cut off
            prefix = f"{origin.resolve().name if origin.is_dir() else origin.stem}-to"
            prefix += f"-{noise}".rstrip("-")
        return Path("runs") / f"{prefix}-{eps:.4g}-seed{self.settings.seed}"


def _kind(curriculum: Curriculum) -> str:
    """How a run's folder is called after its curriculum."""
    if isinstance(curriculum, Adaptive):
        return "adaptive"
    return "at" if isinstance(curriculum, Constant) else "iat"


def train(
    config: TrainConfig,
    *,
    origin: Path | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> Run:
    """Train from random weights, or extend those of `origin` (a run or a weights file).

    Args:
        resume: go on with the run in `config.out`, which must be the one that `config` asks for.

    Raises:
        UserError: see `fit`, `load_dataset`, `models.build` and `storage.load_weights`.
    """
    settings = config.settings
    settings.check_target(config.curriculum.largest)
    if origin is not None and config.model.init is not None:
        raise UserError(
            f"`init={config.model.init}` for weights that are those of {origin}; leave it out"
        )
    out = config.folder(origin)
    if not resume:
        RunFolder(out).refuse_if_taken()
    data = load_dataset(config.data.name, config.data.root, "train", trust=config.trust)
    if origin is not None and origin.is_dir():
        settings = _holding_out_the_same(settings, config.data.name, len(data), origin)
    about: Config = {
        "data": {"name": config.data.name, "root": str(config.data.root)},
        "model": config.model.spec(config.data.name, data.shape, data.classes),
        "origin": None,
    }
    model = fresh(about, settings.seed, trust=config.trust)
    if origin is None:
        prepare(model, settings)
    else:
        digest = storage.load_weights(model, weights_of(origin))
        about["origin"] = {"path": str(origin), "sha256": digest}
    return fit(
        model,
        data,
        curriculum=config.curriculum,
        settings=settings,
        out=out,
        resume=resume,
        about=about,
        console=console,
    )


def resume(
    path: Path,
    machine: Mapping[str, Any] | None = None,
    *,
    trust: bool = False,
    named: Mapping[str, str] | None = None,
    console: Console | None = None,
) -> Run:
    """Continue a run where it stopped.

    Args:
        machine: fields of `Machine` that differ from the run's: it may move to other devices.
        trust: code outside hardball that the run's config.yaml names may run.
        named: those names that the user gives (of data, model, curriculum or objective): they may
            run too, and must be the run's.

    Raises:
        UserError: no run there, or its data or origin are gone.
        Untrusted: the config names code outside hardball, and `trust` is not given.
    """
    config = RunFolder(path).config()
    if config.get("schema") != SCHEMA:
        raise UserError(
            f"{path} was made by another version of hardball (config.yaml has schema "
            f"{config.get('schema', 1)}, this version reads {SCHEMA}); train anew in another `out`"
        )
    if not config.get("data") or not config.get("curriculum"):
        raise UserError(
            f"{path} was started from Python; resume it with the same call and resume=True"
        )
    trusts = _trusting(path, config, trust, named or {})
    settings = Settings.of(config, trusted=trusts("objective"))
    if machine:
        moved: Machine = replace(settings.machine, **machine)
        settings = replace(settings, machine=moved)
    model = fresh(config, settings.seed, trust=trusts("model"))
    if not checkpoint.exists(RunFolder(path).state):
        if config.get("origin"):
            _start_from(model, config["origin"])
        else:
            prepare(model, settings)
    known = config["data"]
    return fit(
        model,
        load_dataset(known["name"], known.get("root", "data"), "train", trust=trusts("data")),
        curriculum=curriculum_from(config["curriculum"], trusted=trusts("curriculum")),
        settings=settings,
        out=path,
        resume=True,
        about={key: config.get(key) for key in ("data", "model", "origin")},
        console=console,
    )


def _trusting(
    path: Path, config: Config, trust: bool, named: Mapping[str, str]
) -> Callable[[str], bool]:
    """Which of a run's names may be of code outside hardball: all, or those the user gives."""
    for group, name in named.items():
        known = config[group]["name"]
        if name != known:
            raise UserError(
                f"`{group}={name}`, but the {group} of {path} is {known}; leave it out, or start a new "
                "run"
            )
    return lambda group: trust or group in named


INHERITED = (
    "norm",
    "attack",
    "objective",
    "optimizer",
    "stopping",
    "batch_size",
    "augment",
    "validation",
    "seed",
)
"""What an extension takes over from the run it extends, beside its data and model."""


def inherited(origin: Path) -> dict[str, Any]:
    """What an extension takes over from the run it extends, as nested values.

    Raises:
        UserError: `origin` is neither a run nor a weights file.
    """
    if origin.is_file():
        return {}
    config = RunFolder(origin).config()
    found = {name: config[name] for name in INHERITED if config.get(name) is not None}
    if config.get("data"):
        found["data"] = dict(config["data"])
    if config.get("model"):
        known = config["model"]
        found["model"] = {"name": known.get("name"), "args": known.get("args") or {}}
        if known.get("front"):
            found["model"] |= {"front": known["front"], "front_args": known.get("front_args") or {}}
    return found


def _holding_out_the_same(settings: Settings, data: str, whole: int, origin: Path) -> Settings:
    """The settings of an extension on the same data: what the origin did not hold out, its weights were
    trained on, so that validation there would flatter.

    Raises:
        UserError: another part, or a larger one, is asked for.
    """
    known = RunFolder(origin).config()
    if (known.get("data") or {}).get("name") != data:
        return settings
    which = ("seed", "validation", "validation_seed")
    there = Settings.of({name: known[name] for name in which if name in known})
    asked, held = settings.validation_seed, there.held_of(whole)
    if asked is not None and asked != there.held_out_by:
        raise UserError(
            f"`validation_seed={asked}`, but {origin} held out its images by {there.held_out_by} and "
            "was trained on the others; leave it out"
        )
    if settings.held_of(whole) > held:
        raise UserError(
            f"`validation={settings.held_of(whole)}`, but {origin} held out {held} images and was "
            f"trained on the others; allowed is 1 … {held}"
        )
    own = None if settings.seed == there.held_out_by else there.held_out_by
    return replace(settings, validation_seed=own)


def weights_of(origin: Path) -> Path:
    """The weights file of a run, or the file itself."""
    return RunFolder(origin).weights_file if origin.is_dir() else origin


def fresh(about: Config, seed: int, *, trust: bool) -> nn.Module:
    """The model with initial weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, 0))
        model = model_from(about, trust=trust)
        initial = about["model"].get("init")
        if initial is not None:
            models.initialise(model, initial)
        return model


def prepare(model: nn.Module, settings: Settings) -> None:
    """Random weights as the objective wants them, by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(settings.seed, 0, 1))
        settings.objective.prepare(model)


def _start_from(model: nn.Module, origin: Config) -> None:
    """The weights that an extension killed before its first resume point had started from."""
    weights = weights_of(Path(origin["path"]))
    if storage.digest(storage.read_bytes(weights, "weights")) != origin["sha256"]:
        raise UserError(
            f"{origin['path']} has changed since it was extended; start anew in another `out`"
        )
    storage.load_weights(model, weights)
