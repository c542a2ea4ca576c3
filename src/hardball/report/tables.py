"""Tables for the terminal, at 80 columns."""

from collections.abc import Sequence

from rich.table import Table

from hardball.evaluation import Evaluation


def evaluation_table(found: Evaluation, title: str = "") -> Table:
    """One row per ε and attack; accuracy after each attack and all before it."""
    table = Table(title=f"{title} on {found.data}, n={found.clean.n}", title_justify="left")
    for column in ("ε", "after attack", "accuracy", "95% interval", "broken"):
        named = column == "after attack"
        table.add_column(
            column,
            justify="left" if named else "right",
            overflow="fold" if named else "ellipsis",
            no_wrap=not named,
        )
    low, high = found.clean.interval
    table.add_row("0", "none", f"{found.clean.value:.1%}", f"{low:.1%}–{high:.1%}", "")
    for score in found.scores:
        low, high = score.after.interval
        table.add_row(
            f"{score.eps:.4g}",
            score.attack,
            f"{score.after.value:.1%}",
            f"{low:.1%}–{high:.1%}",
            str(score.broken),
        )
    return table


def findings_table(rows: Sequence[tuple[str, str, bool]], title: str = "") -> Table:
    """What was looked at, what was found, and whether it holds."""
    table = Table(title=f"{title}, verified" if title else None, title_justify="left")
    for column in ("looked at", "found", "holds"):
        table.add_column(column, overflow="fold")
    for what, found, holds in rows:
        table.add_row(what, found, "yes" if holds else "NO", style=None if holds else "bold red")
    return table
