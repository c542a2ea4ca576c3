"""What starting costs: which packages are imported, and when."""

import os
import signal
import subprocess
import sys
from inspect import ismodule
from pathlib import Path

import pytest

import hardball
from commands import own
from hardball.cli.flags import about
from hardball.cli.main import COMMANDS, Command, Group

PUBLIC = vars(hardball)["__all__"]  # made from the stub, which has no such name

RARE = ("jinja2", "matplotlib", "networkx", "numba", "scipy", "sklearn", "tensorboard")
"""Packages that only some calls need."""

HEAVY = ("torch", "torchvision", "lightning_fabric", "numpy", *RARE)

Ended = tuple[int, str, str]

REPORT = "\nprint('imported:', *sorted(sys.modules))"


def python(code: str) -> tuple[set[str], str]:
    """Which packages a fresh interpreter has imported after `code`, and its standard error."""
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}{REPORT}"],
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in ended.stdout.splitlines() if line.startswith("imported:"))
    return {name.partition(".")[0] for name in line.split()[1:]}, ended.stderr


def command(*words: str) -> str:
    """Code that runs the command."""
    return (
        f"from hardball.cli import main\ntry:\n    main({list(words)})\n"
        "except SystemExit as ended:\n    assert ended.code in (0, 2)"
    )


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--help",),
        ("--version",),
        ("trian",),
        ("theory", "--help"),
        ("theory", "gausian"),
    ],
)
def test_help_and_misspelt_commands_import_nothing_heavy(words: tuple[str, ...]) -> None:
    assert python(command(*words))[0].isdisjoint(HEAVY)


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("trian",)])
def test_help_and_misspelt_commands_are_cheap(words: tuple[str, ...]) -> None:
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "hardball", *words], capture_output=True, text=True, check=False
    )
    after = os.times()
    spent = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    assert spent <= 0.4


def test_importing_hardball_imports_nothing_heavy() -> None:
    """So it costs less than importing torch does, whatever torch costs."""
    assert python("import hardball\ndir(hardball), hardball.__version__")[0].isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "code",
    [
        "import hardball\nhardball.fit, hardball.evaluate, hardball.checklist, hardball.verify",
        "import hardball.theory",
        "import hardball.report.figures, hardball.report.html, hardball.report.theory_figures",
        command("train", "--help"),
        command("evaluate", "--help"),
        command("limit", "--help"),
        command("theory", "gaussian", "--help"),
        command("demo", "--help"),
    ],
)
def test_rarely_used_packages_are_imported_where_they_are_used(code: str) -> None:
    assert python(code)[0].isdisjoint(RARE)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(hardball, name) is not None
    assert name in dir(hardball)


def test_a_public_module_is_there_before_anything_has_imported_it() -> None:
    modules = [name for name in PUBLIC if ismodule(getattr(hardball, name))]
    assert modules
    for name in modules:
        python(f"import hardball\nhardball.{name}")


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="hardball attribute PDG"):
        _ = hardball.PDG  # type: ignore[attr-defined]


def leaves() -> dict[str, Command]:
    whole = {name: command for name, command in COMMANDS.items() if isinstance(command, Command)}
    groups = {name: group for name, group in COMMANDS.items() if isinstance(group, Group)}
    return whole | {
        f"{name} {part}": command
        for name, group in groups.items()
        for part, command in group.parts.items()
    }


@pytest.mark.parametrize("name", leaves())
def test_the_table_describes_a_command_as_its_function_does(name: str) -> None:
    found = leaves()[name]
    assert found.about == about(found.load())


@pytest.mark.parametrize("moment", ["before torch", "within torch"])
def test_an_interrupt_during_the_imports_is_one_line(moment: str, tmp_path: Path) -> None:
    """A package that sends Ctrl-C to its own process takes the place of one that is imported."""
    planted = tmp_path / ("yaml.py" if moment == "before torch" else "torch.py")
    planted.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-m", "hardball", "train", "--eps", "0.1"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    said = (own(ended.stdout), own(ended.stderr))
    assert (ended.returncode, *said) == (130, "", "hardball: interrupted\n")


COUNTING = """
import os, signal, sys

class Counting:
    count = 0

    def find_spec(self, name, *_):
        if self.count or name == "hardball.cli":
            Counting.count += 1
            if self.count == int(os.environ["INTERRUPT_AT"]):
                os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Counting())
"""
"""Sends Ctrl-C to its own process as the module of that number, from hardball's command on, is sought."""


@pytest.mark.parametrize("number", [1, 30, 400, 1500])
def test_an_interrupt_at_any_import_is_one_line(number: int, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(COUNTING)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-m", "hardball", "train", "--eps", "0.1"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path, "INTERRUPT_AT": str(number)},
        cwd=tmp_path,
    )
    assert (own(ended.stdout), own(ended.stderr)) == ("", "hardball: interrupted\n")
    # 130 in a shell both: Python ends by the signal itself where C code had met the interrupt
    assert ended.returncode in (130, -signal.SIGINT)
    assert not (tmp_path / "runs").exists()
