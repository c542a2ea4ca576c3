"""What the experiments share: hardball's commands, run one after another and never twice.

`record` (the result's file, the command line) and `peers` (other libraries' attacks) are in benchmarks/.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

from record import command, parser, write

from hardball import environment

__all__ = ["command", "hardball", "hardball_json", "parser", "train", "write", "write_networks"]


def hardball(words: str, *, threads: int | None = None, allowed: tuple[int, ...] = (0,)) -> None:
    """Run a command; its output goes to this one's. Ends this script unless the exit code is allowed.

    Args:
        words: the command without `hardball`, as a shell would read it.
        threads: of each process; as PyTorch chooses by default.
        allowed: exit codes.
    """
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    ended = subprocess.run(
        [sys.executable, "-m", "hardball", *shlex.split(words)], check=False, env=environment
    )
    if ended.returncode not in allowed:
        raise SystemExit(f"hardball {words}: exit code {ended.returncode}")


def train(words: str, folder: Path, *, threads: int | None = None) -> None:
    """Train what is not there yet; continue what was interrupted.

    Args:
        words: the command without `hardball` and --out.
        folder: of the run.
        threads: of each process.
    """
    if not (folder / "config.yaml").exists():
        hardball(f"{words} --out {shlex.quote(str(folder))}", threads=threads)
    elif not (folder / "outcome.json").exists():
        hardball(f"train --resume {shlex.quote(str(folder))}", threads=threads)


def write_networks(found: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Store what was measured of networks by name.

    Args:
        arguments: with data_root, note and out.
    """
    result = {
        "networks": found,
        "command": command(data_root=arguments.data_root),
        "machine": environment.facts(),
        "note": arguments.note,
    }
    write(result, arguments.out)


def hardball_json(words: str, written: Path, kept: Path) -> dict[str, Any]:
    """The result of a command that writes the JSON file `written`, moved to `kept` and used from there
    if the command has run before."""
    if not kept.exists():
        hardball(words)
        written.rename(kept)
    found: dict[str, Any] = json.loads(kept.read_text())
    return found
