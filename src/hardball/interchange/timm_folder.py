"""Networks in timm's folders, the layout of the Hugging Face hub: config.json and model.safetensors.

A folder may come from anyone: nothing in it is run, its architecture is looked up in timm's own table, and
its weights are safetensors.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hardball import extras, names, storage
from hardball.errors import Damaged, Unsupported, UserError
from hardball.interchange.normalized import normalized

CONFIG, WEIGHTS = "config.json", "model.safetensors"
LARGEST_CONFIG = 2**20
"""Bytes of a config.json."""
ARCHITECTURE = re.compile(r"[a-z0-9_]+")
"""Names of timm's table; others have a meaning to timm ("hf-hub:…" is fetched)."""
KINDS: Mapping[str, Any] = {
    "architecture": str,
    "num_classes": int,
    "global_pool": str,
    "model_args": dict,
    "pretrained_cfg": dict,
}
CFG_KINDS: Mapping[str, Any] = {"input_size": list[int], "mean": list[float], "std": list[float]}
ARGUMENTS = ("img_size", "in_chans")
"""Of `model_args`: others may name files, which timm would open."""


def from_timm_folder(path: Path | str) -> nn.Module:
    """A network of a local timm folder, in evaluation mode: pixels in [0, 1] → logits.

    The folder is one that timm's `save_for_hf` makes, or a download of such a repository. The
    normalisation of its config.json is the first layer; where it names none, that of the architecture
    in timm's table, which timm would take as well.

    Args:
        path: a folder with config.json and model.safetensors. Pickled weights are not read.

    Raises:
        MissingExtra: timm is not installed.
        UserError: no such folder, weights that do not fit, no mean and std in either place.
        Unsupported: a network of another library, one that timm does not know, or arguments that are
            not read from files.
        Damaged: config.json or the weights are not what they should be.

    Example:
        >>> hb.from_timm_folder("nowhere")
        Traceback (most recent call last):
            ...
        hardball.errors.UserError: ...
    """
    path = Path(path)
    config = _config(path / CONFIG)
    given = config.get("pretrained_cfg") or {}
    size = given.get("input_size") or (3,)
    arguments = {"in_chans": size[0], **(config.get("model_args") or {})}
    for key in ("num_classes", "global_pool"):
        if config.get(key) is not None:
            arguments[key] = config[key]
    model = _made(path / CONFIG, config["architecture"], arguments)
    weights = path / WEIGHTS
    if not weights.is_file():
        raise UserError(
            f"{path} has no {WEIGHTS}; pickled weights are not read: convert them to safetensors"
        )
    storage.load_weights(model, weights)
    return normalized(model, given.get("mean"), given.get("std")).eval()


def _config(file: Path) -> dict[str, Any]:
    """config.json, seen to be of a network of timm's."""
    if not file.is_file():
        raise UserError(f"no {CONFIG} in {file.parent}; name a folder with {CONFIG} and {WEIGHTS}")
    content = storage.read_bytes(file, "config")
    if len(content) > LARGEST_CONFIG:
        raise Damaged(f"{file} has {len(content):,} bytes; allowed are {LARGEST_CONFIG:,}")
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{file} is no JSON ({str(error)[:80]}); restore it from a copy") from error
    if not isinstance(config, dict) or "architecture" not in config:
        raise Unsupported(
            f"{file} names no architecture of timm; load networks of transformers with "
            "AutoModelForImageClassification.from_pretrained, those of the zoo with hardball.load"
        )
    try:
        for what, kinds, values in (
            ("config", KINDS, config),
            ("pretrained_cfg", CFG_KINDS, config.get("pretrained_cfg") or {}),
        ):
            given = {name: value for name, value in values.items() if value is not None}
            names.check_types(what, kinds, given)
    except UserError as error:
        raise Damaged(f"{file}: {error}; restore it from a copy") from error
    others = sorted({*(config.get("model_args") or {})} - {*ARGUMENTS})
    if others:
        raise Unsupported(
            f"{file} has model_args {', '.join(others)}; read are {' and '.join(ARGUMENTS)}: build the "
            "network with timm.create_model yourself"
        )
    return config


def _made(file: Path, name: str, arguments: Mapping[str, Any]) -> nn.Module:
    extras.require("networks of timm's folders need", "timm")
    import timm

    if not ARCHITECTURE.fullmatch(name) or not timm.is_model(name):
        raise Unsupported(
            f"{file} names the architecture {name[:80]!r}, which timm {timm.__version__} does not have; "
            "timm.list_models() shows those that it has"
        )
    try:
        made: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError, IndexError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise Damaged(f"{file}: timm cannot build {name} ({reason})") from error
    return made
