"""The commands that remake a run's training and its evaluation, from what their files say."""

import shlex
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from hardball.commands.train import DEFAULT_MODELS, inherited
from hardball.evaluation.protocols import CHECKLIST, PROTOCOLS
from hardball.presets import merged
from hardball.runs import Config
from hardball.training import CURRICULA, Settings

PLACES = {"machine"}
"""Parts of a config that change no result."""


def train_command(run: Path, config: Config) -> str | None:
    """`hardball train` or `extend` with the settings that are not the defaults; None for a run that
    was started from Python, which no command remakes."""
    data, model, curriculum = (config.get(name) or {} for name in ("data", "model", "curriculum"))
    if not data.get("name") or not model.get("name") or not curriculum.get("name"):
        return None
    origin = config.get("origin")
    defaults: dict[str, Any] = {
        "data": {"name": "digits", "root": "data"},
        **Settings().as_config(),
    }
    words = ["hardball train"]
    if origin:
        words = ["hardball extend", shlex.quote(origin["path"])]
        there = Path(origin["path"])
        defaults = merged(defaults, inherited(there) if there.exists() else {})
    else:
        defaults["model"] = {"name": DEFAULT_MODELS.get(data["name"])}
    words.append(f"--eps {_word(curriculum['target'])}")
    asked = {
        "data": data,
        "model": {
            "name": model["name"],
            "args": model.get("args") or {},
            "init": model.get("init"),
            "front": model.get("front"),
            "front_args": model.get("front_args") or {},
        },
        "curriculum": _own(curriculum),
        **{name: config[name] for name in Settings().as_config() if name in config},
    }
    for name, value in asked.items():
        if name not in PLACES:
            words += _flags(name, value, defaults.get(name))
    return " ".join([*words, f"--out {shlex.quote(str(run))}"])


def _own(curriculum: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a curriculum that differ from its defaults; the name, unless it is constant."""
    maker = CURRICULA.get(curriculum["name"])
    usual = {} if maker is None else {f.name: _default(f) for f in fields(maker)}
    return {
        name: value
        for name, value in curriculum.items()
        if name != "target"
        and not (name == "name" and value == "constant")
        # the epochs of an extension have another default
        and (name == "epochs" or name not in usual or usual[name] != value)
    }


def _default(field: "Field[Any]") -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _flags(name: str, value: Any, usual: Any) -> list[str]:
    """A setting, or each of a group of them, where it is not the usual one."""
    if not isinstance(value, Mapping):
        return [] if value == usual else [f"--{name.replace('_', '-')} {_word(value)}"]
    known = usual if isinstance(usual, Mapping) else {}
    words = []
    for inner, one in value.items():
        if inner in known and known[inner] == one:
            continue
        if inner == "args":
            words += [f"--{name}-args {_word(one)}"] if one != (known.get("args") or {}) else []
        elif inner == "front_args":
            words += [f"--front-args {_word(one)}"] if one else []
        elif inner == "name":
            words.append(f"--{name} {_word(one)}")
        elif inner in ("epochs", "init", "front"):
            words += [f"--{inner} {_word(one)}"] if one is not None else []
        else:
            words.append(f"--{name}-{inner.replace('_', '-')} {_word(one)}")
    return words


def _word(value: Any) -> str:
    """As YAML on a command line."""
    return shlex.quote(_yaml(value))


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_yaml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)


def evaluate_command(run: Path, found: Mapping[str, Any]) -> str:
    """`hardball evaluate` with the attacks, radii and images of an evaluation.json."""
    words = ["hardball evaluate", shlex.quote(str(run))]
    words.append(f"--eps {_word([row['eps'] for row in found['robust']])}")
    words.append(f"--norm {_word(found['norm'])}" if found["norm"] != "linf" else "")
    checklist = found.get("checklist")
    if checklist:
        words.append(f"--protocol {CHECKLIST} --budget {checklist['budget']}")
    else:
        names = set(found["attacks"])
        known = [p for p, attacks in PROTOCOLS.items() if set(attacks) == names and p != CHECKLIST]
        words.append(
            f"--protocol {known[0]}" if known else f"--attacks {_word(list(found['attacks']))}"
        )
    certificates = dict.fromkeys(row["certificate"] for row in found.get("certified") or [])
    words.append(f"--certify {_word(list(certificates))}" if certificates else "")
    required = [f"{one['eps']:g}:{one['accuracy']:g}" for one in found.get("required") or []]
    words.append(f"--require {','.join(required)}" if required else "")
    words.append(f"--split {found['split']}" if found.get("split", "test") != "test" else "")
    words.append(f"--n {found['n']}")
    words.append(f"--seed {found['seed']}" if found["seed"] else "")
    return " ".join(word for word in words if word)
