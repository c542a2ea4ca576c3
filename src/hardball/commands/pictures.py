"""What commands that draw share: an attack by name, and the picture with its data beside it."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardball.attacks import Attack
from hardball.commands.subject import run_of
from hardball.commands.train import weights_of
from hardball.errors import UserError
from hardball.evaluation import protocols
from hardball.extras import require
from hardball.report.figures import as_png
from hardball.storage import digest, read_bytes, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Show = Callable[[str, int], Callable[[], object]]
"""(what is computed, how many steps) → called after each step: a progress bar, or nothing."""


def silent(what: str, steps: int) -> Callable[[], object]:
    """Shows nothing."""
    return lambda: None


def attack_named(name: str) -> Attack:
    """An attack of the evaluation's table, or package.module:Name.

    Raises:
        UserError: no such attack.
    """
    return protocols.named([name])[name]


def folder_for(out: Path | None, path: Path) -> Path:
    """Where the picture and results about a run or weights file go: `out`, the run's folder, or the
    file's. Asked for before anything long is done.

    Raises:
        MissingExtra: pictures cannot be drawn here.
        UserError: that is a file.
    """
    require("the picture needs", "matplotlib")
    found = out or run_of(path) or path.parent
    if found.exists() and not found.is_dir():
        raise UserError(f"`out={found}` is a file; choose a folder")
    return found


def refuse_without_weights(path: Path) -> None:
    """A run must have weights.

    Raises:
        UserError: it has none yet.
    """
    if path.is_dir() and run_of(path) and not (path / "weights.safetensors").exists():
        raise UserError(
            f"{path} has no weights yet; let it finish an epoch: hardball train --resume {path}"
        )


def about(path: Path) -> dict[str, Any]:
    """A run or weights file: a name to show, where it is, and the digest of its weights."""
    run, whole = run_of(path), path.resolve()
    name = whole.name if run is None else whole.relative_to(run.resolve().parent).as_posix()
    content = read_bytes(weights_of(path), "weights")
    return {
        "name": name,
        "path": str(path),
        "weights_sha256": digest(content),
    }


def compact_json(found: Mapping[str, Any]) -> bytes:
    """Readable JSON, the numbers of a list on one line."""
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    text = re.sub(r"\[[\s\d.,e+-]+\]", lambda numbers: " ".join(numbers[0].split()), text)
    return (text + "\n").encode()


def save(folder: Path, name: str, found: Mapping[str, Any], figure: "Figure") -> None:
    """The data as NAME.json and the picture as NAME.png, each whole or not at all."""
    picture = as_png(figure)
    write_atomically(folder / f"{name}.json", compact_json(found))
    write_atomically(folder / f"{name}.png", picture)
