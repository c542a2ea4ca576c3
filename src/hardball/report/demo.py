"""What `hardball demo` shows, made from its results (the content of demo.json) alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from rich.table import Table

from hardball.report.blocks import Commands, Section
from hardball.report.blocks import Table as PageTable
from hardball.runs import COLLAPSED

Found = Mapping[str, Any]
Row = Mapping[str, Any]


def summary(found: Found) -> str:
    """What the numbers say, in one sentence made of them."""
    _, direct, curriculum = (_rows(found, name) for name in found["trainings"])
    return (
        f"At ε={found['eps']:g}, training from random weights collapsed for {_stuck(direct)} of "
        f"{len(direct)} seeds ({_mean(direct, _robust):.1%} robust accuracy; guessing is 10%), while "
        f"the curriculum, with the same network, reaches {_mean(curriculum, _robust):.1%} at that ε and "
        f"{_mean(curriculum, _clean):.1%} clean (n={found['n']} test images)."
    )


def numbers(found: Found) -> Section:
    """All seeds in one table."""
    seeds = found["seeds"]
    measured = "seed " + str(seeds[0]) if len(seeds) == 1 else f"mean of {len(seeds)} seeds"
    return Section(
        title="Numbers",
        text=f"Test accuracy by ε of the attack (pointwise worst of {', '.join(found['attacks'])}), "
        f"n={found['n']}, {measured}. What follows shows seed {seeds[0]}.",
        blocks=[PageTable(columns=_columns(found), rows=_cells(found))],
        commands=[found["command"]],
    )


def by_hand(found: Found, evaluation_command: str) -> Section:
    """The same as commands."""
    first = [row for row in found["results"] if row["seed"] == found["seeds"][0]]
    return Section(
        title="The same by hand",
        text=f"{found['data']} are scikit-learn's 8×8 digits in black and white, so that any ε below ½ "
        "leaves each pixel recoverable in principle. Each training below can be interrupted, resumed, "
        "extended and measured on its own.",
        blocks=[Commands(lines=[*(row["command"] for row in first), evaluation_command])],
    )


def table(found: Found) -> Table:
    """The numbers for a terminal."""
    seeds = len(found["seeds"])
    shown = Table(
        title=f"{found['data']}, n={found['n']}, {seeds} seed{'s' if seeds > 1 else ''}",
        title_justify="left",
    )
    for number, column in enumerate(_columns(found)):
        shown.add_column(column, justify="right" if number else "left")
    for cells in _cells(found):
        shown.add_row(*cells)
    return shown


def folder_name(training: str) -> Path:
    """A short folder for a training: its first word."""
    return Path(training.replace(",", " ").split()[0])


def _columns(found: Found) -> list[str]:
    return ["training", "stuck", "clean", *(f"ε={r['eps']:g}" for r in _measured(found))]


def _cells(found: Found) -> list[list[str]]:
    cells = []
    for name in found["trainings"]:
        rows = _rows(found, name)
        stuck = f"{_stuck(rows)}/{len(rows)}"
        robust = [
            mean(row["evaluation"]["robust"][i]["accuracy"] for row in rows)
            for i in range(len(_measured(found)))
        ]
        cells.append([name, stuck, *(f"{a:.1%}" for a in (_mean(rows, _clean), *robust))])
    return cells


def _measured(found: Found) -> Sequence[Row]:
    measured: Sequence[Row] = found["results"][0]["evaluation"]["robust"]
    return measured


def _rows(found: Found, name: str) -> list[Row]:
    return [row for row in found["results"] if row["name"] == name]


def _mean(rows: Sequence[Row], what: Callable[[Row], float]) -> float:
    return mean(what(row) for row in rows)


def _stuck(rows: Sequence[Row]) -> int:
    """How many ended collapsed."""
    return sum(row["outcome"]["status"] == COLLAPSED for row in rows)


def _robust(row: Row) -> float:
    """Accuracy at the ε asked for."""
    return float(row["evaluation"]["robust"][-1]["accuracy"])


def _clean(row: Row) -> float:
    return float(row["evaluation"]["clean"]["accuracy"])
