"""A page on runs: what `hardball report` does."""

import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hardball.commands.examples import ExamplesConfig, examples_for, round_radii
from hardball.commands.remake import evaluate_command, train_command
from hardball.commands.words import flags_of
from hardball.errors import UserError, as_flags
from hardball.extras import require
from hardball.report import story, verdicts
from hardball.report.blocks import Section
from hardball.report.extras import extra_sections
from hardball.report.html import page
from hardball.report.results import RunResults, read_run
from hardball.storage import write_atomically


@dataclass(frozen=True, kw_only=True)
class ReportConfig(ExamplesConfig):
    """What to show."""

    runs: list[Path] = field(kw_only=False)
    """One run or several."""
    out: Path | None = None
    """The page; by default report.html in the first run."""
    extra: list[Path] = field(default_factory=list)
    """Results of hardball theory and hardball limit to show as well: their JSON and PNG files, or folders
    of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.runs:
            raise UserError("no run; name one or several: hardball report RUN ...")
        if self.out is not None and self.out.is_dir():
            raise UserError(
                f"`out={self.out}` is a folder; name a file, e.g. {self.out}/report.html"
            )

    @property
    def place(self) -> Path:
        return self.out or self.runs[0] / "report.html"

    def command(self) -> str:
        """What makes the page again, apart from where files are."""
        runs = " ".join(shlex.quote(str(run)) for run in self.runs)
        never = ("runs", "out", "extra", "data_root", "device")
        flags = flags_of(self, never=never)
        paths = [f"'[{','.join(map(str, self.extra))}]'"] if self.extra else []
        return " ".join(["hardball report", runs, *flags, *(f"--with {one}" for one in paths)])


@dataclass(frozen=True, kw_only=True)
class Reported:
    """The page, and what is on it."""

    place: Path
    sections: Sequence[Section]

    def as_json(self) -> dict[str, Any]:
        """Where the page is, its parts, and what makes those that are missing."""
        return {
            "page": str(self.place),
            "sections": [
                {
                    "title": section.title,
                    "empty": section.empty,
                    "missing": [asdict(missing) for missing in section.missing],
                }
                for section in self.sections
            ],
        }


def report(config: ReportConfig) -> Reported:
    """Write the page, which tells what is missing and how to make it.

    Adversarial examples are made where there are none of the same network, attack and radii; where they
    cannot be made (code that is not trusted, data that is not there), the page says why.

    Raises:
        MissingExtra: jinja2 is not installed.
        UserError: no run there, one without any result, an attack that does not exist, `extra` of
            another kind.
        Damaged: a file has changed since it was written.
    """
    require("the page needs", "jinja2")
    extras = extra_sections(config.extra)  # refused before anything long is done
    runs = gathered(config.runs, config)
    making = replace(config, examples=config.examples or ReportConfig.examples).command()
    parts = [*story.sections(runs, making), *extras]
    first = verdicts.of_all(runs)
    html = page(
        " · ".join(run.name for run in runs),
        first.sentence,
        parts,
        badge=first.badge,
        each=verdicts.of_each(runs),
        command=config.command(),
    )
    write_atomically(config.place, html.encode())
    return Reported(place=config.place, sections=parts)


def gathered(paths: Sequence[Path], config: ExamplesConfig) -> list[RunResults]:
    """Runs with all that a page says of them.

    Raises:
        UserError, Damaged: see `report`.
    """
    runs = [read_run(path, name) for path, name in _named(paths).items()]
    return _with_examples([_with_commands(run) for run in runs], config)


def _named(paths: Sequence[Path]) -> dict[Path, str]:
    """Each run once, and a name to show: its folder's, or the whole path if another has the same."""
    once = list({path.resolve(): path for path in paths}.values())
    short = [path.resolve().name for path in once]
    return {
        path: name if short.count(name) == 1 else str(path)
        for path, name in zip(once, short, strict=True)
    }


def _with_commands(run: RunResults) -> RunResults:
    train = train_command(run.path, run.config)
    found: dict[str, str] = {} if train is None else {"train": train}
    if run.evaluation is not None:
        found["evaluate"] = evaluate_command(run.path, run.evaluation)
    return replace(run, commands=found)


def _with_examples(runs: Sequence[RunResults], config: ExamplesConfig) -> list[RunResults]:
    """The runs with adversarial examples, or with the reason why they have none."""
    if config.examples == 0:
        return [
            replace(run, without_examples="adversarial examples were not asked for") for run in runs
        ]
    common = _radii(runs)
    found = []
    for run in runs:
        try:
            radii = config.radii or round_radii(common[_kind(run)], run.norm)
            found.append(replace(run, examples=examples_for(run.path, config, radii)))
        # whatever the reason: the rest of the page does not need them
        except UserError as error:
            found.append(replace(run, without_examples=as_flags(str(error))))
    return found


def _radii(runs: Sequence[RunResults]) -> Mapping[tuple[str, str], list[float]]:
    """The ε that are known of runs on the same data: so their examples can be compared."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in runs:
        if run.target is not None:
            found[_kind(run)].append(run.target)
        evaluation = run.evaluation
        if evaluation is not None and evaluation["norm"] == run.norm:
            found[_kind(run)] += [row["eps"] for row in evaluation["robust"]]
    return found


def _kind(run: RunResults) -> tuple[str, str]:
    return str((run.config.get("data") or {}).get("name")), run.norm
