"""The numbers beside pictures of saliency, as tables for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

Found = Mapping[str, Any]

MEASURES = {"foreground_share": "foreground", "gini": "Gini", "alignment": "alignment"}
"""measure → its column."""


def explain_table(found: Found) -> Table:
    """One row per run and map: the three measures with their intervals."""
    table = Table(
        title=f"{found['data']}, {found['n']} {found['split']} images, {found['norm']}: mean and 95% "
        "interval",
        title_justify="left",
        caption=MEANING + _undefined(found["numbers"]),
    )
    _columns(table)
    for run in found["runs"]:
        _add(table, [row for row in found["numbers"] if row["run"] == run["name"]], run["name"], "")
    chance = found["chance"]
    table.add_row("noise", "", "", *(f"{chance[name]:.3f}" for name in MEASURES))
    return table


def difference_table(found: Found) -> Table:
    """One row per run after the first and map: the difference from the first, image by image."""
    first = found["runs"][0]["name"]
    table = Table(
        title=f"difference from {first}, of the same images: mean and 95% interval",
        title_justify="left",
        caption=_undefined(found["differences"]),
    )
    _columns(table)
    for run in found["runs"][1:]:
        mine = [row for row in found["differences"] if row["run"] == run["name"]]
        _add(table, mine, run["name"], "+")
    return table


def _columns(table: Table) -> None:
    table.add_column("run", overflow="fold")
    table.add_column("map", no_wrap=True)
    table.add_column("ε", justify="right", no_wrap=True)
    for name in MEASURES.values():
        table.add_column(name, justify="right", no_wrap=True)


def _add(table: Table, rows: list[Found], run: str, sign: str) -> None:
    maps = dict.fromkeys((row["kind"], row["name"], row["eps"]) for row in rows)
    for key in maps:
        cells = {
            row["measure"]: row for row in rows if (row["kind"], row["name"], row["eps"]) == key
        }
        kind, name, eps = key
        shown = [_cell(cells[measure], sign) for measure in MEASURES]
        shown_as = f"{name} δ" if kind == "perturbation" else name
        table.add_row(run, shown_as, f"{eps:.4g}", *shown)


def _cell(row: Found, sign: str) -> str:
    if row["mean"] is None:
        return "undefined"
    if row["low"] is None:
        return f"{row['mean']:{sign}.3f}"
    return f"{row['mean']:{sign}.3f} ± {row['high'] - row['mean']:.3f}"


MEANING = (
    "foreground: share of |map| on it. Gini: sparsity of |map|. alignment: |cos(image, map)|. noise: of "
    "a map that ignores the image. δ: perturbation"
)


def _undefined(rows: list[Found]) -> str:
    most = max(row["undefined"] for row in rows)
    if not most:
        return ""
    return f". Undefined where a map is 0 everywhere: up to {most} images, which are left out"
