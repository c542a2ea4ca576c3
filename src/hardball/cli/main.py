"""The table of commands, and what all of them have in common.

A command's module is imported when the command is called: help and misspelt names need none of them,
and answer at once.
"""

import importlib
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from hardball._version import __version__
from hardball.cli.terminal import ask_for_json, printable
from hardball.errors import LostProcess, UserError, as_flags, unknown


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that is not imported yet."""

    place: str
    """Its function, as "module:name"."""
    about: str
    """The first paragraph of the function's docstring, on one line."""
    arguments: str = ""
    """Its positional arguments, as usage shows them."""
    parses: bool = False
    """The function takes the words of the command line; otherwise its flags are its typed arguments
    (see `cli.flags`)."""

    def load(self) -> Any:
        """The function."""
        module, _, name = self.place.partition(":")
        return getattr(importlib.import_module(module), name)

    def run(self, words: Sequence[str], program: str) -> int:
        """Parse the words after the command, call the function, return its exit code."""
        with ended_by_interrupt():
            from hardball.cli.flags import from_signature
            from hardball.cli.parsing import with_underscores

            function = self.load()
        if not self.parses:
            name = program.removeprefix("hardball ")
            function = from_signature(function, name, self.arguments)
        code: int = function(with_underscores(words))
        return code


@dataclass(frozen=True, kw_only=True)
class Group:
    """A command of several parts: hardball NAME PART."""

    what: str
    """What the parts are, without naming them."""
    parts: Mapping[str, Command]

    @property
    def about(self) -> str:
        return f"{self.what}: {', '.join(self.parts)}."

    def run(self, words: Sequence[str], program: str) -> int:
        return _dispatch(words, self.parts, program)


THEORY = {
    "gaussian": Command(
        place="hardball.cli.theory:gaussian",
        about="Optimal robust error of two Gaussian classes, and of the Bayes rule under the same attack.",
    ),
    "bernoulli": Command(
        place="hardball.cli.theory:bernoulli",
        about="Bayes and optimal ℓ0 error of two Bernoulli classes; the defaults give the paper's "
        "Figure 12.",
    ),
    "limits": Command(
        place="hardball.cli.theory:limits",
        about="The largest number of flips at which two Bernoulli classes can be told apart, by k and t.",
    ),
    "hardness": Command(
        place="hardball.cli.theory:hardness",
        about="A random graph as points to classify: the optimum is a largest (distance-3) "
        "independent set.",
    ),
}

LANDSCAPE = {
    "weights": Command(
        place="hardball.cli.landscape:weights",
        about="The adversarial loss on the segment between two sets of weights.",
        arguments="START END",
    ),
    "inputs": Command(
        place="hardball.cli.landscape:inputs",
        about="The loss around images, on the plane of an adversarial and a random direction.",
        arguments="RUN",
    ),
    "convergence": Command(
        place="hardball.cli.landscape:convergence",
        about="How the loss and the weights of runs changed from epoch to epoch.",
        parses=True,
    ),
}

ZOO = {
    "list": Command(
        place="hardball.cli.zoo:show",
        about="The networks of the zoo, with what was measured of them.",
    ),
    "load": Command(
        place="hardball.cli.zoo:load",
        about="Check a network of the zoo, show its card, and copy its weights where asked for.",
        arguments="NAME",
    ),
    "add": Command(
        place="hardball.cli.zoo:add",
        about="Make an entry of the zoo from a run and its evaluation: weights, config and model card.",
        arguments="RUN",
    ),
}

COMMANDS: dict[str, Command | Group] = {
    "demo": Command(
        place="hardball.cli.demo:demo",
        about="Direct training at a large ε fails, the curriculum succeeds: on embedded data, in "
        "minutes.",
    ),
    "train": Command(
        place="hardball.cli.train:train",
        about="Train from random weights: adversarial training, or along a curriculum.",
        parses=True,
    ),
    "extend": Command(
        place="hardball.cli.train:extend",
        about="Extended adversarial training: go on from the weights of a smaller ε, at a larger one.",
        parses=True,
    ),
    "evaluate": Command(
        place="hardball.cli.evaluate:evaluate",
        about="Measure clean and robust accuracy of a run; prints the table and writes "
        "evaluation.json.",
        parses=True,
    ),
    "verify": Command(
        place="hardball.cli.verify:verify",
        about="Re-check every witness of an evaluation against weights and data, trusting nothing "
        "else.",
        arguments="RUN",
    ),
    "certify-smooth": Command(
        place="hardball.cli.certify_smooth:certify_smooth",
        about="ℓ2 radii that a run's smoothed classifier certainly keeps its answer in (randomised "
        "smoothing).",
        arguments="RUN",
    ),
    "export": Command(
        place="hardball.cli.export:export",
        about="Write a run's network for other programs (torch.export, ONNX), and compare the file with "
        "it.",
        arguments="RUN",
    ),
    "landscape": Group(
        what="The loss as pictures, with numbers for what they show", parts=LANDSCAPE
    ),
    "report": Command(
        place="hardball.cli.report:report",
        about="One self-contained HTML page that tells the story of one run or several.",
        parses=True,
    ),
    "reproduce": Command(
        place="hardball.cli.reproduce:reproduce",
        about="Remake the paper's tables and figures: trainings, measurements, pictures, and whether "
        "each claim shows.",
        parses=True,
    ),
    "sweep": Command(
        place="hardball.cli.sweep:sweep",
        about="Train every trial of a grid, end those early that are stuck, and make one table of them.",
        parses=True,
    ),
    "zoo": Group(what="Trained networks that come with hardball", parts=ZOO),
    "explain": Command(
        place="hardball.cli.explain:explain",
        about="Saliency and perturbations of runs side by side, and how interpretable they are.",
        parses=True,
    ),
    "explore": Command(
        place="hardball.cli.explore:explore",
        about="Draw or pick an image, attack it at any ε, and see what runs make of it: a page in the "
        "browser.",
        parses=True,
    ),
    "limit": Command(
        place="hardball.cli.limit:limit",
        about="The largest ε a data set allows, and the robust error it forces on any classifier "
        "beyond.",
    ),
    "theory": Group(
        what="The theory's closed forms and constructions, as tables and plots", parts=THEORY
    ),
    "doctor": Command(
        place="hardball.cli.doctor:doctor",
        about="Versions, devices, data and extras that are found, and a self-test: for bug reports.",
    ),
    "completion": Command(
        place="hardball.cli.completion:completion",
        about="The script that lets a shell complete commands and flags.",
        arguments="SHELL",
        parses=True,
    ),
}


@contextmanager
def ended_by_interrupt() -> Iterator[None]:
    """While packages are imported, Ctrl-C ends the process at once: nothing has begun that would have
    to be left in order, and a package may turn the exception into one of its own."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(*_: object) -> None:
    os.write(sys.stderr.fileno(), b"hardball: interrupted\n")
    os._exit(130)


FAULT = 70
"""Exit code of an error that nobody has foreseen."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code (see `usage`): 2 and one line for a user's mistake."""
    words = list(sys.argv[1:] if argv is None else argv)
    ask_for_json(False)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line
            code = _dispatch(words, COMMANDS, "hardball")
            sys.stdout.flush()
        code = 0 if _is_follower() else code
    except UserError as error:
        # of several processes the first one speaks, and says how it ended, unless it may be gone
        code = 0 if _is_follower() and not isinstance(error, LostProcess) else 2
        if code:
            print(f"hardball: error: {printable(as_flags(str(error)))}", file=sys.stderr)
    except KeyboardInterrupt:
        print("hardball: interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # the reader of the output has gone (| head); nothing more is written, also not at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except OSError as error:  # a disk or a name that the system refuses, wherever that was met
        code = 2
        where = f"{error.filename}: " if error.filename is not None else ""
        reason = error.strerror or " ".join(str(error).split())
        print(f"hardball: error: {printable(where)}{printable(reason)}", file=sys.stderr)
    except Exception:  # a fault of hardball's, or of code of the user's own: 1 has another meaning
        traceback.print_exc()
        code = FAULT
    # not inside a handler: the error's frames hold the training, whose process group ends with it
    sys.exit(code)


def _is_follower() -> bool:
    """See `training.distributed.is_follower`; a program that has not imported it is alone."""
    distributed = sys.modules.get("hardball.training.distributed")
    return distributed is not None and distributed.is_follower()


def _one_line(
    message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any
) -> None:
    """A warning as the person at the terminal should see it: hardball's own, and those that a
    library gives to its users, under the library's name. What is for programmers is left out."""
    library = _library(filename)
    if _is_follower() or (library is not None and not issubclass(category, UserWarning)):
        return
    text = " ".join(str(message).split())
    text = as_flags(text) if library is None else f"from {library}: {text}"
    print(f"hardball: warning: {printable(text)}", file=sys.stderr)


def _library(filename: str) -> str | None:
    """The installed package that a file is of; None for hardball's own files and the user's."""
    _, found, inside = filename.replace(os.sep, "/").rpartition("/site-packages/")
    package = inside.partition("/")[0].removesuffix(".py")
    return package if found and package != "hardball" else None


def _dispatch(words: Sequence[str], table: Mapping[str, Command | Group], program: str) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(usage(table, program))
        return 0
    if words[0] == "--version":
        print(f"hardball {__version__}")
        return 0
    if words[0] not in table:
        raise unknown("command", words[0], table)
    return table[words[0]].run(words[1:], f"{program} {words[0]}")


def usage(table: Mapping[str, Command | Group], program: str) -> str:
    """The list of commands."""
    lines = [f"usage: {program} COMMAND ...", ""]
    for name, command in table.items():
        lines.append(fill(f"  {name:<10} {command.about}", 80, subsequent_indent=" " * 13))
    lines += [
        "",
        f"{program} COMMAND --help lists its flags;",
        "dashes and underscores in them are the same;",
        f"{program} COMMAND ... --json prints the result as one JSON object.",
        "",
        "exit codes: 0 fine; 1 a requirement is missed, the verdict is masked, or what",
        "was to be verified does not hold; 2 a mistake in the command; 130 interrupted;",
        "70 a fault in hardball or in code of your own, with its traceback.",
    ]
    return "\n".join(lines)
