"""The checklist asked for by names: what `hardball evaluate --protocol checklist` does after measuring."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rich.progress import Progress

from hardball import names, storage
from hardball.commands.fresh import rebuilding
from hardball.commands.measure import MeasureConfig, Measured, Say
from hardball.commands.subject import SubjectConfig, complete_config
from hardball.commands.train import weights_of
from hardball.errors import UserError
from hardball.evaluation import Checklist, Origin, checklist
from hardball.evaluation.checks.result import Check
from hardball.report.checks import check_lines, heading
from hardball.runs import Config, RunFolder, model_from
from hardball.threats import ThreatModel


@dataclass(frozen=True, kw_only=True)
class ChecklistConfig:
    """With which effort to check, and with which other networks to compare."""

    budget: Literal["quick", "standard", "full"] | None = None
    """Effort of the checklist: quick, standard (default) or full."""
    source: Path | None = None
    """Another run, to transfer attacks from (checklist)."""
    base: Path | None = None
    """The run whose smallest distortions are to be surpassed (checklist); by default the one that this
    run was extended from."""

    def require_use(self, used: bool) -> None:
        """Refuse these settings where no checklist follows, and networks that are not there: asked
        before the evaluation, which takes long.

        Raises:
            UserError: one of them.
        """
        for name, value in vars(self).items():
            if value is not None and not used:
                raise UserError(
                    f"`{name}={value}` without `protocol=checklist`, which alone uses it"
                )
        for path in (self.source, self.base):
            if path is not None and not weights_of(path).is_file():
                raise UserError(
                    f"no run and no weights at {path}; name a folder that training made, or a file"
                )


def run_checklist(
    measured: Measured,
    asked: ChecklistConfig,
    *,
    how: MeasureConfig,
    progress: Progress | None = None,
    say: Say = lambda line: None,
) -> tuple[Checklist, Measured]:
    """Run the checks at the largest ε measured, judge, and write both into evaluation.json.

    Args:
        measured: the evaluation.
        asked: effort and other networks, seen by `refuse_untrusted`.
        how: how it was measured.
        progress: shows how far each attack has come.
        say: called with each finished check, in lines of 80 columns.

    Raises:
        UserError: weights that do not fit.
    """
    budget, eps = asked.budget or "standard", max(measured.evaluation.radii)
    origin = _origin(measured)

    def done(check: Check) -> None:
        say("\n".join(check_lines(check)))

    say("\n".join(heading(budget, eps)))
    required = [one.accuracy for one in measured.require if one.eps == eps]
    subject = measured.subject
    device = subject.data.images.device
    with rebuilding(subject.config, weights_of(measured.path), device) as fresh:
        found = checklist(
            subject.network,
            subject.data,
            ThreatModel(measured.evaluation.norm, eps),
            measured.evaluation,
            budget=budget,
            source=None if asked.source is None else _other(asked.source, measured),
            base=origin if asked.base is None else _other(asked.base, measured),
            origin=origin,
            fresh=fresh,
            required=max(required, default=None),
            failures=measured.failures,
            seed=how.seed,
            batch_size=how.batch_size,
            processes=how.processes,
            journal=measured.journal,
            progress=progress,
            done=done,
        )
    lowered = replace(measured, evaluation=found.evaluation)
    lowered.write(checklist=found.as_json(), verdict=found.verdict.as_json())
    return found, lowered


def refuse_untrusted(asked: ChecklistConfig, subject: SubjectConfig) -> None:
    """Refuse other runs whose networks are code outside hardball, before the evaluation.

    Raises:
        Untrusted: one of them, if it is not the subject's own, which was accepted.
    """
    config = complete_config(subject)
    origin = _place_of_origin(config, subject.run)
    for path in (asked.source, asked.base, origin if isinstance(origin, Path) else None):
        if path is not None and not subject.trust_model_code:
            name = _config(path, config)["model"]["name"]
            if name != config["model"]["name"]:
                names.refuse_code("model", name)


def _config(path: Path, own: Config) -> Config:
    """Of another run; for a weights file that of the network measured."""
    config = RunFolder(path).config() if path.is_dir() else own
    if not (config.get("model") or {}).get("name"):
        raise UserError(f"{path} does not say which network it is; name its weights file instead")
    return config


def _other(path: Path, measured: Measured) -> Origin:
    """Another network: a run, or a weights file for the architecture of the one measured."""
    # `refuse_untrusted` has seen its name
    model = model_from(_config(path, measured.subject.config), trust=True)
    storage.load_weights(model, weights_of(path))
    return Origin(name=path.name, model=model.to(measured.subject.data.images.device).eval())


def _origin(measured: Measured) -> Origin | None:
    """The network that the run was extended from, if it was, and if it is still the same."""
    found = _place_of_origin(measured.subject.config, measured.path)
    if found is None:
        return None
    if isinstance(found, Path):
        return _other(found, measured)
    name = Path(measured.subject.config["origin"]["path"]).name
    return Origin(name=name, model=None, reason=found)


def _place_of_origin(config: Config, run: Path) -> Path | str | None:
    """Where the run's origin is: as it was named then, or else beside the run; the reason, if it is
    there no more; None if the run was trained from random weights."""
    known: dict[str, Any] | None = config.get("origin")
    if not known:
        return None
    named = Path(known["path"])
    for place in (named, run.resolve().parent / named.name):
        if not weights_of(place).is_file():
            continue
        digest = storage.digest(storage.read_bytes(weights_of(place), "weights"))
        if digest == known["sha256"]:
            return place
        return f"{place} has changed since this run was extended from it"
    return f"{named}, which this run was extended from, is not there"
