"""A graph drawn by layers, as SVG: boxes in rows, arrows downwards, none of them through a box."""

from html import escape
from itertools import pairwise

import networkx as nx

Graph = nx.DiGraph  # of names

Slot = tuple[str, str] | str
"""A box, by its name; or (row, end): where the arrows to the box `end` pass a row."""

BOX, ROW, GAP, LANE, MARGIN = 26, 66, 16, 12, 20  # pixels
SWEEPS = 40


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
    for a, b in pairwise(row):
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
    for a, b in pairwise(way):
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
