"""The checklist asked for by names: what `hardball evaluate --protocol checklist` does after measuring."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from hardball import storage
from hardball.commands.evaluate import Measured
from hardball.commands.train import weights_of
from hardball.errors import UserError
from hardball.evaluation.checks.checklist import Checklist, checklist
from hardball.evaluation.checks.context import Origin
from hardball.evaluation.checks.result import Check
from hardball.report.checks import check_lines, heading
from hardball.runs import load_run, model_from
from hardball.threats import ThreatModel


def check(
    measured: Measured,
    path: Path,
    *,
    budget: str,
    source: Path | None,
    base: Path | None,
    batch_size: int,
    progress: Progress | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> tuple[Checklist, Measured]:
    """Run the checks at the largest ε measured, judge, and write both into evaluation.json.

    Args:
        measured: the evaluation.
        path: the run, or the weights file.
        budget: quick, standard or full.
        source: another run to transfer from.
        base: the run whose smallest distortions are to be surpassed; by default the one that this run
            was extended from.
        batch_size: images at a time.
        progress: shows how far each attack has come.
        say: told of each finished check, in lines of 80 columns.

    Raises:
        UserError: no such budget, no run at `source` or `base`, or weights that do not fit.
    """
    eps = max(measured.evaluation.radii)
    origin = _origin(measured, path)

    def done(check: Check) -> None:
        say("\n".join(check_lines(check)))

    say("\n".join(heading(budget, eps)))
    required = [one.accuracy for one in measured.require if one.eps == eps]
    found = checklist(
        measured.network,
        measured.data,
        ThreatModel(measured.evaluation.norm, eps),
        measured.evaluation,
        budget=budget,
        source=None if source is None else _other(source, measured),
        base=origin if base is None else _other(base, measured),
        origin=origin,
        required=max(required, default=None),
        failures=measured.failures,
        seed=measured.evaluation.seed,
        batch_size=batch_size,
        journal=measured.journal,
        progress=progress,
        done=done,
    )
    lowered = replace(measured, evaluation=found.evaluation)
    lowered.write(checklist=found.as_json(), verdict=found.verdict.as_json())
    return found, lowered


def refuse_missing(*paths: Path | None) -> None:
    """Asked before the evaluation, which takes long.

    Raises:
        UserError: one of them is not there.
    """
    for path in paths:
        if path is not None and not weights_of(path).is_file():
            raise UserError(
                f"no run and no weights at {path}; name a folder that training made, or a file"
            )


def _other(path: Path, measured: Measured) -> Origin:
    """Another network: a run, or a weights file for the architecture of the one measured."""
    if path.is_dir():
        model = load_run(path).model
    else:
        model = model_from(measured.config)
        storage.load_weights(model, path)
    device = measured.data.images.device
    return Origin(name=path.name, model=model.to(device).eval())


def _origin(measured: Measured, path: Path) -> Origin | None:
    """The network that the run was extended from, if it was, and if it is still the same."""
    known: dict[str, Any] | None = measured.config.get("origin")
    if not known:
        return None
    named = Path(known["path"])
    # as it was named then, or else beside the run
    places = [named, path.resolve().parent / named.name]
    for place in places:
        if not weights_of(place).is_file():
            continue
        digest = storage.digest(storage.read_bytes(weights_of(place), "weights"))
        if digest == known["sha256"]:
            return _other(place, measured)
        return _gone(named, f"{place} has changed since this run was extended from it")
    return _gone(named, f"{named}, which this run was extended from, is not there")


def _gone(named: Path, reason: str) -> Origin:
    return Origin(name=named.name, model=None, reason=reason)
