"""Which flags each command has, for the completion of shells: src/hardball/cli/completion.json.

`python tools/completion.py --write` renews the file; a test compares it with the commands.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Never, get_args, get_origin
from unittest.mock import patch

from hardball import evaluation, presets
from hardball.cli.completion import SHELLS
from hardball.cli.main import COMMANDS, Command, Group
from hardball.cli.parsing import Parser, _members
from hardball.data import DATASETS
from hardball.models import MODELS
from hardball.training import CURRICULA
from hardball.training.objectives import OBJECTIVES

FILE = Path(__file__).resolve().parents[1] / "src" / "hardball" / "cli" / "completion.json"

NAMES: Mapping[str, Sequence[str]] = {
    "curriculum": sorted(CURRICULA),
    "data": sorted(DATASETS),
    "model": sorted(MODELS),
    "norm": ["linf", "l2", "l0", "unbounded"],
    "objective": sorted(OBJECTIVES),
    "preset": sorted(presets.PRESETS),
    "protocol": [*evaluation.protocols.PROTOCOLS],
}
"""flag → what hardball has by name; a name of the user's own is as good."""

KINDS: Mapping[str, Sequence[Sequence[str]]] = {
    "train": [
        ["--curriculum", kind, "--objective", objective, "--eps", "0.1"]
        for kind in CURRICULA
        for objective in OBJECTIVES
    ],
    "extend": [
        [__file__, "--curriculum", kind, "--objective", objective, "--eps", "0.1"]
        for kind in CURRICULA
        for objective in OBJECTIVES
    ],
}
"""Words on which it depends which flags there are: those of each are taken together. What is extended
must be a file."""


TAKES_RUNS = ("extend", "evaluate", "explain", "explore", "report", "convergence")
"""Commands with paths among their arguments that do not say so themselves."""


class _Asked(Exception):
    """A parser, as a command is about to use it."""

    def __init__(self, parser: Parser) -> None:
        self.parser = parser


def tree(commands: Mapping[str, Command | Group], before: str = "") -> dict[str, Any]:
    """Each command with what completion needs to know of it; a group with its parts."""
    found: dict[str, Any] = {}
    for name, command in commands.items():
        if isinstance(command, Group):
            inside: dict[str, Any] = {"parts": tree(command.parts, f"{name} ")}
        elif name == "completion":
            inside = {"flags": {}, "words": [*SHELLS]}
        else:
            words = name in TAKES_RUNS or bool(command.arguments)
            inside = {"flags": _flags(before + name, command), "words": words}
        found[name] = {"about": command.about, **inside}
    return found


def _flags(name: str, command: Command) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for words in KINDS.get(name, [[]]):
        parser = _parser(name, command, words)
        for action in parser._actions:
            if action.option_strings and action.dest not in ("help", "print_config"):
                flag = getattr(action, "short", action.dest).replace("_", "-")
                found.setdefault(flag, _about(flag, action))
    return dict(sorted(found.items()))


def _parser(name: str, command: Command, words: Sequence[str]) -> Parser:
    def asked(parser: Parser, *_: object, **__: object) -> Never:
        raise _Asked(parser)

    with patch.object(Parser, "parse_args", asked):
        try:
            command.run(words, f"hardball {name}")
        except _Asked as found:
            return found.parser
    raise AssertionError(f"{name} parses nothing")


def _about(flag: str, action: argparse.Action) -> dict[str, Any]:
    members = _members(getattr(action, "_typehint", None))
    choices = [
        str(one) for kind in members if get_origin(kind) is Literal for one in get_args(kind)
    ]
    if bool in members:
        choices = ["true", "false"]
    return {
        "help": " ".join((action.help or "").split("; ")[0].split()),
        "choices": [*NAMES.get(flag, choices)],
        "path": Path in members or flag == "config",
        "switch": action.nargs == 0,
    }


def main() -> None:
    text = json.dumps(tree(COMMANDS), indent=1, ensure_ascii=False) + "\n"
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(text)
    else:
        sys.exit(0 if FILE.read_text() == text else "completion.json is not of these commands")


if __name__ == "__main__":
    main()
