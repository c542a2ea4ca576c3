"""The package as its users get it: built, installed where there is no checkout, and used."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("build", reason="`build` is not installed: no wheel can be built")
pytest.importorskip("hatchling", reason="`hatchling` is not installed: no wheel can be built")

ROOT = Path(__file__).resolve().parents[1]

DEMO = """
from dataclasses import replace
from hardball.cli import main
from hardball.commands import demo
from hardball.presets import merged

search = {"budget_steps": 40_000, "finish": 1, "longest": 2, "patience": 1}
short = [{"epochs": 1}, {"epochs": 1}, {"curriculum": search}]
demo.CONTESTANTS = tuple(
    replace(c, values=merged(c.values, s)) for c, s in zip(demo.CONTESTANTS, short, strict=True)
)
demo.COMMON["model"]["args"] = {"width": 4}
demo.ATTACKS = {"pgd-20": demo.protocols.protocol("quick")["pgd-20"]}
main(["demo"])
"""
"""`hardball demo` with three epochs or fewer of each training."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel, built from the source archive, and that archive."""
    place = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(place), str(ROOT)]
    subprocess.run(words, check=True, capture_output=True)
    return next(place.glob("*.whl")), next(place.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def python(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh interpreter with the wheel, and the third-party packages that this one has."""
    place = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    found = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(found), "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-index", str(built[0])], check=True)
    (site,) = (place / "lib").glob("python*/site-packages")
    # a folder named in a .pth file is searched, but its own .pth files, which lead to the checkout,
    # are not read
    others = [p for p in sys.path if p.endswith("site-packages")]
    (site / "third_party.pth").write_text("\n".join(others))
    return found


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        names = wheel.namelist()
    folders = {name.partition("/")[0] for name in names}
    assert {f.partition("-")[0] for f in folders} == {"hardball"}
    for data in ("py.typed", "__init__.pyi", "data/digits.npz", "report/templates/page.html"):
        assert f"hardball/{data}" in names
    held = {name for name in names if name.startswith("hardball/")}
    source = {
        f"hardball/{path.relative_to(ROOT / 'src' / 'hardball').as_posix()}"
        for path in (ROOT / "src" / "hardball").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    zoo = {
        f"hardball/_zoo/{path.relative_to(ROOT / 'zoo').as_posix()}"
        for path in (ROOT / "zoo").rglob("*")
        if path.is_file()
    }
    assert held == source | zoo


def test_the_source_archive_holds_what_the_wheel_is_built_from(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        tops = {name.split("/")[1] for name in archive.getnames()}
    assert {"src", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= tops
    assert not tops & {"tests", "results", "benchmarks", ".ci"}


def test_an_installed_hardball_works_from_the_first_command_to_a_verified_result(
    python: Path, tmp_path: Path
) -> None:
    def run(*words: str) -> str:
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        ended = subprocess.run(
            words, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    hardball = str(python.parent / "hardball")
    where = run(str(python), "-c", "import hardball; print(hardball.__file__)")
    assert Path(where).is_relative_to(python.parents[1])
    assert run(hardball, "--version").startswith("hardball ")
    run(hardball, "train", "--eps", "0.1", "--epochs", "1", "--steps", "2", "--out", "run")
    run(hardball, "evaluate", "run", "--attacks", "pgd-2", "--n", "40")
    assert "Verified" in run(hardball, "verify", "run")
    run(str(python), "-c", DEMO)
    assert json.loads((tmp_path / "demo" / "demo.json").read_text())["trainings"]
    assert (tmp_path / "demo" / "report.html").stat().st_size > 10_000
