"""A sweep as one table: what was learned, what collapsed, what is masked, what failed."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

HEADINGS = ("trial", "ended", "clean", "own attack", "probe", "epochs", "minutes", "reason")


def rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Words of the table, from the content of sweep.json."""
    return [
        (
            one["name"],
            one["status"],
            *(_percent(one[key]) for key in ("clean", "trained", "probe")),
            str(one["epochs"]),
            f"{one['seconds'] / 60:.1f}",
            one["reason"],
        )
        for one in found["trials"]
    ]


def heading(found: Mapping[str, Any]) -> str:
    """How many of each."""
    counted = ", ".join(f"{count} {status}" for status, count in found["counts"].items() if count)
    left = len(found["unfinished"])
    return f"{counted or 'nothing'} of {len(found['trials']) + left} trials" + (
        f"; {left} not finished" if left else ""
    )


def sweep_table(found: Mapping[str, Any]) -> Table:
    """For the terminal, without the reasons: they need the width."""
    table = Table(title=heading(found), title_justify="left")
    for name in HEADINGS[:-1]:
        table.add_column(
            name,
            justify="left" if name in ("trial", "ended") else "right",
            overflow="fold" if name == "trial" else "ellipsis",
            no_wrap=name != "trial",
        )
    for row in rows(found):
        table.add_row(*row[:-1])
    return table


def sweep_text(found: Mapping[str, Any]) -> str:
    """The same as a table in Markdown, whose accuracies say what they are of."""
    lines = [
        f"{heading(found)}.",
        "",
        f"| {' | '.join(HEADINGS)} |",
        "| --- " * len(HEADINGS) + "|",
    ]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows(found)]
    sizes = sorted({one["n"] for one in found["trials"] if one["n"]})
    if sizes:
        said = " or ".join(map(str, sizes))
        lines += [
            "",
            f"Accuracies on {said} images that the training held out; the probe is the worst of the "
            f"training attack, {', '.join(found['probe']['attacks'])}.",
        ]
    return "\n".join(lines) + "\n"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
