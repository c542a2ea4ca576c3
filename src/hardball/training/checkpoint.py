"""Resume points: the two newest, written atomically, read newest first."""

import warnings
from pathlib import Path
from typing import Any

from hardball import storage
from hardball.errors import StorageError, UserError

KEPT = 2


def save(folder: Path, position: tuple[int, int], state: dict[str, Any]) -> None:
    """Write the resume point of (epoch, step); keep it and the one before it.

    Points of a later position are damaged ones that the run had to go back from, and hidden
    files what a kill left of a write: nobody else writes here, so they go too.
    """
    epoch, step = position
    path = folder / f"epoch{epoch:05d}-step{step:07d}.pt"
    storage.save_state(state, path)
    kept = [point for point in _newest_first(folder) if point <= path][:KEPT]
    for old in {*folder.glob("epoch*-step*.pt"), *folder.glob(".epoch*.tmp")} - {*kept}:
        old.unlink(missing_ok=True)


def exists(folder: Path) -> bool:
    """True if there is a resume point, readable or not."""
    return bool(_newest_first(folder))


def load(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The newest readable resume point, or None if there is none.

    Args:
        fingerprint: of the run (its config); a point of another run is refused.

    Raises:
        UserError: the points belong to another run, or all of them are damaged.
    """
    points = _newest_first(folder)
    damaged: list[str] = []
    for path in points:
        try:
            state = storage.load_state(path)
        except StorageError as error:
            damaged.append(str(error))
            continue
        if state.get("fingerprint") != fingerprint:
            raise UserError(
                f"{path} belongs to another run than the config.yaml beside it; restore the run's "
                "own state folder, or start anew in another `out`"
            )
        if damaged:
            warnings.warn(f"{damaged[0]}; continuing from the one before it", stacklevel=2)
        return state
    if damaged:
        raise UserError(f"{damaged[0]}, nor is any other in {folder}; start anew in another `out`")
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch*-step*.pt"), reverse=True) if folder.is_dir() else []
