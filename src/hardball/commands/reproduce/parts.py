"""The parts of a recipe, measured by the commands that a user would give.

What a command wrote is taken again if the same command would be given for the same weights.
"""

import json
from collections.abc import Callable
from functools import singledispatch
from pathlib import Path
from typing import Any

from rich.console import Console

from hardball import storage
from hardball.commands.checklist import ChecklistConfig
from hardball.commands.evaluate import EvaluateConfig, evaluate
from hardball.commands.explain import ExplainConfig, explain
from hardball.commands.landscape.convergence import ConvergenceConfig, convergence
from hardball.commands.landscape.inputs import InputsConfig, inputs
from hardball.commands.landscape.weights import WeightsConfig, weights
from hardball.commands.measure import MeasureConfig, measure
from hardball.commands.reproduce.config import ReproduceConfig
from hardball.commands.reproduce.sweeps import swept
from hardball.commands.subject import SubjectConfig
from hardball.commands.theory import BernoulliConfig, bernoulli
from hardball.commands.train import weights_of
from hardball.reproduction import TRAININGS, parts
from hardball.runs import RunFolder, read_metrics, write_json
from hardball.time_left import bars

Found = dict[str, Any]


@singledispatch
def measured(part: Any, folder: Path, config: ReproduceConfig, console: Console) -> Found:
    """A part's result, written into the folder by its command.

    Args:
        part: of a recipe.
        folder: where it goes.
        config: what is reproduced.
        console: where progress is shown.
    """
    raise TypeError(f"a part of unknown kind: {part!r}")


@measured.register
def _(part: parts.Curves, folder: Path, config: ReproduceConfig, console: Console) -> Found:
    columns = ("epoch", "eps", "adv_loss")
    rows = {name: read_metrics(RunFolder(config.folder(name))) for name in part.runs}
    return {
        "runs": [
            {"name": name, **{column: [row[column] for row in table] for column in columns}}
            for name, table in rows.items()
        ]
    }


@measured.register
def _(part: parts.Segment, folder: Path, config: ReproduceConfig, console: Console) -> Found:
    size = config.size
    start = Path(parts.RANDOM) if part.start == parts.RANDOM else config.folder(part.start)
    asked = WeightsConfig(
        start=start,
        end=config.folder(part.end),
        eps=part.eps,
        at_eps=part.also_at,
        attack=part.attack,
        points=size.long_points if part.long else size.points,
        data_root=_root(config, part.end),
        out=folder,
    )
    ends = [path for path in (start, asked.end) if str(path) != parts.RANDOM]
    known = folder / "landscape-weights.json"
    return _once(known, asked.command(), ends, lambda: _shown(weights, asked, console))


@measured.register
def _(part: parts.Plane, folder: Path, config: ReproduceConfig, console: Console) -> Found:
    asked = InputsConfig(
        run=config.folder(part.run),
        eps=part.eps,
        index=part.index,
        attack=part.attack,
        reach=part.reach,
        grid=config.side(TRAININGS[part.run].on).grid,
        data_root=_root(config, part.run),
        out=folder,
    )
    known = folder / "landscape-inputs.json"
    return _once(known, asked.command(), [asked.run], lambda: _shown(inputs, asked, console))


@measured.register
def _(part: parts.Settling, folder: Path, config: ReproduceConfig, console: Console) -> Found:
    return convergence(ConvergenceConfig([config.folder(name) for name in part.runs], out=folder))


@measured.register
def _(part: parts.Saliency, folder: Path, config: ReproduceConfig, console: Console) -> Found:
    asked = ExplainConfig(
        [config.folder(name) for name in part.runs],
        eps=part.at_eps,
        saliency_eps=part.eps,
        n=config.size.n_explained,
        data_root=_root(config, part.runs[0]),
        out=folder,
    )
    known = folder / "explain.json"
    return _once(known, asked.command(), asked.runs, lambda: _shown(explain, asked, console))


@measured.register
def _(part: parts.Accuracy, folder: Path, config: ReproduceConfig, console: Console) -> Found:
    found: Found = {"kind": "accuracy", "eps": list(part.eps), "runs": []}
    for name in part.runs:
        side = config.side(TRAININGS[name].on)
        row: Found = {"name": name}
        for which, attacks, n in (
            ("attacks", part.attacks, side.n),
            ("strong", part.strong, side.n_strong),
        ):
            if attacks:
                how = MeasureConfig(
                    eps=list(part.eps),
                    norm=part.norm,
                    attacks=list(attacks),
                    processes=config.processes,
                )
                row[which] = _accuracy(config, name, how, n, console)
        found["runs"].append(row)
    return found


def _root(config: ReproduceConfig, training: str) -> Path:
    """Where its data are."""
    return config.data_of(TRAININGS[training].on)[1]


def _accuracy(
    config: ReproduceConfig, name: str, how: MeasureConfig, n: int, console: Console
) -> Found:
    """One evaluation, journaled in the run's folder, so that it is never done twice."""
    subject = SubjectConfig(config.folder(name), n=n, data_root=_root(config, name))
    with bars(console) as progress:
        evaluation = measure(subject, how, progress=progress).evaluation
    return evaluation.as_json()


@measured.register
def _(part: parts.Surface, folder: Path, config: ReproduceConfig, console: Console) -> Found:
    return bernoulli(BernoulliConfig(k=part.k, t=part.t, out=folder / "theory-bernoulli.json"))


@measured.register
def _(part: parts.Checks, folder: Path, config: ReproduceConfig, console: Console) -> Found:
    run, size = config.folder(part.run), config.size
    known = folder / "checklist.json"
    command = f"hardball evaluate {part.run} --eps {part.eps:g} --protocol checklist --budget {size.checks}"
    asked = EvaluateConfig(
        subject=SubjectConfig(run, n=size.n_checks, data_root=_root(config, part.run)),
        measure=MeasureConfig(eps=part.eps, protocol="checklist", processes=config.processes),
        checklist=ChecklistConfig(budget=size.checks),
    )

    def make() -> Found:
        with bars(console) as progress:
            evaluate(asked, progress=progress)
        evaluated = json.loads(storage.read_bytes(RunFolder(run).evaluation_file, "evaluation"))
        found = {
            "kind": "checks",
            "command": f"{command} --n {size.n_checks}",
            "run": {"name": part.run, "weights_sha256": evaluated["weights_sha256"]},
            **{key: evaluated[key] for key in ("n", "clean", "checklist", "verdict", "seconds")},
        }
        write_json(known, found)
        return found

    return _once(known, f"{command} --n {size.n_checks}", [run], make)


@measured.register
def _(part: parts.Sweep, folder: Path, config: ReproduceConfig, console: Console) -> Found:
    return swept(config, folder, console)


def _shown(function: Callable[..., Found], asked: Any, console: Console) -> Found:
    """With a progress bar."""
    with bars(console) as progress:

        def show(what: str, steps: int) -> Callable[[], object]:
            task = progress.add_task(what, total=steps)
            return lambda: progress.advance(task)

        return function(asked, show)


def _once(known: Path, command: str, runs: list[Path], make: Callable[[], Found]) -> Found:
    """What the file has, if this command made it from these weights; else made now."""
    digests = {storage.digest(storage.read_bytes(weights_of(run), "weights")) for run in runs}
    if known.exists():
        found: Found = json.loads(known.read_text())
        ends = [*(found[key] for key in ("start", "end", "run") if key in found)]
        ends += found.get("runs", [])
        made_of = {end["weights_sha256"] for end in ends} - {None}
        if found["command"] == command and made_of == digests:
            return found
    return make()
