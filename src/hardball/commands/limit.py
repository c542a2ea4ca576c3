"""The largest ε that a data set allows: what `hardball limit` does."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

from hardball import environment
from hardball.data import load_dataset
from hardball.errors import UserError
from hardball.report import theory_figures
from hardball.storage import read_bytes, write_atomically
from hardball.theory import ClosestPair, ForcedError, closest_pair, conflicts, forced_errors

Part = Literal["train", "test", "both"]
Norm = Literal["linf", "l2", "l0"]

_PARTS = {"train": ["train"], "test": ["test"], "both": ["train", "test"]}
_DRAWN = 8
_LISTED = 100_000


def largest_eps(
    *,
    data: str,
    data_root: Path,
    part: Part,
    norm: Norm,
    eps: list[float] | None,
    per: float,
    first: int | None,
    seconds: float,
    out: Path | None,
    figures: Path | None,
    name: str | None,
    note: str | None,
) -> dict[str, Any]:
    """Closest pair of different class and forced error by ε, written to `out` and drawn in `figures`
    where these are given. The arguments are those of the command.

    Raises:
        UserError: no such data, radii the norm does not have, an `out` that is no JSON.
    """
    called = name or data
    images, labels = _load(data, data_root, part, first)
    began = time.perf_counter()
    closest = closest_pair(images, labels, norm)
    searched = time.perf_counter() - began
    radii = [e / per for e in eps] if eps is not None else _around(closest)
    curve = forced_errors(images, labels, norm, eps=radii, seconds=seconds)
    pair = [int(labels[closest.first]), int(labels[closest.second])]
    found: dict[str, Any] = {
        "data": called,
        "part": part,
        "norm": norm,
        "images": len(labels),
        "classes": len(np.unique(labels)),
        "closest_pair": asdict(closest) | {"labels": pair},
        "curve": [_point(forced) for forced in curve],
        "seconds": {
            "closest_pair": round(searched, 2),
            "curve": round(time.perf_counter() - began - searched, 2),
        },
        "command": _command(
            data=data,
            part=part,
            norm=norm,
            eps=eps,
            per=None if per == 1 else f"{per:g}",
            first=first,
            seconds=None if seconds == 60 else f"{seconds:g}",
            name=name,
        ),
        "machine": environment.facts(),
        "note": note,
    }
    if out is not None:
        _add(out, "/".join((called, part, norm)), found)
    if figures is not None:
        stem = f"{called}-{part}-{norm}"
        theory_figures.save(theory_figures.forced_error_curve(found), figures / f"{stem}-curve.png")
        worst = _worst_pairs(images, labels, closest, curve)
        theory_figures.save(worst, figures / f"{stem}-pairs.png")
    return found


def _point(forced: ForcedError) -> dict[str, Any]:
    return {
        "eps": forced.eps,
        "conflicts": forced.conflicts,
        "wrong": [forced.lower, forced.upper],
        "error": forced.error,
        "proof": forced.proof,
    }


def _load(data: str, root: Path, part: str, first: int | None) -> tuple[Any, Any]:
    parts = [load_dataset(data, root, split) for split in _PARTS[part]]
    return (
        np.concatenate([p.images[:first].numpy() for p in parts]),
        np.concatenate([p.labels[:first].numpy() for p in parts]),
    )


def _around(closest: ClosestPair) -> list[float]:
    """Radii from 0 to twice the largest that forces no error."""
    steps = [closest.limit * share for share in (0.5, 1, 1.1, 1.25, 1.5, 2)]
    if closest.norm == "l0":
        return sorted({0.0, *(float(np.ceil(step)) for step in steps)})
    return sorted({0.0, *steps})


def _worst_pairs(
    images: Any, labels: Any, closest: ClosestPair, curve: list[ForcedError]
) -> Figure:
    """The closest conflicts at the first ε that has some, or else the closest pair."""
    pairs, lengths = np.array([[closest.first, closest.second]]), np.array([closest.distance])
    some = next((f.eps for f in curve if 0 < f.conflicts <= _LISTED), None)
    if some is not None:
        pairs, lengths = conflicts(images, labels, closest.norm, eps=some)
    chosen = pairs[:_DRAWN]
    answers = [(int(labels[i]), int(labels[j])) for i, j in chosen]
    return theory_figures.conflicting_pairs(images[chosen], answers, lengths[:_DRAWN])


def _command(**settings: Any) -> str:
    """What remakes the result, apart from where the data is."""
    words = [
        f"--{name} '{value}'" if isinstance(value, list) else f"--{name} {value}"
        for name, value in settings.items()
        if value is not None
    ]
    return " ".join(["hardball limit", *words])


def _add(path: Path, key: str, found: dict[str, Any]) -> None:
    entries: dict[str, Any] = {}
    if path.exists():
        try:
            entries = json.loads(read_bytes(path, "results"))
        except ValueError as error:
            raise UserError(f"{path} is no JSON ({error}); give --out another file") from error
    entries[key] = found
    text = json.dumps(dict(sorted(entries.items())), indent=1, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())
