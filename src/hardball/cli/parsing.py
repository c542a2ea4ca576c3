"""Flags from typed functions and dataclasses, YAML files, and errors of one line."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Never

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from hardball.errors import UserError

set_parsing_settings(docstring_parse_attribute_docstrings=True)


class Parser(ArgumentParser):
    """jsonargparse's parser, whose errors are hardball's: one line, exit code 2."""

    def error(self, message: str, ex: Exception | None = None) -> Never:
        line = " ".join(part.strip() for part in str(message).splitlines() if part.strip())
        raise UserError(f"{line}; see {self.prog} --help")


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
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read --config {path}: {str(error).splitlines()[0]}") from error
    value: Any = content.get(flag) if isinstance(content, dict) else None
    return None if value is None else str(value)
