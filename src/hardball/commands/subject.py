"""What is evaluated: a network with its weights, and the images it is asked about."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from hardball import names, storage
from hardball.commands.train import DEFAULT_MODELS, weights_of
from hardball.data import Dataset, load_dataset
from hardball.errors import UserError
from hardball.evaluation.forward import accepting
from hardball.isolation import evaluating
from hardball.runs import Config, RunFolder, model_from
from hardball.validation import logits_of_copy

Split = Literal["test", "train"]


@dataclass(frozen=True, kw_only=True)
class LoadConfig:
    """How to load a network and its data, where its run does not say or something else is wanted."""

    data: str | None = None
    """Data set, if not the run's own."""
    data_root: Path | None = None
    """Where the data is, if not where the run had it."""
    model: str | None = None
    """Model of a weights file; or the run's own package.module:Class, which naming it allows to run."""
    model_args: dict[str, Any] | None = None
    """Its arguments; the run's own by default."""
    trust_model_code: bool = False
    """Let a run's files name code outside hardball, which is then imported and called."""
    device: str = "auto"
    """Where to compute: auto, cpu or cuda."""

    def of(self, run: Path, split: Split) -> "SubjectConfig":
        """The network of a run or weights file, with all images of that part of the data."""
        given = {field.name: getattr(self, field.name) for field in fields(LoadConfig)}
        return SubjectConfig(run=run, split=split, **given)


@dataclass(frozen=True, kw_only=True)
class SubjectConfig(LoadConfig):
    """What to evaluate."""

    run: Path = field(kw_only=False)
    """A run, or a weights file (then name data and model)."""
    split: Split = "test"
    """The part of the data."""
    n: int | None = None
    """Number of images; all by default."""
    sample: int | None = None
    """Draw the n images at random with this seed, in place of the first n."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A network and its data, on the device."""

    network: nn.Module
    """In evaluation mode."""
    data: Dataset
    """The examples to measure, under the name by which they can be loaded again."""
    config: Config
    """The run's, or made of the flags; "data" and "model" are complete."""
    weights_sha256: str
    """Digest of the weights file."""


def subject(asked: SubjectConfig) -> Subject:
    """Load a run, or a weights file (with data and model named), and `n` images.

    Raises:
        Untrusted: a file names code outside hardball, and the user did not.
        UserError: nothing there, data that cannot be loaded, weights that do not fit, no such device.
    """
    if asked.n is not None and asked.n < 1:
        raise UserError(f"`n={asked.n}`; allowed is 1 or more")
    if asked.sample is not None and not 0 <= asked.sample < 2**63:
        raise UserError(f"`sample={asked.sample}`; allowed is a seed of 0 or more, below 2⁶³")
    if asked.sample is not None and asked.n is None:
        raise UserError(f"`sample={asked.sample}` without `n`; say how many images to draw by `n`")
    config = complete_config(asked)
    for kind, named_by_user in (("data", asked.data), ("model", asked.model)):
        _refuse_code(asked, config, kind, named_by_user)
    device = _device(asked.device)
    name = config["data"]["name"]
    whole = load_dataset(name, config["data"]["root"], asked.split)
    # what the config leaves open of the network is the data's
    spec = config["model"]
    front = {key: spec[key] for key in ("front", "front_args") if spec.get("front")}
    config["model"] = {
        "name": spec["name"],
        "args": spec.get("args") or {},
        **front,
        "shape": spec.get("shape") or list(whole.shape),
        "classes": spec.get("classes") or whole.classes,
    }
    if asked.n is not None and asked.n > len(whole):
        raise UserError(
            f"`n={asked.n}` of the {len(whole)} images of {name}; allowed is up to that, and all of "
            "them without it"
        )
    network, digest = _with_weights(asked, config)
    data = replace(whole, name=name).some(asked.n, asked.sample)
    _try_out(network.eval(), data, config["model"]["shape"])
    return Subject(
        network=network.to(device), data=data.to(device), config=config, weights_sha256=digest
    )


def network_of(asked: SubjectConfig) -> tuple[nn.Module, Config]:
    """The network of a run alone, on the CPU, where its data is not at hand; and the config.

    Raises:
        Untrusted: a file names code outside hardball, and the user did not.
        UserError: nothing there, weights that do not fit, or no run that says which shape images have.
    """
    config = complete_config(asked)
    _refuse_code(asked, config, "model", asked.model)
    spec = config["model"]
    if not spec.get("shape") or not spec.get("classes"):
        raise UserError(
            f"{asked.run} does not say which images its network takes; name a run, or the `data`"
        )
    network, _ = _with_weights(asked, config)
    return network.eval(), config


def _refuse_code(
    asked: SubjectConfig, config: Config, kind: str, named_by_user: str | None
) -> None:
    name = config[kind]["name"]
    if name is not None and not asked.trust_model_code and name != named_by_user:
        names.refuse_code(KINDS[kind], name)


def _with_weights(asked: SubjectConfig, config: Config) -> tuple[nn.Module, str]:
    """The network that a complete config names, and the digest of its weights."""
    network = model_from(config, trust=True)
    cure = RunFolder(asked.run).cure_of_weights if asked.run.is_dir() else "restore it from a copy"
    return network, storage.load_weights(network, weights_of(asked.run), cure)


def _try_out(network: nn.Module, data: Dataset, shape: Sequence[int]) -> None:
    """One forward pass of images of another shape than the network was made for.

    Raises:
        UserError: it does not take them.
    """
    if list(data.shape) == list(shape):
        return
    try:
        with evaluating(network), torch.no_grad():
            logits_of_copy(accepting(network, data.images.dtype), data.images[:1])
    except (RuntimeError, IndexError) as error:
        raise UserError(
            f"the network was made for images {list(shape)} and does not take those of {data.name}, "
            f"{list(data.shape)} ({str(error).splitlines()[0]}); pass the `data` it was made for"
        ) from error


KINDS = {"data": "data set", "model": "model"}


def complete_config(asked: SubjectConfig) -> Config:
    """The run's config, or one made of the flags; flags win.

    Raises:
        UserError: nothing there, or it is not known which data.
    """
    config = config_of(asked.run)
    known = config.get("data") or {}
    name = asked.data or known.get("name")
    if name is None:
        raise UserError(f"{asked.run} does not say which data it is for; pass `data` (and `model`)")
    default_root = known.get("root") if name == known.get("name") else None
    config["data"] = {"name": name, "root": str(asked.data_root or default_root or "data")}
    spec = config.get("model") or {}
    model = asked.model or spec.get("name") or DEFAULT_MODELS.get(name)
    if model is None:
        raise UserError(f"{asked.run} does not say which network it is; pass `model`")
    if model != spec.get("name"):
        spec = {"name": model, "args": {}}
    if asked.model_args is not None:
        spec = spec | {"args": asked.model_args}
    config["model"] = spec
    return config


def run_of(path: Path) -> Path | None:
    """The run that a folder is, or that the weights of a file belong to: its weights.safetensors, or
    those of an epoch. None for any other file."""
    if path.is_dir():
        return path
    own, of_epoch = path.name == "weights.safetensors", path.parent.name == "epochs"
    folder = path.parent if own else path.parent.parent
    return folder if (own or of_epoch) and RunFolder(folder).config_file.is_file() else None


def config_of(path: Path) -> Config:
    """The config of a run, or of the run that a weights file is in; empty for any other file.

    Raises:
        UserError: nothing there.
    """
    if not path.exists():
        raise UserError(
            f"no run and no weights at {path}; name a folder that training made, or a file"
        )
    folder = run_of(path)
    return {} if folder is None else RunFolder(folder).config()


def _device(name: str) -> torch.device:
    """The device of that name, seen to exist; auto takes a GPU where there is one.

    Raises:
        UserError: no such device here.
    """
    best = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(best if name == "auto" else name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"`device={name}` is not on this machine; use {best}" + (" or cpu" * (best != "cpu"))
        ) from error
    return device
