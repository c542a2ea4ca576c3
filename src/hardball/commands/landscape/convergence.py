"""How trainings settle: what `hardball landscape convergence` does."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardball.commands.pictures import folder_for, save
from hardball.errors import UserError
from hardball.report import landscape_figures
from hardball.runs import RunFolder, read_metrics

COLUMNS = ("epoch", "eps", "adv_loss", "loss_change", "weight_distance")


@dataclass(frozen=True, kw_only=True)
class ConvergenceConfig:
    """Which runs, and where the picture goes."""

    runs: list[Path] = field(kw_only=False)
    """One or several."""
    out: Path | None = None
    """Folder for landscape-convergence.json and .png; by default the first run."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise UserError("no run; name one or several: hardball landscape convergence RUN ...")


def convergence(config: ConvergenceConfig) -> dict[str, Any]:
    """Change of the training adversarial loss and ℓ2 distance of the weights between consecutive
    epochs, as training recorded them; written to `out` and drawn beside it.

    Raises:
        MissingExtra: matplotlib is not installed.
        UserError: no such run, or one without an epoch or without these columns.
    """
    folder = folder_for(config.out, config.runs[0])
    result = {
        "kind": "convergence",
        "runs": [_columns(path) for path in config.runs],
        "command": " ".join(["hardball landscape convergence", *map(str, config.runs)]),
    }
    save(folder, "landscape-convergence", result, landscape_figures.convergence(result))
    return result


def _columns(path: Path) -> dict[str, Any]:
    """A run's name and columns; null where an epoch has none."""
    run = RunFolder(path)
    run.config()
    rows = read_metrics(run)
    if not rows:
        raise UserError(
            f"{path} has finished no epoch yet; continue it: hardball train --resume {path}"
        )
    if "weight_distance" not in rows[-1]:
        raise UserError(
            f"{run.metrics_file} has no column weight_distance: an earlier hardball made it; train anew"
        )
    found = {name: [row.get(name) for row in rows] for name in COLUMNS}
    return {"name": path.resolve().name, "path": str(path), **found}
