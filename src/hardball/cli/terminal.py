"""What goes to the terminal: names that a stranger gave are text there, never commands to it.

With --json a command's answer is one JSON object on stdout, and all else goes to stderr.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console

_asked = {"json": False}


def ask_for_json(wanted: bool) -> None:
    """How the command that is about to run answers."""
    _asked["json"] = wanted


def answered(found: Mapping[str, Any]) -> bool:
    """Print a command's result as JSON, where --json asks for it; otherwise it is still to be shown."""
    if _asked["json"]:
        text = json.dumps(_plain(found), ensure_ascii=False, allow_nan=False, default=str)
        sys.stdout.write(text + "\n")
    return _asked["json"]


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def terminal() -> Console:
    """Square brackets are brackets, and colons colons."""
    return Console(markup=False, emoji=False, stderr=_asked["json"])


def printable(text: str) -> str:
    """The text with what a terminal would obey (escape sequences, control characters) written out."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text
    )


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str, int], Callable[[], object]]]:
    """A bar for each part of what is computed, on a terminal: see `commands.pictures.Show`."""
    from hardball.time_left import bars

    with bars(console) as shown:

        def show(what: str, steps: int) -> Callable[[], object]:
            task = shown.add_task(what, total=steps)
            return lambda: shown.advance(task)

        yield show
