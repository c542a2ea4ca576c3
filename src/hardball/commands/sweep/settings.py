"""The settings of a trial, as a file writes them, to nested values of `TrainConfig.of`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from hardball.commands.train import DataConfig, ModelConfig
from hardball.errors import UserError, unknown
from hardball.names import is_own, refuse_code
from hardball.presets import JOINED, Values, merged, preset
from hardball.training.curricula.table import curriculum_class, target_field
from hardball.training.objectives import objective_class
from hardball.training.settings import PARTS

TOP = ("eps", "epochs", "norm", "batch_size", "augment", "validation", "validation_seed", "seed")
"""Settings outside any group."""
NAMED = ("data", "model", "curriculum", "objective")
"""Groups whose name may be code outside hardball."""

_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
_FRACTION = re.compile(r"(\d+(?:\.\d*)?)/([1-9]\d*)")


def complete(base: Mapping[str, Any], own: Mapping[str, Any], *, trusted: bool) -> Values:
    """The nested values of a trial: those of its preset, then the base's, then its own.

    Args:
        base: what all trials have in common, each key a flag of `hardball train`: in full
            (`optimizer.lr`), short (`lr`), or a group (`optimizer: {lr: 0.1}`).
        own: the same, of this trial alone.
        trusted: names of code outside hardball may be imported.

    Raises:
        UserError: a key that does not exist, or no ε.
        Untrusted: a name of code outside hardball, without `trusted`.
    """
    layers = (own, base)
    kind = _named("curriculum", layers) or "constant"
    objective = _named("objective", layers) or "adversarial"
    keys = _spellings(kind, objective, trusted=trusted)
    values = _over(_nested(base, keys), _nested(own, keys))
    chosen = values.pop("preset", None)
    if chosen is not None:
        values = _over(preset(str(chosen), kind), values)
    if not trusted:
        for group in NAMED:
            name = (values.get(group) or {}).get("name")
            if isinstance(name, str) and is_own(name):
                refuse_code(group, name)
    if "eps" not in values:
        raise UserError("no eps; write the ε to train for into base, e.g. eps: 0.4")
    return values


def _over(below: Values, above: Values) -> Values:
    """Those of `above` first; the arguments of a network go with it."""
    names = [(values.get("model") or {}).get("name") for values in (below, above)]
    if names[1] is not None and names[0] != names[1]:
        below = {key: value for key, value in below.items() if key != "model"}
    return merged(below, above)


def _named(group: str, layers: Sequence[Mapping[str, Any]]) -> str | None:
    """The name that the first of the layers gives a group."""
    for layer in layers:
        for key in (group, f"{group}.name", f"{group}_name"):
            value = layer.get(key)
            value = value.get("name") if isinstance(value, Mapping) else value
            if value is not None:
                return str(value)
    return None


def _spellings(curriculum: str, objective: str, *, trusted: bool) -> dict[str, tuple[str, ...]]:
    """How a setting may be written → where it lies in nested values."""
    course = curriculum_class(curriculum, trusted=trusted)
    makers: dict[str, Any] = {
        "data": DataConfig,
        "model": ModelConfig,
        "curriculum": course,
        **PARTS,
    }
    makers["objective"] = objective_class(objective, trusted=trusted)
    leaves = {group: [one.name for one in fields(maker)] for group, maker in makers.items()}
    leaves["objective"] = ["name", *leaves["objective"]]
    skipped = {target_field(course), "epochs"}
    leaves["curriculum"] = ["name", *(one for one in leaves["curriculum"] if one not in skipped)]
    every = [leaf for group in leaves.values() for leaf in group]
    found: dict[str, tuple[str, ...]] = {}
    for group, inside in leaves.items():
        for leaf in inside:
            found[f"{group}.{leaf}"] = found[f"{group}_{leaf}"] = (group, leaf)
            if leaf == "name":
                found[group] = (group, leaf)
            elif every.count(leaf) == 1 and leaf not in JOINED:
                found.setdefault(leaf, (group, leaf))
    found |= {group: (group,) for group in leaves if group not in found}
    if target_field(course) == "eps_max":
        found["eps_max"] = ("eps",)
    return found | {name: (name,) for name in (*TOP, "preset")}


def _nested(values: Mapping[str, Any], keys: Mapping[str, tuple[str, ...]]) -> Values:
    found: Values = {}
    for written, value in values.items():
        name = written.replace("-", "_")
        if name not in keys:
            raise unknown("setting", written, [key for key in keys if "." not in key])
        path = keys[name]
        if isinstance(value, Mapping) and path[-1] == "name":
            path = path[:-1]  # a whole group under its name
        inner: Any = plain(value)
        for key in reversed(path):
            inner = {key: inner}
        found = merged(found, inner)
    return found


def plain(value: Any) -> Any:
    """A value of a YAML file; 1e-3, which YAML 1.1 reads as text, and 8/255 are numbers."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, str):
        if _EXPONENT.fullmatch(value):
            return float(value)
        fraction = _FRACTION.fullmatch(value)
        if fraction:
            return float(fraction[1]) / float(fraction[2])
    return value
