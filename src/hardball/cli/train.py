"""`hardball train` and `hardball extend`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from hardball.cli.parsing import Parser, peek
from hardball.commands import train as jobs
from hardball.commands.train import JOB_FIELDS, SETTINGS_FIELDS, Job
from hardball.errors import UserError
from hardball.presets import PRESETS, preset
from hardball.runs import INTERRUPTED, Run
from hardball.training import Settings
from hardball.training.distributed import is_follower
from hardball.training.fit import MACHINE


def train(argv: Sequence[str]) -> int:
    """Train from random weights: adversarial training, or along a curriculum."""
    resumed = peek(argv, "resume")
    kind = peek(argv, "curriculum") or "constant"
    parser = _parser("train", "--eps E", argv, kind, about=train.__doc__)
    parser.add_argument(
        "--resume", type=Path, help="continue this run; only flags of the machine may differ"
    )
    if resumed is not None:
        return _resume(Path(resumed), argv, parser)
    job, settings = _parsed(parser, argv)
    return _report(jobs.train(job, settings, console=Console()))


def extend(argv: Sequence[str]) -> int:
    """Extended adversarial training: go on from the weights of a smaller ε, at a larger one."""
    words = [word for word in argv if not word.startswith("-")]
    origin = Path(words[0]) if words and argv[0] == words[0] else None
    parser = _parser("extend", "RUN --eps E", argv, "extend", origin, about=extend.__doc__)
    parser.add_argument(
        "origin",
        type=Path,
        metavar="RUN",
        help="a run, or a weights file (then name --data and --model)",
    )
    job, settings = _parsed(parser, argv)
    if origin is None:
        raise UserError("name the run to extend first: hardball extend RUN --eps E")
    if not origin.exists():
        raise UserError(
            f"no run and no weights at {origin}; name a folder that training made, or a file"
        )
    return _report(jobs.train(job, settings, origin=origin, console=Console()))


def _parser(
    name: str,
    arguments: str,
    argv: Sequence[str],
    kind: str,
    origin: Path | None = None,
    *,
    about: str | None,
) -> Parser:
    parser = Parser(name, arguments, description=about)
    parser.add_argument("--config", action="config", help="YAML file with any of these settings")
    parser.add_argument("--preset", type=str | None, help=f"defaults by name: {', '.join(PRESETS)}")
    parser.add_class_arguments(Job, None, fail_untyped=False)
    parser.add_class_arguments(Settings, None, fail_untyped=False)
    defaults: dict[str, Any] = {}
    if name == "extend":
        defaults |= {"epochs": 5}
        if origin is not None and origin.exists():
            defaults |= jobs.inherited(origin)
    chosen = peek(argv, "preset")
    if chosen is not None:
        defaults |= preset(chosen, kind)
    parser.set_defaults(defaults)
    return parser


def _parsed(parser: Parser, argv: Sequence[str]) -> tuple[Job, Settings]:
    values = parser.parse_args(list(argv)).as_dict()
    job = Job(**{k: values[k] for k in JOB_FIELDS})
    return job, Settings(**{k: values[k] for k in SETTINGS_FIELDS})


def _resume(path: Path, argv: Sequence[str], parser: Parser) -> int:
    given = {word[2:].partition("=")[0] for word in argv if word.startswith("--")}
    other = sorted(given - {"resume", *MACHINE})
    if other:
        raise UserError(
            f"--{other[0]} beside --resume; a resumed run keeps its own settings, only "
            f"{', '.join(MACHINE)} may differ: leave it out, or start a new run"
        )
    values = parser.parse_args([*argv, "--eps", "0"])
    machine = {name: values[name] for name in MACHINE if name in given}
    return _report(jobs.resume(path, machine, console=Console()))


def _report(run: Run) -> int:
    assert run.outcome is not None
    if run.folder is not None and not is_follower():
        print(f"{run.outcome.status}: {run.folder.path}")
    return 130 if run.outcome.status == INTERRUPTED else 0
