"""`hardball train` and `hardball extend`."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hardball.cli.parsing import Parser, flattened, peek, trusts, typed
from hardball.cli.terminal import answered, printable, terminal
from hardball.commands import train as commands
from hardball.commands.train import DataConfig, ModelConfig, TrainConfig
from hardball.errors import UserError
from hardball.names import is_own
from hardball.presets import PRESETS, Values, merged, preset
from hardball.runs import INTERRUPTED, Run
from hardball.training import CURRICULA, Machine, Settings
from hardball.training.curricula.table import curriculum_class, target_field
from hardball.training.distributed import is_follower
from hardball.training.objectives import objective_class
from hardball.training.settings import PARTS

NAMED = ("data", "model", "curriculum", "objective")
"""Groups whose name may be code outside hardball."""


@dataclass(frozen=True, kw_only=True)
class Top:
    """What to train for, and where the result goes."""

    eps: float
    """ε to train for, in pixel units ([0, 1] for linf; 0 is standard training). For adaptive the
    largest to try, which may be written --eps-max."""
    epochs: int | None = None
    """Epochs in all (30 for constant; for iterative the ramp and its hold; for adaptive the most that
    it may take)."""
    out: Path | None = None
    """Folder of the run; by default runs/ and a name made of the settings."""


def train(argv: Sequence[str]) -> int:
    """Train from random weights: adversarial training, or along a curriculum."""
    request = _Request("train", "--eps E", argv, about=train.__doc__)
    request.parser.add_argument(
        "--resume", type=Path, help="continue this run; only flags of the machine may differ"
    )
    resumed = peek(argv, "resume")
    if resumed is not None:
        return _resume(Path(resumed), argv, request.parser)
    return _report(commands.train(request.config(), console=terminal()))


def extend(argv: Sequence[str]) -> int:
    """Extended adversarial training: go on from the weights of a smaller ε, at a larger one."""
    words = [word for word in argv if not word.startswith("-")]
    origin = Path(words[0]) if words and argv[0] == words[0] else None
    request = _Request("extend", "RUN --eps E", argv, about=extend.__doc__, origin=origin)
    request.parser.add_argument(
        "origin",
        type=Path,
        metavar="RUN",
        help="a run, or a weights file (then name --data and --model)",
    )
    config = request.config()
    if origin is None:
        raise UserError("name the run to extend first: hardball extend RUN --eps E")
    if not origin.exists():
        raise UserError(
            f"no run and no weights at {origin}; name a folder that training made, or a file"
        )
    return _report(commands.train(config, origin=origin, console=terminal()))


class _Request:
    """The parser for a training, whose flags depend on the curriculum and objective named.

    Args:
        origin: the run to extend, whose settings are the defaults.
    """

    def __init__(
        self,
        name: str,
        arguments: str,
        argv: Sequence[str],
        *,
        about: str | None,
        origin: Path | None = None,
    ) -> None:
        kind = peek(argv, "curriculum") or "constant"
        noise = typed(argv, "noise") is not None
        self.argv = _with_noise(argv) if noise else _with_eps(argv, kind)
        self.defaults: Mapping[str, Any] = {}
        # an adaptive curriculum ends by itself
        short = name == "extend" and kind != "adaptive"
        if name == "extend":
            found = commands.inherited(origin) if origin is not None and origin.exists() else {}
            self.defaults = {"epochs": 5, **found} if short else found
        chosen = peek(argv, "preset")
        if chosen is not None:
            values = preset(chosen, "extend" if short else kind)
            self.defaults = _without_arguments_of_others(merged(self.defaults, values), argv)
        if noise:  # presets, and runs that are extended, may have an attack; noise has none
            unused = ("norm", "attack", "objective")
            self.defaults = {k: v for k, v in self.defaults.items() if k not in unused}
        elif self.defaults.get("objective", {}).get("name") == "noise":
            _refuse_eps_for_noise(self.argv, origin)
        self.trust = trusts(argv)
        self.parser = self._parser(name, arguments, about, kind)

    def _parser(self, name: str, arguments: str, about: str | None, kind: str) -> Parser:
        parser = Parser(name, arguments, description=about)
        parser.add_argument(
            "--config", action="config", help="YAML file with any of these settings"
        )
        parser.add_argument(
            "--preset", type=str | None, help=f"defaults by name: {', '.join(PRESETS)}"
        )
        parser.add_argument(
            "--trust_model_code",
            type=bool,
            default=False,
            help="let code outside hardball run that a file names (a run's config.yaml, --config)",
        )
        parser.add_fields(Top)
        parser.add_argument(
            "--noise",
            type=float | None,
            help="σ to train for with Gaussian noise in place of an attack and --eps; the curriculum "
            "moves σ (the same as --objective noise --eps SIGMA)",
        )
        parser.add_fields(DataConfig, "data")
        parser.add_fields(ModelConfig, "model")
        curriculum = curriculum_class(kind, trusted=self._trusts("curriculum", kind))
        parser.add_argument(
            "--curriculum.name",
            type=str,
            default=kind,
            help="How ε moves: constant, iterative (a ramp up to ε), adaptive (as far as the "
            "network learns: give --eps-max), or your own "
            "package.module:Class; its fields are flags, too.",
        )
        parser.add_fields(curriculum, "curriculum", skip=[target_field(curriculum), "epochs"])
        parser.add_fields(Settings, skip=["objective", *PARTS])
        for group, part in PARTS.items():
            parser.add_fields(part, group)
        asked = peek(self.argv, "objective") or self.defaults.get("objective", {}).get("name")
        objective = objective_class(
            asked or "adversarial", trusted=self._trusts("objective", asked)
        )
        parser.add_argument(
            "--objective.name",
            type=str,
            default=asked or "adversarial",
            help="What is minimised: adversarial (cross entropy), trades, mart, noise, or your own "
            "package.module:Class; its fields are flags, too.",
        )
        parser.add_fields(objective, "objective")
        keys = [action.dest for action in parser._actions if action.option_strings]
        parser.set_defaults(flattened(self.defaults, keys))
        return parser

    def _trusts(self, group: str, name: str | None) -> bool:
        """A name that the user typed, or all of them."""
        return self.trust or name is None or typed(self.argv, group) == name

    def config(self) -> TrainConfig:
        """What the command line asks for.

        Raises:
            UserError: a mistake in it.
            Untrusted: a file names code outside hardball, unasked.
        """
        _refuse_flags_of_others(self.argv, self.parser)
        values = self.parser.parsed(self.argv)
        noise = values.pop("noise")
        if noise is not None:
            raise UserError(
                f"noise={noise:g} in a --config file; write it as `eps: {noise:g}` and "
                "`objective: {name: noise}` there, or give --noise on the command line"
            )
        own = [group for group in NAMED if is_own(values[group]["name"] or "")]
        trusted = all(self._trusts(group, values[group]["name"]) for group in own)
        return TrainConfig.of(values, trusted=trusted)


def _with_eps(argv: Sequence[str], kind: str) -> Sequence[str]:
    """The words with --eps for --eps-max, which is what an adaptive curriculum calls its ε.

    Raises:
        UserError: both of them, or an adaptive curriculum with neither.
    """
    largest, eps = typed(argv, "eps_max"), typed(argv, "eps")
    if largest is not None and eps is not None:
        raise UserError(f"--eps {eps} beside --eps-max {largest}, which are one setting; give one")
    if kind != "adaptive":
        if largest is not None and CURRICULA.get(kind):
            raise UserError(
                f"eps_max={largest} without --curriculum adaptive; add it, or give --eps {largest}"
            )
        return argv
    asked = peek(argv, "eps") or peek(argv, "resume") or {"-h", "--help"} & {*argv}
    if largest is None and not asked:
        raise UserError(
            "missing --eps-max: the largest ε that an adaptive curriculum may reach, e.g. --eps-max 0.4"
        )
    return ["--eps" + word[9:] if word.split("=")[0] == "--eps_max" else word for word in argv]


def _with_noise(argv: Sequence[str]) -> Sequence[str]:
    """The words with --noise SIGMA written as what it is: another objective, whose ε is σ.

    Raises:
        UserError: an ε, a norm or another objective beside it, or a σ that is no number above 0.
    """
    sigma = typed(argv, "noise") or ""
    for flag in ("eps", "eps_max", "norm", "objective", "resume"):
        other = peek(argv, flag)
        if other is not None and (flag, other) != ("objective", "noise"):
            why = {
                "norm": "whose certificates are in l2",
                "resume": "which keeps its own settings",
            }.get(flag, "which trains with noise in its place")
            raise UserError(f"`{flag}={other}` beside `noise={sigma}`, {why}; give one of them")
    try:
        positive = 0 < float(sigma) < math.inf
    except ValueError:
        positive = False
    if not positive:
        raise UserError(
            f"noise={sigma or 'nothing'}; allowed is a finite σ above 0, in pixel units: --noise 0.5"
        )
    words = [re.sub(r"^--noise(?=$|=)", "--eps", word) for word in argv]
    given = typed(argv, "objective") is not None
    return words if given else [*words, "--objective", "noise"]


def _refuse_eps_for_noise(argv: Sequence[str], origin: Path | None) -> None:
    """An ε for the extension of a run whose ε was a σ.

    Raises:
        UserError: unless an objective is named.
    """
    eps = typed(argv, "eps")
    if eps is not None and typed(argv, "objective") is None:
        raise UserError(
            f"--eps {eps} to extend {origin}, which was trained with noise; give --noise {eps}, or name "
            "the objective too: --objective adversarial"
        )


def _without_arguments_of_others(defaults: Values, argv: Sequence[str]) -> Values:
    """A model or front that is named in place of the preset's does not get the arguments of that one."""
    model = dict(defaults.get("model", {}))
    for key, arguments, asked in (
        ("name", "args", peek(argv, "model")),
        ("front", "front_args", peek(argv, "front")),
    ):
        if asked is not None and asked != model.get(key):
            model.pop(arguments, None)
    return {**defaults, "model": model}


def _refuse_flags_of_others(argv: Sequence[str], parser: Parser) -> None:
    """A flag of a curriculum that was not chosen."""
    mine = {*parser.short_forms(), *(action.dest for action in parser._actions)}
    for name, maker in CURRICULA.items():
        for one in fields(maker):
            value = typed(argv, one.name)
            if value is not None and one.name not in mine:
                raise UserError(
                    f"{one.name}={value} without a ramp; add --curriculum {name} or leave it out"
                )


def _resume(path: Path, argv: Sequence[str], parser: Parser) -> int:
    movable = [one.name for one in fields(Machine)]
    short = parser.short_forms()
    given = [word[2:].partition("=")[0] for word in argv if word.startswith("--")]
    given = [short.get(flag, flag) for flag in given]
    names = {f"{group}.name" for group in NAMED}
    allowed = {
        "resume",
        "trust_model_code",
        "json",
        *names,
        *(f"machine.{name}" for name in movable),
    }
    other = sorted(set(given) - allowed)
    if other:
        forms = [flag for flag, key in short.items() if key == other[0]]
        shown = min(forms, key=len, default=other[0])
        raise UserError(
            f"--{shown.replace('_', '-')} beside --resume; a resumed run keeps its own settings, only "
            f"{', '.join(movable)} may differ: leave it out, or start a new run"
        )
    values = parser.parsed([*argv, "--eps", "0"])
    machine = {name: values["machine"][name] for name in movable if f"machine.{name}" in given}
    named = {group: values[group]["name"] for group in NAMED if f"{group}.name" in given}
    return _report(
        commands.resume(path, machine, trust=trusts(argv), named=named, console=terminal())
    )


def _report(run: Run) -> int:
    assert run.outcome is not None
    place = None if run.folder is None else str(run.folder.path)
    if is_follower() or answered({"run": place, **asdict(run.outcome)}):
        pass
    elif run.folder is not None:
        print(printable(f"{run.outcome.status}: {run.folder.path}"))
    return 130 if run.outcome.status == INTERRUPTED else 0
