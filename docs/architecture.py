"""Draws the house from its imports.

    python docs/architecture.py                       the units of hardball, as SVG
    python docs/architecture.py --package training    the inside of one package
    python docs/architecture.py --write               remakes docs/architecture.svg

A row is a level, arrows run downwards, and an arrow that follows from others is left out
(A → C, where A → B → C).
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

import networkx as nx
from imports import LEVELS, SOURCE, Graph, module_graph, parts_graph

PICTURE = Path(__file__).with_name("architecture.svg")

Slot = tuple[str, str] | str
"""A box, by its name; or the place where an arrow (start, end) passes a row."""

BOX, ROW, GAP, LANE, MARGIN = 26, 66, 16, 12, 20  # pixels
SWEEPS = 40


def levels_of(parts: "Graph[str]", levels: Sequence[set[str]] | None) -> list[list[str]]:
    """Rows from the top: the levels given; else each part right below what imports it."""
    if levels is None:
        return [sorted(row) for row in nx.topological_generations(parts)]
    return [sorted(level & set(parts)) for level in reversed(levels)]


def picture(source: Path = SOURCE, package: str | None = None) -> str:
    """SVG of the units of hardball, or of one package's inside ("evaluation.checks").

    Raises:
        ValueError: no such package, or arrows in a circle.
    """
    name = source.name if package is None else f"{source.name}.{package}"
    parts = parts_graph(module_graph(source), name)
    if not parts:
        raise ValueError(f"{name} is no package of {source}")
    if not nx.is_directed_acyclic_graph(parts):
        raise ValueError(f"arrows in a circle: {nx.find_cycle(parts)}")
    rows = levels_of(parts, LEVELS if package is None else None)
    folders = source if package is None else source.joinpath(*package.split("."))
    packages = {part for part in parts if (folders / part).is_dir()}
    return draw(nx.transitive_reduction(parts), [row for row in rows if row], packages)


def draw(graph: "Graph[str]", boxes: list[list[str]], packages: set[str]) -> str:
    """The graph as SVG, boxes by rows."""
    rows, links = _with_passages(graph, boxes)
    rows = _untangled(rows, links)
    x = _places(rows, links)
    width = max(x[slot] + _width(slot) / 2 for row in rows for slot in row) + MARGIN
    height = (len(rows) - 1) * ROW + BOX + 2 * MARGIN
    top = {slot: MARGIN + number * ROW for number, row in enumerate(rows) for slot in row}
    lines = [_line(graph, edge, links, x, top) for edge in sorted(graph.edges)]
    drawn = [
        _box(slot, x[slot], top[slot], slot in packages)
        for row in rows
        for slot in row
        if isinstance(slot, str)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
            f'width="{width:.0f}" height="{height}" '
            'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="13">',
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#5b6770"/></marker></defs>',
            f'<rect width="{width:.0f}" height="{height}" rx="8" fill="#fff"/>',
            *lines,
            *drawn,
            "</svg>\n",
        ]
    )


def _with_passages(
    graph: "Graph[str]", boxes: list[list[str]]
) -> tuple[list[list[Slot]], list[tuple[Slot, Slot]]]:
    """Rows with a slot for each arrow that passes them, and the links between neighbouring rows."""
    rows: list[list[Slot]] = [list(row) for row in boxes]
    level = {name: number for number, row in enumerate(boxes) for name in row}
    links: list[tuple[Slot, Slot]] = []
    for start, end in sorted(graph.edges):
        last: Slot = start
        for number in range(level[start] + 1, level[end]):
            # arrows to one box share their way down
            passage = (f"→{number}", end)
            if passage not in rows[number]:
                rows[number].append(passage)
            links.append((last, passage))
            last = passage
        links.append((last, end))
    return rows, sorted(set(links), key=str)


def _crossings(rows: list[list[Slot]], links: list[tuple[Slot, Slot]]) -> int:
    place = {slot: (number, i) for number, row in enumerate(rows) for i, slot in enumerate(row)}
    ends = [(*place[a], place[b][1]) for a, b in links]
    return sum(
        p[0] == q[0] and (p[1] - q[1]) * (p[2] - q[2]) < 0
        for i, p in enumerate(ends)
        for q in ends[:i]
    )


def _untangled(rows: list[list[Slot]], links: list[tuple[Slot, Slot]]) -> list[list[Slot]]:
    """The order within each row with the fewest crossings found: every slot moves to the mean of
    its neighbours' places, rows in turn from the top and from the bottom."""
    near: dict[Slot, list[Slot]] = {slot: [] for row in rows for slot in row}
    for a, b in links:
        near[a].append(b)
        near[b].append(a)
    best = rows = [list(row) for row in rows]
    for sweep in range(SWEEPS):
        for number in range(len(rows)) if sweep % 2 else reversed(range(len(rows))):
            place = {slot: (i + 0.5) / len(row) for row in rows for i, slot in enumerate(row)}
            fixed = rows[number - 1 : number] if sweep % 2 else rows[number + 1 : number + 2]
            others = set().union(*fixed)

            def mean(slot: Slot) -> float:
                at = [place[n] for n in near[slot] if n in others]  # noqa: B023
                return sum(at) / len(at) if at else place[slot]  # noqa: B023

            rows[number] = sorted(rows[number], key=mean)
        if _crossings(rows, links) < _crossings(best, links):
            best = [list(row) for row in rows]
    return best


def _places(rows: list[list[Slot]], links: list[tuple[Slot, Slot]]) -> dict[Slot, float]:
    """The middle of each slot: near its neighbours, in order, without overlaps."""
    x: dict[Slot, float] = {}
    for row in rows:
        left = 0.0
        for slot in row:
            x[slot] = left + _width(slot) / 2
            left += _width(slot) + GAP
        middle = left / 2
        x |= {slot: x[slot] - middle for slot in row}
    near: dict[Slot, list[Slot]] = {slot: [] for slot in x}
    for a, b in links:
        near[a].append(b)
        near[b].append(a)
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else reversed(rows):
            wanted = [
                sum(x[n] for n in near[slot]) / len(near[slot]) if near[slot] else x[slot]
                for slot in row
            ]
            x |= dict(zip(row, _apart(row, wanted), strict=True))
    left = min(x[slot] - _width(slot) / 2 for slot in x) - MARGIN
    return {slot: at - left for slot, at in x.items()}


def _apart(row: list[Slot], wanted: list[float]) -> list[float]:
    """The places nearest to those wanted (least squares) at which a row's slots do not overlap."""
    offsets = [0.0]
    for a, b in itertools.pairwise(row):
        offsets.append(offsets[-1] + (_width(a) + _width(b)) / 2 + GAP)
    blocks: list[tuple[float, int]] = []  # mean, count: pool neighbours that would overlap
    for want, offset in zip(wanted, offsets, strict=True):
        mean, count = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, more = blocks.pop()
            mean, count = (mean * count + other * more) / (count + more), count + more
        blocks.append((mean, count))
    bases = [mean for mean, count in blocks for _ in range(count)]
    return [base + offset for base, offset in zip(bases, offsets, strict=True)]


def _width(slot: Slot) -> float:
    return LANE if isinstance(slot, tuple) else 8.2 * len(slot) + 20


def _line(
    graph: "Graph[str]",
    edge: tuple[str, str],
    links: list[tuple[Slot, Slot]],
    x: dict[Slot, float],
    top: dict[Slot, int],
) -> str:
    start, end = edge
    way: list[Slot] = [start]
    while way[-1] != end:
        way.append(next(b for a, b in links if a == way[-1] and (b == end or b[1:] == (end,))))
    path = f"M{x[start]:.1f} {top[start] + BOX}"
    for a, b in itertools.pairwise(way):
        low, high = top[a] + BOX, top[b]
        middle = (low + high) / 2
        path += f"C{x[a]:.1f} {middle:.1f} {x[b]:.1f} {middle:.1f} {x[b]:.1f} {high}"
        if b != end:
            path += f"V{high + BOX}"
    return (
        f'<path d="{path}" fill="none" stroke="#5b6770" stroke-width="1.2" '
        f'marker-end="url(#arrow)"><title>{escape(start)} → {escape(end)}</title></path>'
    )


def _box(name: str, x: float, top: int, package: bool) -> str:
    width = _width(name)
    fill, edge = ("#dbe9f6", "#3b6ea5") if package else ("#f4f1e8", "#a08f5b")
    return (
        f'<rect x="{x - width / 2:.1f}" y="{top}" width="{width:.1f}" height="{BOX}" rx="4" '
        f'fill="{fill}" stroke="{edge}"/>'
        f'<text x="{x:.1f}" y="{top + 17.5}" text-anchor="middle">{escape(name)}</text>'
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--package", help='of which to draw the inside, such as "training"')
    parser.add_argument("--write", action="store_true", help=f"write {PICTURE.name}")
    arguments = parser.parse_args()
    if arguments.write and arguments.package:
        parser.error(f"{PICTURE.name} shows the whole house; give --write or --package")
    drawn = picture(package=arguments.package)
    if arguments.write:
        PICTURE.write_text(drawn)
    else:
        sys.stdout.write(drawn)


if __name__ == "__main__":
    main()
