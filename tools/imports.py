"""Which module of a package imports which: a walk over its files, which imports nothing of it.

An arrow is any import: at the top of a file, inside a function, under TYPE_CHECKING, or a string
"package.module" or "package.module:name", by which code is loaded when it is needed.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx as nx

SOURCE = Path(__file__).resolve().parents[1] / "src" / "hardball"

LEVELS: list[set[str]] = [
    {"errors", "_version"},
    {
        "environment",
        "extras",
        "fingerprint",
        "isolation",
        "losses",
        "names",
        "places",
        "seeding",
        "settings_file",
        "storage",
        "threats",
        "time_left",
        "validation",
    },
    {"fronts", "perf"},
    {"attacks", "certify", "models", "data", "theory"},
    {"runs", "zoo"},
    {"training", "evaluation", "interpretation", "landscape", "verification"},
    {"interchange", "report", "presets"},
    {"reproduction"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
"""The architecture: a unit (a module or package directly under hardball) imports from the levels
before its own and from itself, nothing else of hardball."""

Graph = nx.DiGraph  # of names


def modules(source: Path) -> dict[str, Path]:
    """Dotted name → file of every module; a package is named for its `__init__`."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = (source.name, *path.relative_to(source).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def module_graph(source: Path = SOURCE) -> "Graph[str]":
    """Arrows between all modules. A name taken from a package's `__init__` is an arrow to the
    package; a module taken from a package is an arrow to that module."""
    known = modules(source)
    graph: Graph[str] = nx.DiGraph()
    graph.add_nodes_from(known)
    for name, path in known.items():
        tree = ast.parse(path.read_text())
        for written in _imports(tree, path):
            target = written
            while target and target not in known:
                target = target.rpartition(".")[0]
            if target and target != name:
                graph.add_edge(name, target)
        # a module's own packages are named for other reasons: a template loader, a logger
        graph.add_edges_from(
            (name, text)
            for text in _strings(tree)
            if text in known and not f"{name}.".startswith(f"{text}.")
        )
    return graph


def _imports(tree: ast.Module, path: Path) -> Iterator[str]:
    """The dotted names that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}: relative import; name the package in full")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _strings(tree: ast.Module) -> Iterator[str]:
    """The strings of a file, up to a colon."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.partition(":")[0]


def parts_graph(graph: "Graph[str]", package: str) -> "Graph[str]":
    """The arrows between the direct parts of a package, each taken whole and named within it.
    The package's own `__init__` is left out."""
    prefix = package + "."

    def part(name: str) -> str:
        return name.removeprefix(prefix).split(".")[0]

    inside = [name for name in graph if name.startswith(prefix)]
    parts: Graph[str] = nx.DiGraph()
    parts.add_nodes_from(sorted({part(name) for name in inside}))
    for start, end in graph.subgraph(inside).edges:
        if part(start) != part(end):
            parts.add_edge(part(start), part(end))
    return parts
