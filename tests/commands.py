"""Runs of the command in processes of their own, which may be killed at any moment.

The processes are forked from a server that has imported everything once, so each starts at once.
"""

import importlib
import multiprocessing
import os
import re
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import torch
from torch.distributed import TCPStore

import hardball
from hardball.cli import main

TINY = ("--steps", "2", "--batch-size", "64", "--validation", "1000", "--model-args", "{width: 4}")
"""Flags of a training that takes well under a second: 437 digits, 7 updates per epoch."""


Ended = tuple[int, str, str]
"""Exit code (negative: the signal that ended it), what went to stdout, what went to stderr."""


@dataclass(frozen=True, kw_only=True)
class Signal:
    """Sent by the process to itself at the `count`-th call of a function."""

    at: str
    """module:attribute"""
    count: int
    number: signal.Signals = signal.SIGKILL


@dataclass(frozen=True, kw_only=True)
class Started:
    """A process that runs the command."""

    process: ForkServerProcess
    log: Path

    def end(self) -> Ended:
        """Wait for it."""
        self.process.join()
        code = self.process.exitcode
        assert code is not None
        return code, own((self.log / "out").read_text()), own((self.log / "err").read_text())


PACKAGE = Path(hardball.__file__).parent

FOREIGN = re.compile(
    r"^(?:"
    r"(?:\[rank\d+\]:)?\[[IWE]\d* .*\n"  # the log of torch's C++: [W1124 12:00:00.1 socket.cpp:752]
    r"|\[Gloo\] .*\n"
    rf"|(?!{re.escape(str(PACKAGE))})[^:\n]+:\d+: \w*Warning: .*\n(?:  .*\n)?"  # and the line of code
    r")",
    re.MULTILINE,
)


def own(written: str) -> str:
    """What the command wrote, without what Python's and torch's own warnings wrote beside it.

    They come and go with versions and machines, and say nothing about hardball.
    """
    return FOREIGN.sub("", written)


def start(
    words: Sequence[object],
    folder: Path,
    *,
    planned: Signal | None = None,
    environment: Mapping[str, str] | None = None,
    instead: Mapping[str, object] | None = None,
    hidden: Sequence[str] = (),
    log: Path | None = None,
) -> Started:
    """Run `hardball *words` in `folder`; `instead` gives other values to some "module:NAME", and
    packages that are `hidden` cannot be imported. What it prints goes below `log`, or `folder`."""
    log = log or folder
    log = log / f"log{len(list(log.glob('log*')))}"
    log.mkdir(parents=True)
    more = (dict(environment or {}), dict(instead or {}), tuple(hidden))
    arguments = ([str(w) for w in words], folder, log, planned, *more)
    process = _server().Process(target=_run, args=arguments)
    process.start()
    return Started(process=process, log=log)


def run(
    words: Sequence[object],
    folder: Path,
    *,
    planned: Signal | None = None,
    instead: Mapping[str, object] | None = None,
    hidden: Sequence[str] = (),
    log: Path | None = None,
) -> Ended:
    """Run `hardball *words` in `folder` to its end."""
    return start(words, folder, planned=planned, instead=instead, hidden=hidden, log=log).end()


def run_two(
    words: Sequence[object], folder: Path, *, planned: Signal | None = None, rank: int = 0
) -> list[Ended]:
    """Run `hardball *words` as two processes, as a launcher does; `planned` is for that of `rank`."""
    # As under torchrun, this process holds the store where they meet. A free port given to one of
    # them to open could be another program's by then.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    shared |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    shared |= {"WORLD_SIZE": "2", "NODE_RANK": "0"}
    words = [*words, "--devices", 2, "--accelerator", "cpu"]
    both = [
        start(
            words,
            folder,
            planned=planned if place == rank else None,
            environment=shared | {"LOCAL_RANK": str(place)},
        )
        for place in range(2)
    ]
    return [one.end() for one in both]


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            *(f"hardball.cli.{command}" for command in ("train", "evaluate", "verify", "flags")),
            "lightning_fabric",
            "torch.utils.tensorboard",
            __name__,
        ]
    )
    return context


def _run(
    words: list[str],
    folder: Path,
    log: Path,
    planned: Signal | None,
    environment: dict[str, str],
    instead: dict[str, object],
    hidden: tuple[str, ...],
) -> None:
    hide(hidden)
    os.chdir(folder)
    os.environ.update(environment)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(log / name, os.O_WRONLY | os.O_CREAT), number)
    torch.set_num_threads(1)
    # The command prints warnings as its own: in a process of a test, only those that are.
    warnings.filterwarnings("ignore", module="(?!hardball)")
    for place, value in instead.items():
        module, _, name = place.partition(":")
        owner = importlib.import_module(module)
        *path, name = name.split(".")
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, name, value)
    if planned is not None:
        _plan(planned)
    main(words)


class _Hidden:
    """A finder before all others, which finds that some packages are not installed."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = set(packages)

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] in self.packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def hide(packages: Sequence[str]) -> None:
    """From now on this process cannot import them, whether it has done so before or not."""
    for name in [*sys.modules]:
        if any(name == one or f".{name}.".find(f".{one}.") >= 0 for one in packages):
            del sys.modules[name]
    sys.meta_path.insert(0, _Hidden(packages))


def _plan(planned: Signal) -> None:
    module, _, attribute = planned.at.partition(":")
    owner = importlib.import_module(module)
    *path, name = attribute.split(".")
    for part in path:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), iter(range(1, 10**9))

    def counted(*args: object, **more: object) -> object:
        if next(calls) == planned.count:
            os.kill(os.getpid(), planned.number)
        return original(*args, **more)

    setattr(owner, name, counted)
