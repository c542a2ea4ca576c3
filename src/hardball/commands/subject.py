"""What is evaluated: a network with its weights, and the images it is asked about."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hardball import storage
from hardball.commands.train import DEFAULT_MODELS, weights_of
from hardball.data import Dataset, load_dataset
from hardball.errors import UserError
from hardball.runs import Config, RunFolder, load_run, model_from


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A network and its data, on the device."""

    network: nn.Module
    """In evaluation mode."""
    data: Dataset
    """The examples to measure."""
    config: Config
    """The run's, or made of the flags; "data" and "model" are complete."""
    weights_sha256: str
    """Digest of the weights file."""


def subject(
    path: Path,
    *,
    data: str | None = None,
    data_root: Path | None = None,
    split: str = "test",
    n: int | None = None,
    model: str | None = None,
    model_args: dict[str, Any] | None = None,
    device: str = "auto",
) -> Subject:
    """Load a run, or a weights file (with data and model named), and the first `n` images.

    Raises:
        UserError: nothing there, data that is not to be had, weights that do not fit, no such
            device.
    """
    config = _config_of(path, data, data_root, model, model_args)
    where = _device(device)
    whole = load_dataset(config["data"]["name"], config["data"]["root"], split)
    network = _loaded(path, config, whole).to(where)
    return Subject(
        network=network,
        data=whole.rows(slice(0, n)).to(where),
        config=config,
        weights_sha256=storage.digest(storage.read_bytes(weights_of(path), "weights")),
    )


def _config_of(
    path: Path,
    data: str | None,
    root: Path | None,
    model: str | None,
    args: dict[str, Any] | None,
) -> Config:
    """The run's config, or one made of the flags; flags win."""
    config = RunFolder(path).config() if path.is_dir() else {}
    if not path.exists():
        raise UserError(
            f"no run and no weights at {path}; name a folder that training made, or a file"
        )
    known = config.get("data") or {}
    name = data or known.get("name")
    if name is None:
        raise UserError(f"{path} does not say which data it is for; pass --data (and --model)")
    default_root = known.get("root") if name == known.get("name") else None
    config["data"] = {"name": name, "root": str(root or default_root or "data")}
    if model is not None or not config.get("model"):
        config["model"] = {"name": model or DEFAULT_MODELS.get(name), "args": args or {}}
    return config


def _loaded(path: Path, config: Config, test: Dataset) -> nn.Module:
    """The network with its weights; what the config leaves open of it is the data's."""
    if "shape" in config["model"] and path.is_dir():
        return load_run(path).model
    config["model"] |= {"shape": list(test.shape), "classes": test.classes}
    network = model_from(config)
    storage.load_weights(network, weights_of(path))
    return network.eval()


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
            f"device={name} is not on this machine; use {best}" + (" or cpu" * (best != "cpu"))
        ) from error
    return device
