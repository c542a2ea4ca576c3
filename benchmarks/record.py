"""What every script here and in results/ does with its command line and its result."""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"


def parser(text: str | None, out: Path | None = None) -> argparse.ArgumentParser:
    """A parser that prints the script's docstring as it is.

    Args:
        text: the docstring.
        out: where the result goes by default; adds --out, and --note for what else was running.
    """
    made = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if out is not None:
        made.add_argument("--out", type=Path, default=out)
        made.add_argument("--note", default="", help="what else the machine was doing")
    return made


def command(**replaced: object) -> str:
    """The command that runs this script again, from the root of the repository.

    Args:
        replaced: name → argument of this machine; the name in capitals is written instead.
    """
    names = {str(value): name.upper() for name, value in replaced.items()}
    script = Path(sys.argv[0]).resolve()
    words = [names.get(word, word) for word in sys.argv[1:]]
    return shlex.join(["python", str(script.relative_to(ROOT)), *words])


def write(result: dict[str, Any], path: Path) -> None:
    """Store a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(f"wrote {path}")
