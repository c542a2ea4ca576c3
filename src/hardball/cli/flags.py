"""A command whose flags are the typed arguments of a function, or the fields of its config."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from hardball.cli.parsing import Parser

Runs = Callable[[Sequence[str]], int]
"""Words of the command line → exit code."""


def from_signature(function: Callable[..., int], name: str, arguments: str = "") -> Runs:
    """The command of a function: each of its arguments is a flag, or each field of the dataclass that
    is its only argument.

    Args:
        name: the command, without "hardball".
        arguments: the function's positional arguments, as usage shows them.
    """
    config = config_of(function)
    if config is not None:
        return from_config(config, function, name, arguments)

    def command(words: Sequence[str]) -> int:
        parser = _parser(name, arguments, function)
        parser.add_function_arguments(function, as_positional=True)
        return function(**parser.parsed(words))

    return command


def from_config(
    config: type, function: Callable[[Any], int], name: str, arguments: str = ""
) -> Runs:
    """The command of a function of one dataclass, whose fields are the flags; those without a default
    are positional, and `arguments` are their names in usage."""

    def command(words: Sequence[str]) -> int:
        parser = _parser(name, arguments, function)
        parser.add_class_arguments(config, None, as_positional=True, fail_untyped=False)
        return function(config(**parser.parsed(words)))

    return command


def config_of(function: Callable[..., int]) -> type | None:
    """The dataclass that is a function's only argument, if it has just one of that kind."""
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) != 1:
        return None
    kind = get_type_hints(function)[parameters[0]]
    return kind if isinstance(kind, type) and is_dataclass(kind) else None


def about(function: Callable[..., int]) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((function.__doc__ or "").strip().split("\n\n")[0].split())


def _parser(name: str, arguments: str, function: Callable[..., int]) -> Parser:
    parser = Parser(name, arguments, description=about(function))
    parser.add_argument("--config", action="config", help="YAML file with any of these settings")
    return parser
