"""Several runs of the same data, side by side."""

from collections.abc import Sequence
from pathlib import Path

from hardball.commands.pictures import about, refuse_without_weights
from hardball.commands.subject import LoadConfig, Split, Subject, subject
from hardball.errors import UserError


def side_by_side(asked: LoadConfig, runs: Sequence[Path], split: Split) -> list[Subject]:
    """Each run's network and data.

    Raises:
        UserError: no such run, one without weights, runs of different data, or images that cannot be
            shown.
        Untrusted: a file names code outside hardball, and the user did not.
    """
    for path in runs:
        refuse_without_weights(path)
    found = [subject(asked.of(path, split)) for path in runs]
    first = found[0].data
    if len(first.shape) != 3 or first.shape[0] not in (1, 3):
        raise UserError(
            f"images {list(first.shape)} of {first.name}; allowed is [1 or 3, H, W], which can be shown"
        )
    for path, other in zip(runs, found, strict=True):
        if (other.data.name, other.data.shape) != (first.name, first.shape):
            raise UserError(
                f"{runs[0]} is of {first.name} {list(first.shape)} and {path} of "
                f"{other.data.name} {list(other.data.shape)}; name runs of the same data"
            )
    return found


def distinct_names(runs: Sequence[Path]) -> list[str]:
    """Names to show: the path where two runs have the same name.

    Raises:
        UserError: a run is named twice.
    """
    names = [about(path)["name"] for path in runs]
    shown = [
        str(path) if names.count(name) > 1 else name for path, name in zip(runs, names, strict=True)
    ]
    for path, name in zip(runs, shown, strict=True):
        if shown.count(name) > 1:
            raise UserError(f"{path} is named twice; name each run once")
    return shown
