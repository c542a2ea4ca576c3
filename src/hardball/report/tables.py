"""Tables for the terminal, at 80 columns."""

from rich.table import Table

from hardball.evaluation import Evaluation


def evaluation_table(found: Evaluation, title: str = "") -> Table:
    """One row per ε and attack; accuracy after each attack and all before it."""
    table = Table(title=f"{title} on {found.data}, n={found.clean.n}", title_justify="left")
    for column in ("ε", "after attack", "accuracy", "95% interval", "broken"):
        table.add_column(column, justify="left" if column == "after attack" else "right")
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
