"""Resume points: the two newest, written atomically, read newest first."""

import warnings
from pathlib import Path
from typing import Any

from hardball import storage
from hardball.errors import UserError

KEPT = 2


def save(folder: Path, position: tuple[int, int], state: dict[str, Any]) -> None:
    """Write the resume point of (epoch, step) and delete all but the newest two."""
    epoch, step = position
    storage.save_state(state, folder / f"epoch{epoch:05d}-step{step:07d}.pt")
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def load(folder: Path, identity: str) -> dict[str, Any] | None:
    """The newest readable resume point, or None if there is none.

    Args:
        identity: of the run (its config); a point of another run is refused.

    Raises:
        UserError: the points belong to another run, or all of them are damaged.
    """
    points = _newest_first(folder)
    damaged: list[str] = []
    for path in points:
        try:
            state = storage.load_state(path)
        except UserError as error:
            damaged.append(str(error))
            continue
        if state.get("identity") != identity:
            raise UserError(
                f"{path} belongs to another run than the config.yaml beside it; restore the run's "
                "own state folder, or start anew in another --out"
            )
        if damaged:
            warnings.warn(f"{damaged[0]}; continuing from the one before it", stacklevel=2)
        return state
    if damaged:
        raise UserError(f"{damaged[0]}, nor is any other in {folder}; start anew in another --out")
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch*-step*.pt"), reverse=True) if folder.is_dir() else []
