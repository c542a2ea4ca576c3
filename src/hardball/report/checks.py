"""The checklist for the terminal: lines of at most 80 columns, printed as the checks finish."""

import math
from textwrap import wrap

from hardball.evaluation.checks.result import Check

WIDTH = 80
COLUMNS = (3, 23, 16, 17, 14, 6)
"""Characters of number, name, found, limit, result, cost."""

UNITS = ((1, "s", 600.0), (60, "min", 36_000.0), (3600, "h", math.inf))

HEAD = ("", "check", "found", "allowed", "result", "cost")

LEGEND = (
    "found: images that a check decides otherwise than the protocol's gradient attacks, of those "
    "looked at; in brackets those that the claim's attack had not broken and the check's did"
)


def heading(budget: str, eps: float) -> list[str]:
    """What is printed above the lines."""
    return [f"checks at ε={eps:g}, budget {budget}", *wrap(LEGEND, WIDTH), "", _line(HEAD)]


def check_lines(check: Check) -> list[str]:
    """One line, and the note or the reason below it where there is one."""
    result = check.status.upper() if check.status == "fail" else check.status
    line = _line((check.number, check.name, check.found, check.limit, result, _cost(check)))
    below = wrap(
        check.note or check.reason, WIDTH, initial_indent="     ", subsequent_indent="     "
    )
    return [line, *below]


def _line(cells: tuple[str, ...]) -> str:
    words = [
        cell.rjust(width) if place in (0, len(cells) - 1) else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, COLUMNS, strict=True))
    ]
    # a space between the first column and the second
    return f"{words[0]} {''.join(words[1:])}".rstrip()


def _cost(check: Check) -> str:
    if check.status in ("could not run", "not applicable"):
        return ""
    size, unit = next((s, u) for s, u, below in UNITS if check.seconds < below)
    return f"{check.seconds / size:.0f} {unit}"
