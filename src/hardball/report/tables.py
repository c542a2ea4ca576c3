"""Tables for the terminal, at 80 columns."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from hardball.evaluation import Evaluation
from hardball.evaluation.results import Accuracy

NARROW = 60
"""Columns of a terminal below which the table has no room for intervals."""


def evaluation_table(found: Evaluation, title: str = "", *, width: int = 80) -> Table:
    """One row per ε and attack; accuracy after each attack and all before it. Beside it, where there
    are certificates, the accuracy that is certified at that ε.

    Args:
        width: of the terminal.
    """
    table = Table(title=f"{title} on {found.data}, n={found.clean.n}", title_justify="left")
    certified, wide = found.certified, width >= NARROW
    interval = ("95% interval",) if wide else ()
    for column in ("ε", "after attack", "accuracy", *interval, "broken"):
        named = column == "after attack"
        table.add_column(
            column,
            justify="left" if named else "right",
            overflow="fold" if named else "ellipsis",
            no_wrap=not named,
        )
    if certified:
        table.add_column("certified", justify="right", no_wrap=True)
    table.add_row("0", "none", f"{found.clean.value:.1%}", *_interval(found.clean, wide), "")
    for score in found.scores:
        table.add_row(
            f"{score.eps:.4g}",
            score.attack,
            f"{score.after.value:.1%}",
            *_interval(score.after, wide),
            str(score.broken),
            *([f"{certified[score.eps].value:.1%}"] if score.eps in certified else []),
        )
    return table


def _interval(found: Accuracy, wide: bool) -> tuple[str, ...]:
    low, high = found.interval
    return (f"{low:.1%}–{high:.1%}",) if wide else ()


def findings_table(rows: Sequence[tuple[str, str, bool]], title: str = "") -> Table:
    """What was looked at, what was found, and whether it holds."""
    table = Table(title=f"{title}, verified" if title else None, title_justify="left")
    for column in ("looked at", "found", "holds"):
        table.add_column(column, overflow="fold")
    for what, found, holds in rows:
        table.add_row(what, found, "yes" if holds else "NO", style=None if holds else "bold red")
    return table


def limit_table(found: dict[str, Any]) -> Table:
    """Conflicts and forced error by ε, from a result of `commands.limit.largest_eps`."""
    closest = found["closest_pair"]
    classes = [str(label) for label in closest["labels"]]
    if "names" in closest:
        pairs = zip(classes, closest["names"], strict=True)
        classes = [f"{label} ({name})" for label, name in pairs]
    table = Table(
        title=f"{found['data']} {found['split']}, {found['images']} images, {found['norm']}: images "
        f"{closest['first']} and {closest['second']} of classes {classes[0]} and "
        f"{classes[1]} are closest, {closest['distance']:.4g} apart; any ε below "
        f"{closest['distance'] / 2:.4g} forces no error",
        title_justify="left",
    )
    rounded = "movable" in found["curve"][0]
    rounding = ("movable behind a threshold",) if rounded else ()
    for column in ("ε", "conflicts", "least forced error", "images", "proof", *rounding):
        table.add_column(column, justify="left" if column == "proof" else "right")
    for point in found["curve"]:
        low, high = point["error"]
        least, most = point["wrong"]
        table.add_row(
            f"{point['eps']:.4g}",
            f"{point['conflicts']:,}",
            f"{low:.3%}" if least == most else f"{low:.3%} – {high:.3%}",
            f"{least}" if least == most else f"{least} – {most}",
            point["proof"],
            *([f"{point['movable']:.1%} at {point['threshold']:.2f}"] if rounded else []),
        )
    return table
