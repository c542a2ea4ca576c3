"""One self-contained page: style and script inside it, nothing fetched."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from hardball.report import charts, style
from hardball.report.blocks import Badge, Section

MOST = 5_000_000
"""Bytes of a page: more is slow to open and cannot be mailed."""


def page(
    title: str,
    summary: str,
    sections: Sequence[Section],
    *,
    badge: Badge | None = None,
    each: Sequence[tuple[str, Badge, str]] = (),
    command: str = "",
) -> str:
    """The HTML of a report; all text is escaped.

    Args:
        title: what it is about.
        summary: what was found, in a sentence: the first thing that is read.
        sections: the parts.
        badge: the summary in a word.
        each: where there are several, the same of each: name, word, sentence.
        command: what remakes the page.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("hardball.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["chart_groups"] = _chart_groups
    environment.globals.update(
        draw=charts.draw,
        table_of=charts.table_of,
        description=charts.description,
        marker=charts.marker,
        looks=list(zip(style.ON_LIGHT, style.ON_DARK, strict=True)),
        dashes=[style.SVG_DASHES[dash] for dash in style.DASHES],
    )
    return environment.get_template("page.html").render(
        title=title,
        summary=summary,
        sections=sections,
        badge=badge,
        each=each,
        command=command,
    )


def _chart_groups(blocks: Sequence[Any]) -> list[tuple[bool, list[Any]]]:
    """The blocks in order; neighbouring charts together, which are shown side by side."""
    return [(key, list(group)) for key, group in groupby(blocks, lambda b: b.kind == "chart")]
