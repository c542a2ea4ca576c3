"""Imports point one way. This list is the architecture: a module may import from the levels above
its own (earlier in the list) and from its own package, nothing else of hardball."""

import ast
from pathlib import Path

import pytest

import hardball

SOURCE = Path(hardball.__file__).parent

LEVELS: list[set[str]] = [
    {"errors", "_version"},
    {
        "environment",
        "fingerprint",
        "isolation",
        "losses",
        "names",
        "places",
        "seeding",
        "storage",
        "threats",
        "validation",
    },
    {"perf"},
    {"attacks", "certify", "models", "data", "theory"},
    {"runs"},
    {"training", "evaluation", "verification"},
    {"report", "presets"},
    {"commands"},
    {"cli"},
    {"__main__"},
]


def level_of(unit: str) -> int:
    for number, level in enumerate(LEVELS):
        if unit in level:
            return number
    raise AssertionError(f"{unit} is on no level: add it to LEVELS")


def units() -> list[str]:
    """Modules and packages directly under hardball."""
    return sorted(
        path.stem
        for path in SOURCE.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.stem != "__init__"
    )


def imported_units(path: Path) -> set[str]:
    """Which of hardball's units a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; name the package in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("hardball.")}
        assert "hardball" not in names, f"{path} imports the whole package"
    return found


def files_of(unit: str) -> list[Path]:
    module = SOURCE / f"{unit}.py"
    return [module] if module.exists() else sorted((SOURCE / unit).rglob("*.py"))


@pytest.mark.parametrize("unit", units())
def test_imports_point_one_way(unit: str) -> None:
    for path in files_of(unit):
        for other in imported_units(path) - {unit}:
            assert level_of(other) < level_of(unit), (
                f"{path.relative_to(SOURCE)} imports {other}, which is not below {unit}"
            )


def test_the_walk_sees_imports(tmp_path: Path) -> None:
    """A planted violation is found in both forms of import."""
    file = tmp_path / "planted.py"
    file.write_text(
        "from hardball import training\nimport hardball.cli.main\nfrom torch import nn\n"
    )
    assert imported_units(file) == {"training", "cli"}


def test_theory_never_sees_a_network() -> None:
    text = "\n".join(path.read_text() for path in files_of("theory"))
    assert "torch.nn" not in text
    assert "from torch import nn" not in text
