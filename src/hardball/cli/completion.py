"""`hardball completion`."""

import argparse
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from hardball.errors import UserError, unknown

SHELLS = ("bash", "zsh", "fish")

INSTALL = {
    "bash": "hardball completion bash > ~/.local/share/bash-completion/completions/hardball",
    "zsh": "hardball completion zsh > ~/.zfunc/_hardball, with ~/.zfunc in $fpath before compinit",
    "fish": "hardball completion fish > ~/.config/fish/completions/hardball.fish",
}


def completion(words: Sequence[str]) -> int:
    """The script that lets a shell complete commands and flags.

    It is printed; the shell reads it from where its users' completions are.
    """
    if not words or words[0] in ("-h", "--help"):
        lines = [f"usage: hardball completion {'|'.join(SHELLS)}", "", *INSTALL.values()]
        print("\n".join(lines))
        return 0
    if words[0] not in SHELLS:
        raise unknown("shell", words[0], SHELLS)
    if len(words) > 1:
        raise UserError(f"{words[1]!r} after the shell's name; give the name alone")
    import shtab

    print(shtab.complete(parser(), shell=words[0]))
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands and their flags, from completion.json: to ask the commands themselves would import
    torch."""
    known = json.loads((files("hardball.cli") / "completion.json").read_text())
    found = argparse.ArgumentParser("hardball", description="hardball")
    found.add_argument("--version", action="store_true", help="the version")
    _add_commands(found, known)
    return found


def _add_commands(whole: argparse.ArgumentParser, known: Mapping[str, Mapping[str, Any]]) -> None:
    parts = whole.add_subparsers()
    for name, command in known.items():
        about = _escaped(command["about"])
        part = parts.add_parser(name, help=about, description=about)
        if "parts" in command:
            _add_commands(part, command["parts"])
        else:
            _add_flags(part, command["flags"])
            _add_words(part, command["words"])


def _add_flags(part: argparse.ArgumentParser, flags: Mapping[str, Mapping[str, Any]]) -> None:
    for flag, about in flags.items():
        more: dict[str, Any] = {"help": _escaped(about["help"])}
        if about["switch"]:
            more["action"] = "store_true"
        elif about["choices"]:
            more["choices"] = about["choices"]
        _completed(part.add_argument(f"--{flag}", **more), path=about["path"])


def _add_words(part: argparse.ArgumentParser, words: bool | Sequence[str]) -> None:
    """The arguments without a flag: none, paths, or one of those given."""
    if isinstance(words, bool):
        if words:
            _completed(part.add_argument("words", nargs="*"), path=True)
    else:
        part.add_argument("word", choices=words)


def _completed(action: argparse.Action, *, path: bool) -> None:
    import shtab

    if path:
        action.complete = shtab.FILE  # type: ignore[attr-defined]


def _escaped(text: str) -> str:
    """argparse fills in what follows a percent sign."""
    return text.replace("%", "%%")
