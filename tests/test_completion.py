"""`hardball completion`: the script of each shell, and what bash makes of it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import completion as tool
import pytest

from hardball.cli.completion import SHELLS
from hardball.cli.main import COMMANDS
from test_startup import HEAVY, command, python


def script(shell: str) -> str:
    words = [sys.executable, "-m", "hardball", "completion", shell]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_the_file_has_the_flags_of_the_commands() -> None:
    found = json.dumps(tool.tree(COMMANDS), indent=1, ensure_ascii=False) + "\n"
    assert tool.FILE.read_text() == found, "python tools/completion.py --write renews it"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_comes_without_the_imports_of_the_commands(shell: str) -> None:
    imported, _ = python(command("completion", shell))
    assert imported.isdisjoint(HEAVY)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_every_command(shell: str) -> None:
    written = script(shell)
    for name in COMMANDS:
        assert name in written


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["ev"], {"evaluate"}),
        (["theory", "ga"], {"gaussian"}),
        (["completion", ""], set(SHELLS)),
        (["train", "--carr"], {"--carry"}),
        (["train", "--curriculum", ""], {"adaptive", "constant", "iterative"}),
        (["train", "--increm"], {"--increment"}),
        (["evaluate", "--js"], {"--json"}),
    ],
    ids=lambda words: " ".join(sorted(words)),
)
def test_bash_completes(typed: list[str], offered: set[str], tmp_path: Path) -> None:
    (tmp_path / "script").write_text(script("bash"))
    words = " ".join(f"'{word}'" for word in ["hardball", *typed])
    asked = (
        f"source {tmp_path}/script; COMP_WORDS=({words}); COMP_CWORD={len(typed)}; "
        "$(complete -p hardball | sed 's/.*-F \\([^ ]*\\).*/\\1/') hardball; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    ended = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    found = {line.strip() for line in ended.stdout.splitlines()} - {"-h", "--help"}
    assert offered <= found if not typed[-1] else offered == found


def test_help_says_where_the_script_belongs(capsys: pytest.CaptureFixture[str]) -> None:
    from hardball.cli.completion import completion

    assert completion(["--help"]) == 0
    assert "~/.config/fish/completions/hardball.fish" in capsys.readouterr().out


def test_an_unknown_shell_is_refused_in_one_line() -> None:
    words = [sys.executable, "-m", "hardball", "completion", "tcsh"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == ("hardball: error: unknown shell 'tcsh'; there are: bash, fish, zsh\n")
