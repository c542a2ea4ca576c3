"""The largest ε that a data set allows: what `hardball limit` does."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hardball import environment, extras
from hardball.commands.words import flags_of
from hardball.data import load_dataset
from hardball.errors import Damaged, UserError
from hardball.report import theory_figures
from hardball.storage import read_bytes, write_atomically
from hardball.theory import (
    ClosestPair,
    ForcedError,
    best_threshold,
    closest_pair,
    conflicts,
    forced_errors,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SPLITS = {"train": ["train"], "test": ["test"], "both": ["train", "test"]}
_DRAWN = 8
_LISTED = 100_000


@dataclass(frozen=True, kw_only=True)
class LimitConfig:
    """Which data, norm and radii, and where the results go."""

    data: str = "digits"
    """A data set: digits, mnist, fashion-mnist, cifar10, folder, or package.module:load."""
    data_root: Path = Path("data")
    """Where its files are."""
    split: Literal["train", "test", "both"] = "train"
    """train, test, or both together."""
    norm: Literal["linf", "l2", "l0"] = "linf"
    """linf, l2 or l0 (which counts features)."""
    eps: list[float] | None = None
    """Radii, e.g. '[0.3, 0.4]'; by default some around the largest that forces no error."""
    per: float = 1.0
    """Radii are divided by this: 255 with the radii 8 and 16 means 8/255 and 16/255."""
    first: int | None = None
    """Use only that many images of each split, from the first."""
    seconds: float = 60.0
    """Time for the integer programs of one ε; bounds are given where it runs out."""
    out: Path | None = None
    """JSON file; the result is added under NAME/SPLIT/NORM, other entries are kept."""
    figures: Path | None = None
    """Folder for pictures of the curve and of conflicting pairs."""
    name: str | None = None
    """What to call the data in results, if not by its own name."""
    note: str | None = None
    """A remark stored with the result, e.g. what else the machine was doing."""

    def __post_init__(self) -> None:
        if self.first is not None and self.first < 1:
            raise UserError(f"`first={self.first}`; allowed is 1 or more")
        if not 0 < self.per < float("inf"):
            raise UserError(f"`per={self.per:g}`; allowed is a positive number, e.g. 255")

    @property
    def called(self) -> str:
        """The data's name in results."""
        return self.name or self.data

    def command(self) -> str:
        """What remakes the result, apart from where the data is."""
        always, elsewhere = ("data", "split", "norm"), ("data_root", "out", "figures", "note")
        return " ".join(["hardball limit", *flags_of(self, always=always, never=elsewhere)])


def largest_eps(config: LimitConfig) -> dict[str, Any]:
    """Closest pair of different class and forced error by ε, written to `out` and drawn in `figures`
    where these are given.

    Raises:
        MissingExtra: numba, or for `figures` matplotlib, is not installed.
        UserError: no such data, radii the norm does not have, an `out` that is no JSON.
    """
    extras.require("distances between all pairs need", "numba")
    if config.figures is not None:
        extras.require(f"pictures (`figures={config.figures}`) need", "matplotlib")
    images, labels, called = _load(config)
    began = time.perf_counter()
    closest = closest_pair(images, labels, config.norm)
    searched = time.perf_counter() - began
    radii = _around(closest) if config.eps is None else [e / config.per for e in config.eps]
    curve = forced_errors(images, labels, config.norm, eps=radii, seconds=config.seconds)
    pair = [int(labels[closest.first]), int(labels[closest.second])]
    found: dict[str, Any] = {
        "data": config.called,
        "split": config.split,
        "norm": config.norm,
        "images": len(labels),
        "classes": len(np.unique(labels)),
        "closest_pair": asdict(closest) | {"labels": pair} | _names(called, pair),
        "curve": [_point(forced) | _rounded(images, forced) for forced in curve],
        "seconds": {
            "closest_pair": round(searched, 2),
            "curve": round(time.perf_counter() - began - searched, 2),
        },
        "command": config.command(),
        "machine": environment.facts(),
        "note": config.note,
    }
    if config.out is not None:
        _add(config.out, "/".join((config.called, config.split, config.norm)), found)
    if config.figures is not None:
        stem = f"{config.called}-{config.split}-{config.norm}"
        drawn = {
            "curve": theory_figures.forced_error_curve(found),
            "pairs": _worst_pairs(images, labels, closest, curve),
        }
        for name, figure in drawn.items():
            theory_figures.save(figure, config.figures / f"{stem}-{name}.png")
    return found


def _point(forced: ForcedError) -> dict[str, Any]:
    return {
        "eps": forced.eps,
        "conflicts": forced.conflicts,
        "wrong": [forced.lower, forced.upper],
        "error": forced.error,
        "proof": forced.proof,
    }


def _rounded(images: Any, forced: ForcedError) -> dict[str, Any]:
    """What rounding would leave an adversary at this ε: see `theory.threshold`."""
    if forced.norm != "linf" or forced.eps > 1:
        return {}
    best = best_threshold(images, forced.eps)
    return {"threshold": best.threshold, "movable": best.movable, "fixed_above": best.above}


def _names(called: tuple[str, ...] | None, labels: list[int]) -> dict[str, list[str]]:
    return {} if called is None else {"names": [called[label] for label in labels]}


def _load(config: LimitConfig) -> tuple[Any, Any, tuple[str, ...] | None]:
    parts = [load_dataset(config.data, config.data_root, name) for name in _SPLITS[config.split]]
    return (
        np.concatenate([p.images[: config.first].numpy() for p in parts]),
        np.concatenate([p.labels[: config.first].numpy() for p in parts]),
        parts[0].class_names,
    )


def _around(closest: ClosestPair) -> list[float]:
    """Radii from 0 to twice the largest that forces no error."""
    steps = [closest.limit * share for share in (0.5, 1, 1.1, 1.25, 1.5, 2)]
    if closest.norm == "l0":
        return sorted({0.0, *(float(np.ceil(step)) for step in steps)})
    return sorted({0.0, *steps})


def _worst_pairs(
    images: Any, labels: Any, closest: ClosestPair, curve: list[ForcedError]
) -> "Figure":
    """The closest conflicts at the first ε that has some, or else the closest pair."""
    pairs, lengths = np.array([[closest.first, closest.second]]), np.array([closest.distance])
    some = next((f.eps for f in curve if 0 < f.conflicts <= _LISTED), None)
    if some is not None:
        pairs, lengths = conflicts(images, labels, closest.norm, eps=some)
    chosen = pairs[:_DRAWN]
    answers = [(int(labels[i]), int(labels[j])) for i, j in chosen]
    return theory_figures.conflicting_pairs(images[chosen], answers, lengths[:_DRAWN])


def _add(path: Path, key: str, found: dict[str, Any]) -> None:
    entries: dict[str, Any] = {}
    if path.exists():
        try:
            entries = json.loads(read_bytes(path, "results"))
        except ValueError as error:
            raise Damaged(f"{path} is no JSON ({error}); name another file in `out`") from error
    entries[key] = found
    text = json.dumps(dict(sorted(entries.items())), indent=1, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())
