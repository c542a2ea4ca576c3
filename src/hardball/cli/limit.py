"""`hardball limit`: the largest ε that a data set allows."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from hardball import machine
from hardball.data import load_dataset
from hardball.errors import UserError
from hardball.report import theory_figures
from hardball.storage import read_bytes, write_atomically
from hardball.theory import ClosestPair, ForcedError, closest_pair, conflicts, forced_errors

_PARTS = {"train": ["train"], "test": ["test"], "both": ["train", "test"]}
_DRAWN = 8
_LISTED = 100_000


def limit(
    *,
    data: str = "digits",
    data_root: Path = Path("data"),
    part: Literal["train", "test", "both"] = "train",
    norm: Literal["linf", "l2", "l0"] = "linf",
    eps: list[float] | None = None,
    per: float = 1.0,
    first: int | None = None,
    seconds: float = 60.0,
    out: Path | None = None,
    figures: Path | None = None,
    name: str | None = None,
    note: str | None = None,
) -> int:
    """The largest ε a data set allows, and the robust error it forces on any classifier beyond.

    Two images of different class whose ε-balls meet cannot both be robustly right. Prints the
    closest such pair and, for each ε, how many pairs conflict and the least error they force.

    Args:
        data: a data set: digits, mnist, fashion-mnist, cifar10, folder.
        data_root: where its files are.
        part: train, test, or both together.
        norm: linf, l2 or l0 (which counts features).
        eps: radii, e.g. '[0.3, 0.4]'; by default some around the largest that forces no error.
        per: radii are divided by this: --per 255 --eps '[8, 16]' means 8/255 and 16/255.
        first: use only that many images of each part, from the first.
        seconds: time for the integer programs of one ε; bounds are given where it runs out.
        out: JSON file; the result is added under NAME/PART/NORM, other entries are kept.
        figures: folder for pictures of the curve and of conflicting pairs.
        name: what to call the data in results, if not by --data.
        note: a remark stored with the result, e.g. what else the machine was doing.
    """
    called = name or data
    images, labels = _load(data, data_root, part, first)
    began = time.perf_counter()
    closest = closest_pair(images, labels, norm)
    searched = time.perf_counter() - began
    radii = [e / per for e in eps] if eps is not None else _around(closest)
    curve = forced_errors(images, labels, norm, eps=radii, seconds=seconds)
    found: dict[str, Any] = {
        "data": called,
        "part": part,
        "norm": norm,
        "images": len(labels),
        "classes": len(np.unique(labels)),
        "closest_pair": asdict(closest)
        | {"labels": [int(labels[closest.first]), int(labels[closest.second])]},
        "curve": [
            {"eps": f.eps, "conflicts": f.conflicts, "wrong": [f.lower, f.upper]}
            | {"error": f.error, "proof": f.proof}
            for f in curve
        ],
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
        "machine": machine.facts(),
        "note": note,
    }
    Console().print(_table(found))
    if out is not None:
        _add(out, "/".join((called, part, norm)), found)
    if figures is not None:
        stem = f"{called}-{part}-{norm}"
        theory_figures.save(theory_figures.forced_error_curve(found), figures / f"{stem}-curve.png")
        worst = _worst_pairs(images, labels, closest, curve)
        theory_figures.save(worst, figures / f"{stem}-pairs.png")
    return 0


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


def _table(found: dict[str, Any]) -> Table:
    closest = found["closest_pair"]
    table = Table(
        title=f"{found['data']} {found['part']}, {found['images']} images, {found['norm']}: images "
        f"{closest['first']} and {closest['second']} of classes {closest['labels'][0]} and "
        f"{closest['labels'][1]} are closest, {closest['distance']:.4g} apart; any ε below "
        f"{closest['distance'] / 2:.4g} forces no error",
        title_justify="left",
    )
    for column in ("ε", "conflicts", "least forced error", "images", "proof"):
        table.add_column(column, justify="left" if column == "proof" else "right")
    for point in found["curve"]:
        low, high = point["error"]
        least, most = point["wrong"]
        table.add_row(
            f"{point['eps']:.4g}",
            f"{point['conflicts']:,}",
            f"{low:.3%}" if least == most else f"{low:.3%} – {high:.3%}",
            f"{least}" if least == most else f"{least} – {most}",
            point["proof"],
        )
    return table


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
