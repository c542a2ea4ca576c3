"""Trained networks that come with hardball: a folder for each, in the layout of the Hugging Face hub.

NAME/model.safetensors  the weights
NAME/config.json        the network, what it was trained for, what was measured, the weights' SHA-256
NAME/README.md          the same for people: the model card

An entry may come from anyone: nothing in it is run, and only hardball's own networks are built.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from hardball import models, names, storage
from hardball.errors import Damaged, UserError, unknown

SCHEMA = 1
"""Of config.json."""
NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
"""Names of entries."""
LARGEST_CONFIG = 2**20
"""Bytes of a config.json."""
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

TYPES: Mapping[str, Any] = {
    "name": str,
    "model": dict,
    "data": str,
    "norm": str,
    "eps": float,
    "weights_sha256": str,
    "licence": str,
    "training": dict,
    "measured": dict,
}
"""What config.json must have."""
MODEL_TYPES: Mapping[str, Any] = {
    "name": str,
    "args": dict | None,
    "shape": list[int],
    "classes": int,
    "front": str | None,
    "front_args": dict | None,
}


def home() -> Path:
    """The folder of the entries: inside an installed package, or beside a checkout's sources."""
    package = Path(__file__).parent
    installed = package / "_zoo"
    return installed if installed.is_dir() else package.parents[1] / "zoo"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One network of the zoo."""

    path: Path
    config: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def card(self) -> str:
        """The text of README.md."""
        return storage.read_bytes(self.path / CARD, "model card").decode(errors="replace")

    def model(self) -> nn.Module:
        """The network with its weights, in evaluation mode.

        Raises:
            Damaged: the weights are not those that config.json names.
            UserError: weights of another architecture.
        """
        spec = self.config["model"]
        weights = _own_file(self.path / WEIGHTS)
        found = storage.digest(storage.read_bytes(weights, "weights"))
        if found != self.config["weights_sha256"]:
            raise Damaged(
                f"{weights} is not what {CONFIG} says: its SHA-256 is {found}; restore it from a copy"
            )
        network = models.build(
            spec["name"],
            spec["shape"],
            spec["classes"],
            spec.get("args"),
            front=spec.get("front"),
            front_args=spec.get("front_args"),
            trust=False,
        )
        storage.load_weights(network, weights)
        return network.eval()


def load(name: str | Path, folder: Path | str | None = None) -> nn.Module:
    """A trained network of the zoo, in evaluation mode: pixels in [0, 1] → logits.

    Args:
        name: of an entry ("mnist-linf-0.4-extended"; `hardball zoo list` shows them), or the Path of
            one that lies elsewhere.
        folder: where the entries are; by default those that come with hardball.

    Raises:
        UserError: no such entry, or one that is not whole.
        Untrusted: it names code outside hardball.
        Damaged: its weights are not those that it names.
    """
    if isinstance(name, Path):
        return read(name).model()
    return entry(name, folder).model()


def entry(name: str, folder: Path | str | None = None) -> Entry:
    """The entry of that name; see `load`."""
    there = listed(folder)
    if name not in there:
        raise unknown("network of the zoo", name, there)
    return read(_home(folder) / name)


def listed(folder: Path | str | None = None) -> list[str]:
    """The names of the entries."""
    there = _home(folder)
    if not there.is_dir():
        return []
    return sorted(
        path.name
        for path in there.iterdir()
        if NAME.fullmatch(path.name) and (path / CONFIG).is_file()
    )


def read(path: Path) -> Entry:
    """An entry, whose config is seen to be whole and to name hardball's own networks only.

    Raises:
        Untrusted: it names code outside hardball.
        Damaged: it is no entry, or one of another name.
    """
    file = _own_file(path / CONFIG)
    content = storage.read_bytes(file, "config")
    if len(content) > LARGEST_CONFIG:
        raise Damaged(f"{file} has {len(content):,} bytes; allowed are {LARGEST_CONFIG:,}")
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{file} is no JSON ({str(error)[:80]}); restore it from a copy") from error
    if not isinstance(config, dict) or config.get("schema") != SCHEMA:
        raise Damaged(
            f"{file} is no config of the zoo with schema {SCHEMA}; restore it from a copy"
        )
    _require(file, "config", TYPES, config, TYPES)
    _require(file, "model", MODEL_TYPES, config["model"], ("name", "shape", "classes"))
    if config["name"] != path.resolve().name:
        raise Damaged(
            f"{file} is of {config['name']!r}, not of {path.name!r}; restore it from a copy"
        )
    names.refuse_code("model", config["model"]["name"])
    if config["model"]["name"] not in models.MODELS:
        raise unknown("model", config["model"]["name"], models.MODELS)
    return Entry(path=path, config=config)


def _require(
    file: Path,
    what: str,
    kinds: Mapping[str, Any],
    values: Mapping[str, Any],
    needed: Sequence[str] | Mapping[str, Any],
) -> None:
    lacking = [name for name in needed if name not in values]
    if lacking:
        raise Damaged(f"{file}: {what} has no {lacking[0]}; restore it from a copy")
    try:
        names.check_types(what, kinds, values)
    except UserError as error:
        raise Damaged(f"{file}: {error}; restore it from a copy") from error


def _own_file(path: Path) -> Path:
    """Itself; an entry's files are in its folder, and no links to elsewhere."""
    if path.is_symlink():
        raise Damaged(f"{path} is a link; put the file itself there")
    return path


def _home(folder: Path | str | None) -> Path:
    return home() if folder is None else Path(folder)
