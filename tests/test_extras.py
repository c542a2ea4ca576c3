"""What works without the packages of the extras, and what the rest says then."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from commands import TINY, run
from hardball.errors import MissingExtra
from hardball.extras import EXTRAS, installed, missing, require

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = sorted({package for packages in EXTRAS.values() for package in packages})
TRAIN = ("train", "--eps", 0.1, "--epochs", 1, *TINY, "--keep-every", 1, "--out", "run")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and its evaluation, made where no optional package could be imported."""
    folder = tmp_path_factory.mktemp("core")
    for words in (TRAIN, ("evaluate", "run", "--attacks", "pgd-2", "--n", 40)):
        code, _, err = run(words, folder, hidden=OPTIONAL)
        assert (code, err) == (0, "")
    return folder


@pytest.mark.parametrize("package", OPTIONAL)
def test_the_core_needs_none_of_the_optional_packages(package: str, tmp_path: Path) -> None:
    for words in (TRAIN, ("evaluate", "run", "--attacks", "pgd-2", "--n", 40), ("verify", "run")):
        code, _, err = run(words, tmp_path, hidden=[package])
        assert (code, err) == (0, "")
    events = [*(tmp_path / "run").glob("events.out.tfevents*")]
    assert bool(events) == (package != "tensorboard")
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "run", "--bare", "true"),
        ("evaluate", "run", "--n", 20, "--certify", "ibp"),
        ("extend", "run", "--eps", 0.2, "--epochs", 1, "--out", "more"),
        ("theory", "gaussian"),
        ("theory", "bernoulli"),
        ("theory", "limits", "--k", "[10]", "--t", "[0.1]"),
    ],
    ids=lambda words: " ".join(map(str, words[:2])),
)
def test_these_commands_work_in_the_core(words: tuple[object, ...], trained: Path) -> None:
    code, _, err = run(words, trained, hidden=OPTIONAL)
    assert (code, err) == (0, "")


def test_the_checklist_works_in_the_core_and_names_the_attacks_that_could_not_run(
    trained: Path,
) -> None:
    asked = ("evaluate", "run", "--protocol", "checklist", "--budget", "quick", "--n", 20)
    code, out, err = run(asked, trained, hidden=OPTIONAL)
    assert code in (0, 1)
    assert err == ""
    said = " ".join(out.split())
    assert "could not run" in said
    assert "pip install 'hardball[attacks]'" in said


NEEDS = [
    ("report", ("demo",)),
    ("report", ("report", "run")),
    ("report", ("reproduce", "fig12", "--yes")),
    ("report", ("explain", "run")),
    ("report", ("landscape", "weights", "random", "run")),
    ("report", ("landscape", "inputs", "run")),
    ("report", ("landscape", "convergence", "run")),
    ("report", ("theory", "gaussian", "--figure", "picture.png")),
    ("theory", ("theory", "hardness")),
    ("theory", ("limit",)),
    ("app", ("explore", "run")),
    ("attacks", ("evaluate", "run", "--n", "40", "--protocol", "autoattack")),
    ("export", ("export", "run", "--format", "onnx", "--out", "run.onnx")),
    ("explain", ("explain", "run", "--methods", "smoothgrad")),
    ("landscape", ("landscape", "weights", "random", "run", "--curvature", "true")),
]
"""(extra, a command that needs it)"""


@pytest.mark.parametrize(("extra", "words"), NEEDS, ids=lambda value: " ".join([*value][:3]))
def test_a_command_names_the_extra_that_it_needs_before_it_does_anything(
    extra: str, words: tuple[str, ...], trained: Path
) -> None:
    before = files(trained)
    code, out, err = run(words, trained, hidden=EXTRAS[extra])
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"hardball: error: [^\n]* pip install 'hardball\[{extra}\]'[^\n]*\n", err)
    assert files(trained) == before


def files(folder: Path) -> set[Path]:
    """What the commands have written; not the logs of this test."""
    return {p for p in folder.rglob("*") if not p.relative_to(folder).parts[0].startswith("log")}


def test_a_package_is_asked_for_without_an_import() -> None:
    assert installed("numpy")
    assert not installed("no_such_package")
    require("nothing needs", "numpy")
    with pytest.raises(
        MissingExtra, match=r"^the page needs jinja2: pip install 'hardball\[report\]'"
    ):
        raise missing("the page needs", "jinja2")


# ------------------------------------------------------- the table and pyproject.toml


def test_every_import_is_of_a_required_package_or_of_an_extra() -> None:
    assert imported() - required() == set(OPTIONAL) - {
        "foolbox",
        "tensorboard",
        "onnx",
        "onnxscript",
    }


def test_nothing_is_required_that_is_not_imported() -> None:
    # the completion script's maker is called through the argument parser
    assert required() - imported() <= {"shtab"}


def test_the_table_of_extras_is_that_of_the_package() -> None:
    known = packages_distributions()
    extras = {
        name: {bare(one) for one in needed} - {"hardball"}
        for name, needed in PROJECT["optional-dependencies"].items()
        if name in EXTRAS
    }
    found = {
        name: {known[one][0].lower() if one in known else one for one in packages}
        for name, packages in EXTRAS.items()
    }
    assert found == extras


def bare(requirement: str) -> str:
    """The distribution's name alone."""
    return re.split(r"[\[<>=! ]", requirement)[0].lower()


def required() -> set[str]:
    """The packages, as they are imported, of the required distributions."""
    names = {bare(one) for one in PROJECT["dependencies"]}
    known = packages_distributions()
    return {
        package
        for package, distributions in known.items()
        if names & {one.lower() for one in distributions} and package not in BESIDE
    }


BESIDE = {"_yaml", "functorch", "torchgen"}
"""Packages that distributions bring besides their own."""


def imported() -> set[str]:
    """All packages that a file of hardball imports, those inside functions too."""
    found: set[str] = set()
    for path in (ROOT / "src" / "hardball").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "extra":
                found |= {
                    str(word.value).partition(".")[0]
                    for word in node.args[:1]
                    if isinstance(word, ast.Constant)
                }
    return found - {"hardball"} - set(sys.stdlib_module_names)
