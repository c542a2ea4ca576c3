"""Resume points: the two newest, written atomically and sealed, read newest first."""

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from hardball import storage
from hardball.errors import StorageError, UserError

KEPT = 2


def save(folder: Path, position: tuple[int, int], state: dict[str, Any]) -> None:
    """Write the resume point of (epoch, step); keep it and the one before it.

    Hidden files are what a kill left of a write: nobody else writes here, so they go too.
    """
    epoch, step = position
    path = folder / f"epoch{epoch:05d}-step{step:07d}.pt"
    storage.save_state(state, path)
    for old in [*_newest_first(folder)[KEPT:], *folder.glob(".epoch*.tmp")]:
        old.unlink(missing_ok=True)


def exists(folder: Path) -> bool:
    """True if there is a resume point, readable or not."""
    return bool(_newest_first(folder))


def load(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The newest readable resume point, or None if there is none.

    Damaged ones that are newer stay, under another name: the run will come by their place again.

    Args:
        fingerprint: of the run (its config); a point of another run is refused.

    Raises:
        UserError: the points belong to another run, or all of them are damaged.
    """
    points = _newest_first(folder)
    damaged: dict[Path, str] = {}
    for path in points:
        try:
            state = storage.load_state(path)
        except StorageError as error:
            damaged[path] = str(error)
            continue
        if state.get("fingerprint") != fingerprint:
            raise UserError(
                f"{path} belongs to another run than the config.yaml beside it; restore the run's "
                "own state folder, or start anew in another `out`"
            )
        for bad in damaged:
            with suppress(OSError):  # another process of this training did it
                bad.replace(bad.with_suffix(".pt.damaged"))
        if damaged:
            newest = next(iter(damaged.values()))
            warnings.warn(f"{newest}; continuing from the one before it", stacklevel=2)
        return state
    if damaged:
        newest = next(iter(damaged.values()))
        raise UserError(f"{newest}, nor is any other in {folder}; start anew in another `out`")
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch*-step*.pt"), reverse=True) if folder.is_dir() else []
