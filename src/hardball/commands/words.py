"""The command that remakes a result, written beside it."""

import shlex
from collections.abc import Collection
from dataclasses import fields
from typing import Any


def flags_of(
    config: Any, *, always: Collection[str] = (), never: Collection[str] = ()
) -> list[str]:
    """The fields of a config as flags.

    Args:
        config: a dataclass instance whose fields are a command's flags.
        always: fields to write even where they have their default.
        never: fields to leave out: positional ones, and those that change no result.
    """
    given = {field.name: (getattr(config, field.name), field.default) for field in fields(config)}
    return [
        f"--{name.replace('_', '-')} {_word(value)}"
        for name, (value, default) in given.items()
        if name not in never and (name in always or value != default)
    ]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    whole = isinstance(value, float) and value.is_integer()
    return shlex.quote(str(int(value) if whole else value))
