"""An evaluation asked for by names: what `hardball evaluate` does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import nn

from hardball import storage
from hardball.data import Dataset, load_dataset
from hardball.errors import UserError
from hardball.evaluation import Evaluation, Journal, evaluate, protocols
from hardball.evaluation.journal import identity
from hardball.evaluation.witnesses import as_safetensors, sealed
from hardball.recipes.jobs import DEFAULT_MODELS, weights_of
from hardball.recipes.places import Places
from hardball.runs import Config, RunFolder, load_run, model_from
from hardball.threats import ThreatModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """An evaluation, and what it was made of: what further checks need."""

    evaluation: Evaluation
    network: nn.Module
    """In evaluation mode, on the device."""
    data: Dataset
    """The examples measured, on the device."""
    config: Config
    journal: Journal
    places: Places
    about: dict[str, Any]
    """What evaluation.json says beside the measurement."""

    def write(self, **more: Any) -> None:
        """witnesses.safetensors, then evaluation.json with `more` keys of it."""
        witnesses = as_safetensors(
            self.network,
            self.data,
            self.evaluation,
            weights_sha256=self.about["weights_sha256"],
            data_sha256=self.about["data_sha256"],
        )
        storage.write_atomically(self.places.witnesses, witnesses)
        count = self.evaluation.clean.n - int(self.evaluation.broken_at.isinf().sum())
        kept = {
            "file": self.places.witnesses.name,
            "sha256": storage.digest(witnesses),
            "count": count,
        }
        content = {**self.evaluation.as_json(), **self.about, "witnesses": kept, **more}
        storage.write_atomically(self.places.evaluation, sealed(content))


def measure(
    path: Path,
    *,
    eps: list[float] | None,
    attacks: list[str] | None,
    protocol: str,
    n: int | None,
    seed: int,
    batch_size: int,
    data: str | None = None,
    data_root: Path | None = None,
    split: str = "test",
    model: str | None = None,
    model_args: dict[str, Any] | None = None,
    norm: str | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Measured:
    """Evaluate a run (or, with data and model named, a weights file) and write evaluation.json.

    What an earlier call found about the same weights and images, with the same norm and seed, is in
    the folder evaluation.state and not done again. `say` is told so, in a line.

    Raises:
        UserError: see `evaluate`, `load_run` and `protocols`.
    """
    chosen = protocols.protocol(protocol) if attacks is None else protocols.named(attacks)
    config = _config_of(path, data, data_root, model, model_args)
    trained = config.get("curriculum", {})
    radii = [float(trained.get("target", trained.get("eps", 0.0)))] if eps is None else eps
    if not radii or not chosen:
        raise UserError(f"eps={radii}, attacks={list(chosen)}; give at least one of each")
    threat = ThreatModel(norm or config.get("settings", {}).get("norm", "linf"), max(radii))
    for name, value, least in (("n", n, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        if value is not None and value < least:
            raise UserError(f"{name}={value}; allowed is {least} or more")
    where = _device(device)
    whole = load_dataset(config["data"]["name"], config["data"]["root"], split)
    network = _loaded(path, config, whole).to(where).to(memory_format=torch.channels_last)
    test = whole.rows(slice(0, n)).to(where)
    weights_sha256 = storage.digest(storage.read_bytes(weights_of(path), "weights"))
    places = Places.of(path)
    known = identity(test, threat.norm, seed, weights_sha256=weights_sha256, model=config["model"])
    journal = Journal(places.state, known)
    other = journal.about_others()
    if other is not None:
        say(other)
    found = evaluate(
        network,
        test,
        threat,
        attacks=chosen,
        eps=radii,
        seed=seed,
        batch_size=batch_size,
        journal=journal,
        progress=progress,
        say=say,
    )
    about = {"run": path.name, "split": split} | {
        name: known[name] for name in ("weights_sha256", "data_sha256", "model")
    }
    measured = Measured(
        evaluation=found,
        network=network,
        data=test,
        config=config,
        journal=journal,
        places=places,
        about=about,
    )
    measured.write()
    return measured


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
