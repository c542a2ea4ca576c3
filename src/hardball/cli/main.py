"""The table of commands, and what every one of them has in common."""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import Any

from hardball._version import __version__
from hardball.cli.demo import demo
from hardball.cli.evaluate import evaluate
from hardball.cli.limit import limit
from hardball.cli.parsing import Parser, with_underscores
from hardball.cli.theory import TOPICS
from hardball.cli.train import extend, train
from hardball.cli.verify import verify
from hardball.errors import UserError, unknown
from hardball.training.distributed import is_follower

Command = Callable[[Sequence[str]], int]


def from_signature(function: Callable[..., int], group: str = "", arguments: str = "") -> Command:
    """A command whose flags are the typed arguments of a function.

    Args:
        group: the command that this one is a part of.
        arguments: its positional arguments, as usage shows them.
    """

    def command(argv: Sequence[str]) -> int:
        parser = Parser(
            f"{group} {function.__name__}".strip(), arguments, description=_about(function)
        )
        parser.add_argument(
            "--config", action="config", help="YAML file with any of these settings"
        )
        parser.add_function_arguments(function, as_positional=True)
        values = parser.parse_args(list(argv)).as_dict()
        values.pop("config", None)
        return function(**values)

    command.__doc__ = _about(function)
    return command


def grouped(name: str, about: str, parts: Mapping[str, Callable[..., int]]) -> Command:
    """A command of several parts: hardball NAME PART."""
    table = {word: from_signature(part, name) for word, part in parts.items()}

    def command(argv: Sequence[str]) -> int:
        return _dispatch(argv, table, f"hardball {name}")

    command.__doc__ = f"{about}: {', '.join(table)}."
    return command


def _about(function: Callable[..., int]) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((function.__doc__ or "").strip().split("\n\n")[0].split())


COMMANDS: dict[str, Command] = {
    "demo": from_signature(demo),
    "train": train,
    "extend": extend,
    "evaluate": from_signature(evaluate, arguments="RUN"),
    "verify": from_signature(verify, arguments="RUN"),
    "limit": from_signature(limit),
    "theory": grouped(
        "theory",
        "The theory's closed forms and constructions, as tables and plots",
        TOPICS,
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code (see `usage`): 2 and one line for a user's mistake."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line
            code = _dispatch(words, COMMANDS)
        code = 0 if is_follower() else code
    except UserError as error:
        # of several processes the first one speaks, and says how it ended
        code = 0 if is_follower() else 2
        if code:
            print(f"hardball: error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("hardball: interrupted", file=sys.stderr)
        code = 130
    # not inside a handler: the error's frames hold the training, whose process group ends with it
    sys.exit(code)


def _one_line(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning as the person at the terminal should see it."""
    if not is_follower():
        print(f"hardball: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _dispatch(words: Sequence[str], table: Mapping[str, Command], program: str = "hardball") -> int:
    if not words or words[0] in ("-h", "--help"):
        print(usage(table, program))
        return 0
    if words[0] == "--version":
        print(f"hardball {__version__}")
        return 0
    if words[0] not in table:
        raise unknown("command", words[0], table)
    return table[words[0]](with_underscores(words[1:]))


def usage(table: Mapping[str, Command], program: str) -> str:
    """The list of commands."""
    lines = [f"usage: {program} COMMAND ...", ""]
    for name, command in table.items():
        about = (command.__doc__ or "").strip().splitlines()[0]
        lines.append(fill(f"  {name:<10} {about}", 80, subsequent_indent=" " * 13))
    lines += [
        "",
        f"{program} COMMAND --help lists its flags;",
        "dashes and underscores in them are the same.",
        "",
        "exit codes: 0 fine; 1 a requirement is missed, the verdict is masked, or what",
        "was to be verified does not hold; 2 a mistake in the command; 130 interrupted.",
    ]
    return "\n".join(lines)
