"""Imports point one way, between the units of hardball and inside them. The levels are in
tools/imports.py; tools/architecture.py draws them."""

import re
from pathlib import Path
from xml.etree import ElementTree

import architecture
import networkx as nx
import pytest
from imports import LEVELS, SOURCE, Graph, module_graph, modules, parts_graph

MODULES = module_graph()
PACKAGES = sorted(
    name for name, path in modules(SOURCE).items() if path.name == "__init__.py" and "." in name
)


def units() -> "Graph[str]":
    return parts_graph(MODULES, "hardball")


def upwards(parts: "Graph[str]", levels: list[set[str]]) -> list[tuple[str, str]]:
    """Arrows that do not lead to an earlier level."""
    level = {unit: number for number, units in enumerate(levels) for unit in units}
    return sorted(edge for edge in parts.edges if level[edge[1]] >= level[edge[0]])


def circle(graph: "Graph[str]") -> list[tuple[str, str]]:
    """The arrows of one circle, if there is any."""
    return [] if nx.is_directed_acyclic_graph(graph) else list(nx.find_cycle(graph))


def through_own_init(graph: "Graph[str]") -> list[tuple[str, str]]:
    """Imports of names that the `__init__` of a package around the module re-exports."""
    return sorted(edge for edge in graph.edges if edge[0].startswith(f"{edge[1]}."))


def both_ways(graph: "Graph[str]", package: str) -> tuple[list[str], list[str]]:
    """For a package inside another: which of the outer's modules import from it, and from which it
    imports. One of the two is empty: it lies below the modules around it, or above them. (The outer
    one's `__init__` may import from both.)"""
    outer, _, name = package.rpartition(".")
    parts = parts_graph(graph, outer)
    return sorted(parts.predecessors(name)), sorted(parts.successors(name))


def test_every_unit_is_on_one_level() -> None:
    listed = [unit for level in LEVELS for unit in level]
    assert sorted(listed) == sorted(units())


def test_units_import_from_the_levels_below_them() -> None:
    assert upwards(units(), LEVELS) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circle_inside_a_package(package: str) -> None:
    """Its modules, and each package in it taken whole."""
    assert circle(parts_graph(MODULES, package)) == []


def test_no_circle_of_modules() -> None:
    assert circle(MODULES) == []


def test_no_module_imports_through_its_own_package() -> None:
    assert through_own_init(MODULES) == []


@pytest.mark.parametrize("package", [name for name in PACKAGES if name.count(".") > 1])
def test_a_package_inside_another_is_below_or_above_its_modules(package: str) -> None:
    importers, imported = both_ways(MODULES, package)
    beside = {name.rpartition(".")[2] for name in PACKAGES}  # they may be above what it is above
    assert not ({*importers} - beside and imported)


def test_the_checks_are_above_the_evaluation() -> None:
    assert both_ways(MODULES, "hardball.evaluation.checks")[0] == []


def test_theory_never_sees_a_network() -> None:
    files = [path for name, path in modules(SOURCE).items() if name.startswith("hardball.theory")]
    text = "\n".join(path.read_text() for path in files)
    assert len(files) > 1
    assert "torch.nn" not in text
    assert "from torch import nn" not in text


def planted(folder: Path, **files: str) -> "Graph[str]":
    """The arrows of a package `house`; a file's name has __ for a slash."""
    for name, text in files.items():
        path = folder / "house" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for package in [p for p in path.parents if (folder / "house") in (p, *p.parents)]:
            package.joinpath("__init__.py").touch()
    return module_graph(folder / "house")


@pytest.mark.parametrize(
    "text",
    [
        "from house import cellar",
        "import house.cellar",
        "import house.cellar as below",
        "from house.cellar import wine",
        "def drink():\n    from house.cellar import wine\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.cellar import wine\n",
        "import importlib\nimportlib.import_module('house.cellar')",
        "LATER = {'wine': 'house.cellar:wine'}",
    ],
)
def test_the_walk_sees_imports(tmp_path: Path, text: str) -> None:
    graph = planted(tmp_path, attic=f"from torch import nn\n{text}", cellar="wine = 1")
    assert list(graph.edges) == [("house.attic", "house.cellar")]
    assert upwards(parts_graph(graph, "house"), [{"attic"}, {"cellar"}]) == [("attic", "cellar")]
    assert upwards(parts_graph(graph, "house"), [{"attic", "cellar"}]) == [("attic", "cellar")]
    assert upwards(parts_graph(graph, "house"), [{"cellar"}, {"attic"}]) == []


def test_the_walk_sees_the_module_behind_a_package(tmp_path: Path) -> None:
    """Of two names taken from one package, one is a module and one is re-exported."""
    graph = planted(
        tmp_path,
        attic="from house.cellar import rack, wine",
        cellar__rack="wine = 1",
    )
    assert set(graph.successors("house.attic")) == {"house.cellar", "house.cellar.rack"}


def test_the_walk_refuses_relative_imports(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="relative import"):
        planted(tmp_path, attic="from . import cellar", cellar="")


def test_a_circle_inside_a_package_is_found(tmp_path: Path) -> None:
    graph = planted(
        tmp_path,
        cellar__rack="from house.cellar.wine import red",
        cellar__wine="red = 1\ndef stored():\n    from house.cellar import rack\n",
        cellar__shelf="from house.cellar import rack",
    )
    here = {("rack", "wine"), ("wine", "rack")}
    assert set(circle(parts_graph(graph, "house.cellar"))) == here
    assert circle(graph)
    assert circle(parts_graph(graph, "house")) == []


def test_a_circle_through_a_package_inside_is_found(tmp_path: Path) -> None:
    """No two modules import each other, but the package and its neighbour do."""
    graph = planted(
        tmp_path,
        cellar__wine="from house.cellar.box import lid",
        cellar__box__lid="",
        cellar__box__base="from house.cellar import wine",
    )
    assert circle(graph) == []
    assert len(circle(parts_graph(graph, "house.cellar"))) == 2
    assert both_ways(graph, "house.cellar.box") == (["wine"], ["wine"])


@pytest.mark.parametrize("text", ["from house.cellar import red", "import house"])
def test_an_import_through_the_own_package_is_found(tmp_path: Path, text: str) -> None:
    graph = planted(tmp_path, cellar__rack=text, cellar__wine="red = 1")
    assert [start for start, _ in through_own_init(graph)] == ["house.cellar.rack"]


def test_the_design_page_shows_the_house_as_it_is() -> None:
    """If this fails: python tools/architecture.py --write"""
    text = architecture.PAGE.read_text()
    assert architecture.PICTURE.read_text() == architecture.picture()
    assert f"({architecture.PICTURE.name})" in text
    assert architecture.page(text) == text
    assert all(
        f"| `{unit}` |" in architecture.contents() for unit in ("attacks/", "cli/", "losses")
    )


@pytest.mark.parametrize("package", [None, *(name.removeprefix("hardball.") for name in PACKAGES)])
def test_a_picture_has_every_part_and_covers_none(package: str | None) -> None:
    parts = parts_graph(MODULES, "hardball" if package is None else f"hardball.{package}")
    image = ElementTree.fromstring(architecture.picture(package=package))
    namespace = {"svg": "http://www.w3.org/2000/svg"}
    names = [text.text for text in image.findall("svg:text", namespace)]
    assert sorted(names, key=str) == sorted(parts)
    arrows = {
        tuple(str(title.text).split(" → "))
        for title in image.findall("svg:path/svg:title", namespace)
    }
    assert arrows == set(nx.transitive_reduction(parts).edges)

    boxes = [
        tuple(float(box.attrib[side]) for side in ("x", "y", "width", "height"))
        for box in image.findall("svg:rect", namespace)[1:]
    ]
    for number, (x, y, width, height) in enumerate(boxes):
        for left, top, wide, high in boxes[:number]:
            beside = x + width < left or left + wide < x
            assert beside or y + height < top or top + high < y
    passages = [
        tuple(float(n) for n in found)
        for path in image.findall("svg:path", namespace)
        for found in re.findall(r" ([0-9.]+) ([0-9.]+)V", path.attrib["d"])
    ]
    for at, row in passages:
        assert not any(x <= at <= x + width and y == row for x, y, width, _ in boxes)
