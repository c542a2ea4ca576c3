"""Flags from typed functions and dataclasses, YAML files, and errors of one line."""

import re
import types
from argparse import SUPPRESS, Action
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Never, Union, get_args, get_origin

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_parsing_settings

from hardball.errors import UserError

set_parsing_settings(docstring_parse_attribute_docstrings=True)

KINDS: dict[object, tuple[str, str]] = {
    float: ("NUMBER", "a finite number"),
    int: ("N", "a whole number"),
    bool: ("BOOL", "true or false"),
    str: ("NAME", "a name"),
    Path: ("PATH", "a path"),
    dict: ("YAML", "a YAML mapping, e.g. '{width: 16}'"),
    list: ("LIST", "a list, e.g. '[0.1, 0.2]'"),
    type(None): ("null", "null"),
}
"""type → what help shows in place of a value, and what an error says is allowed."""


class Help(DefaultHelpFormatter):
    """Each flag with what it is for and its default, without the names of Python's types."""

    def _get_help_string(self, action: Action) -> str:
        text = (action.help or "").strip()
        if not action.option_strings:
            return text
        if action.required:
            return f"{text} (required)"
        if action.default in (None, SUPPRESS, {}) or "default" in text:
            return text
        shown = str(action.default).lower() if isinstance(action.default, bool) else action.default
        return f"{text} (default: {shown})"

    def _get_default_metavar_for_optional(self, action: Action) -> str:
        hint = getattr(action, "_typehint", None)
        return KINDS.get(_members(hint)[0], ("VALUE", ""))[0]


class Parser(ArgumentParser):
    """jsonargparse's parser, whose errors are hardball's: one line, exit code 2."""

    def __init__(self, name: str, arguments: str = "", **more: Any) -> None:
        usage = " ".join(["hardball", name, *arguments.split(), "[--flag value ...]"])
        # no abbreviations: `peek` looks for whole names
        super().__init__(
            prog=f"hardball {name}",
            usage=usage,
            formatter_class=Help,
            allow_abbrev=False,
            **more,
        )

    def error(self, message: str, ex: Exception | None = None) -> Never:
        line = " ".join(str(message).split())
        raise UserError(f"{self._plain(line)}; see {self.prog} --help")

    def _plain(self, line: str) -> str:
        """jsonargparse's commonest complaints in hardball's words."""
        key = re.search(r'Parser key "([^"]+)"', line)
        value = re.search(r"(?:Got|Given) value: (.*?)(?: - Expected .*)?$", line)
        action = next((a for a in self._actions if key and a.dest == key[1]), None)
        hint = getattr(action, "_typehint", None)
        if key and value and hint is not None:
            return f"{key[1]}={value[1]}; allowed is {_allowed(hint)}"
        missing = re.search(r"the following arguments are required: (.*)", line)
        if missing:
            shown = {a.dest: f"--{a.dest}" for a in self._actions if a.option_strings}
            return "missing " + " and ".join(shown.get(n, "RUN") for n in missing[1].split(", "))
        return line


def _members(hint: object) -> list[Any]:
    """The types that a hint allows, in order, without their arguments."""
    if get_origin(hint) in (Union, types.UnionType):
        return [kind for part in get_args(hint) for kind in _members(part)]
    return [hint if get_origin(hint) is Literal else get_origin(hint) or hint]


def _allowed(hint: object) -> str:
    return " or ".join(
        ", ".join(map(str, get_args(kind)))
        if get_origin(kind) is Literal
        else KINDS.get(kind, ("", str(kind)))[1]
        for kind in _members(hint)
    )


def with_underscores(argv: Sequence[str]) -> list[str]:
    """--data-root and --data_root are the same flag."""
    return [
        re.sub(r"^--[^=]+", lambda m: "--" + m[0][2:].replace("-", "_"), a)
        if a.startswith("--")
        else a
        for a in argv
    ]


def peek(argv: Sequence[str], flag: str) -> str | None:
    """The value that `--flag` has on the command line, or else in a --config file: for a flag that
    changes the defaults of others, needed before they are parsed."""
    found: str | None = None
    for index, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name == f"--{flag}":
            found = value if equals else (argv[index + 1] if index + 1 < len(argv) else None)
    if found is None and flag != "config":
        config = peek(argv, "config")
        if config is not None:
            found = _from_file(Path(config), flag)
    return found


def _from_file(path: Path, flag: str) -> str | None:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"cannot read --config {path}: {reason}; name a YAML file") from error
    if not isinstance(content, dict):
        raise UserError(f"--config {path} is no YAML mapping; write lines like eps: 0.3")
    value: Any = content.get(flag)
    return None if value is None else str(value)
