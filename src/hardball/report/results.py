"""What a run's folder holds, read for a page: files alone, no network and no data set."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardball import storage
from hardball.errors import Damaged, UserError
from hardball.evaluation.witnesses import unsealed
from hardball.places import Places
from hardball.report.examples import Examples
from hardball.runs import (
    COLLAPSED,
    INTERRUPTED,
    NON_FINITE,
    Config,
    Outcome,
    RunFolder,
    read_metrics,
)

Found = Mapping[str, Any]

LANDSCAPES = ("weights", "inputs", "convergence")
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """Everything that a page says of one run."""

    path: Path
    name: str
    """How the page calls it."""
    config: Config
    history: list[dict[str, float]]
    outcome: Outcome | None
    evaluation: dict[str, Any] | None
    landscapes: Mapping[str, Found]
    """Content of landscape-NAME.json, by NAME."""
    explained: Found | None
    """Content of explain.json."""
    pictures: Mapping[str, bytes]
    """Name of a PNG file in the folder → its content."""
    commands: Mapping[str, str] = field(default_factory=dict)
    """"train" and "evaluate" → the command that remakes it."""
    examples: Examples | None = None
    without_examples: str = ""
    """Why there are none."""

    @property
    def target(self) -> float | None:
        """The ε it was trained for."""
        curriculum = self.config.get("curriculum") or {}
        found = curriculum.get("target", curriculum.get("eps"))
        return None if found is None else float(found)

    @property
    def norm(self) -> str:
        settings = self.config.get("settings") or {}
        return str(self.config.get("norm") or settings.get("norm") or "linf")

    @property
    def classes(self) -> int | None:
        found = (self.config.get("model") or {}).get("classes")
        return found if isinstance(found, int) and found > 1 else None

    @property
    def chance(self) -> float | None:
        """The loss of a constant prediction: ln(classes)."""
        return None if self.classes is None else math.log(self.classes)

    @property
    def failed(self) -> bool:
        """It ended without a network that learned what was asked."""
        return self.outcome is not None and self.outcome.status in (COLLAPSED, NON_FINITE)

    @property
    def unfinished(self) -> bool:
        return self.outcome is None or self.outcome.status == INTERRUPTED

    @property
    def verdict(self) -> Found | None:
        """Of the checklist."""
        return None if self.evaluation is None else self.evaluation.get("verdict")

    def column(self, name: str) -> tuple[list[float], list[float]]:
        """(epochs, values) of a column of metrics.csv, where it has a finite number."""
        rows = [
            (row["epoch"], row[name])
            for row in self.history
            if math.isfinite(row.get(name, math.nan))
        ]
        return [epoch for epoch, _ in rows], [value for _, value in rows]


def read_run(path: Path, name: str) -> RunResults:
    """The results in a run's folder.

    Raises:
        UserError: no run there, or one without any result.
        Damaged: a file has changed since it was written, or is something else.
    """
    folder = RunFolder(path)
    config = folder.config()
    history, outcome = read_metrics(folder), folder.outcome()
    evaluation = _evaluation(path)
    if not history and outcome is None and evaluation is None:
        raise UserError(
            f"{path} has no results yet: it has finished no epoch; continue it: hardball train --resume "
            f"{path}"
        )
    landscapes = {
        kind: found
        for kind in LANDSCAPES
        if (found := _json(path / f"landscape-{kind}.json", f"hardball landscape {kind}"))
    }
    names = ("explain.png", *(f"landscape-{kind}.png" for kind in LANDSCAPES))
    return RunResults(
        path=path,
        name=name,
        config=config,
        history=history,
        outcome=outcome,
        evaluation=evaluation,
        landscapes=landscapes,
        explained=_json(path / "explain.json", "hardball explain"),
        pictures={one: read_png(path / one) for one in names if (path / one).is_file()},
    )


def _evaluation(path: Path) -> dict[str, Any] | None:
    file = Places.of(path).evaluation
    if not file.is_file():
        return None
    found = unsealed(storage.read_bytes(file, "evaluation"), file)
    if found.get("schema") not in (2, 3):
        raise UserError(
            f"{file} is of schema {found.get('schema')}; this version reads 2 and 3: evaluate again"
        )
    return found


def _json(path: Path, made_by: str) -> dict[str, Any] | None:
    """A result file without a seal; None if it is not there."""
    if not path.is_file():
        return None
    found = read_json(path)
    if "command" not in found:
        raise Damaged(f"{path} is no result of `{made_by}`; make it again, or remove it")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """A mapping.

    Raises:
        Damaged: something else.
    """
    try:
        found = json.loads(storage.read_bytes(path, "results"))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} is no JSON ({error}); make it again, or remove it") from error
    if not isinstance(found, dict):
        raise Damaged(f"{path} holds no results, but a {type(found).__name__}; make it again")
    return found


def read_png(path: Path) -> bytes:
    """A picture.

    Raises:
        Damaged: something else.
    """
    content = storage.read_bytes(path, "picture")
    if not content.startswith(PNG):
        raise Damaged(f"{path} is no PNG file; make it again, or remove it")
    return content
