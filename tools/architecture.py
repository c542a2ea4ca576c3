"""Draws the house from its imports, and lists its rooms.

    python tools/architecture.py                       the units of hardball, as SVG
    python tools/architecture.py --package training    the inside of one package
    python tools/architecture.py --contents            what each unit is, as a table
    python tools/architecture.py --write               remakes docs/architecture.svg, and the table
                                                       in docs/design.md

A row of the picture is a level, arrows run downwards, and an arrow that follows from others is left
out (A → C, where A → B → C).
"""

import argparse
import ast
import sys
from collections.abc import Sequence
from pathlib import Path

import networkx as nx
from imports import LEVELS, SOURCE, Graph, module_graph, modules, parts_graph
from layered import draw
from marked import filled

DOCS = Path(__file__).resolve().parents[1] / "docs"
PICTURE, PAGE = DOCS / "architecture.svg", DOCS / "design.md"


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


def contents(source: Path = SOURCE) -> str:
    """A table in Markdown of the units, from the top: the first sentence of each one's docstring,
    and the modules in it. Units that say nothing of themselves are left out."""
    files, graph = modules(source), module_graph(source)
    lines = ["| unit | what it is | in it |", "| --- | --- | --- |"]
    for unit in (unit for level in reversed(LEVELS) for unit in sorted(level)):
        about = ast.get_docstring(ast.parse(files[f"{source.name}.{unit}"].read_text()))
        if about is None:
            continue
        sentence = " ".join(about.split("\n\n")[0].split()).split(". ")[0].rstrip(".")
        names = [
            _with_slash(source / unit, part) for part in parts_graph(graph, f"{source.name}.{unit}")
        ]
        lines.append(f"| `{_with_slash(source, unit)}` | {sentence} | {', '.join(names)} |")
    return "\n".join(lines) + "\n"


def _with_slash(folder: Path, part: str) -> str:
    return f"{part}/" if (folder / part).is_dir() else part


def page(text: str) -> str:
    """The page with the table as it is now."""
    return filled(text, {"python tools/architecture.py --write": contents})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--package", help='of which to draw the inside, such as "training"')
    one.add_argument("--contents", action="store_true", help="print the table")
    one.add_argument("--write", action="store_true", help="write the picture and the table")
    arguments = parser.parse_args()
    if arguments.write:
        PICTURE.write_text(picture())
        PAGE.write_text(page(PAGE.read_text()))
    else:
        sys.stdout.write(contents() if arguments.contents else picture(package=arguments.package))


if __name__ == "__main__":
    main()
