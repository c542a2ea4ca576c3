"""The table of commands, and what every one of them has in common."""

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from hardball._version import __version__
from hardball.cli.evaluate import evaluate
from hardball.cli.parsing import Parser, with_underscores
from hardball.cli.train import extend, train
from hardball.errors import UserError, unknown
from hardball.training.processes import is_follower


def from_signature(function: Callable[..., int]) -> Callable[[Sequence[str]], int]:
    """A command whose flags are the typed arguments of a function."""

    def command(argv: Sequence[str]) -> int:
        about = (function.__doc__ or "").strip().splitlines()[0]
        parser = Parser(function.__name__, "RUN", description=about)
        parser.add_argument(
            "--config", action="config", help="YAML file with any of these settings"
        )
        parser.add_function_arguments(function, as_positional=True)
        values = parser.instantiate_classes(parser.parse_args(list(argv))).as_dict()
        values.pop("config", None)
        return function(**values)

    command.__doc__ = function.__doc__
    return command


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train,
    "extend": extend,
    "evaluate": from_signature(evaluate),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; exit code 2 and one line for a mistake of the user's."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line
            code = _dispatch(words)
    except UserError as error:
        # of several processes the first one speaks, and says how it ended
        if is_follower():
            sys.exit(0)
        print(f"hardball: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("hardball: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0 if is_follower() else code)


def _one_line(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning as the person at the terminal should see it."""
    if not is_follower():
        print(f"hardball: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    if words[0] == "--version":
        print(f"hardball {__version__}")
        return 0
    if words[0] not in COMMANDS:
        raise unknown("command", words[0], COMMANDS)
    return COMMANDS[words[0]](with_underscores(words[1:]))


def usage() -> str:
    """The list of commands."""
    lines = ["usage: hardball COMMAND ...", ""]
    for name, command in COMMANDS.items():
        summary = (command.__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:<10} {summary}")
    lines += [
        "",
        "hardball COMMAND --help lists its flags; dashes and underscores in them are the same.",
    ]
    return "\n".join(lines)
