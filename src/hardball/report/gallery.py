"""Adversarial examples as pictures: one ε at a time with a slider, and all of them in a table.

Shapes: E images, R radii, K classes; an image [C, H, W].
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hardball.report import style
from hardball.report.examples import Examples
from hardball.report.results import RunResults

SIDE = 64
"""Longest side of a picture, in pixels: larger images are shown smaller."""
LISTED = 10
"""Classes whose confidence is shown: all of them, or the five most likely and the true one."""
BYTES = 2_400_000
"""Of all pictures of a page."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The same images under attack, for one network or several."""

    kind: ClassVar[str] = "gallery"
    eps: list[str]
    start: int
    """Where the slider begins: a place in `eps`."""
    networks: list[dict[str, Any]]
    data: dict[str, Any]
    """For the script: everything but the pictures."""
    left_out: int
    """Images that the page has no room for."""


def galleries(runs: Sequence[RunResults]) -> list[Gallery]:
    """One for each set of images that runs share, in order."""
    groups: list[list[RunResults]] = []
    for run in runs:
        if run.examples is None:
            continue
        mine = next((g for g in groups if _same(g[0].examples, run.examples)), None)
        if mine is None:
            groups.append([run])
        else:
            mine.append(run)
    count = sum(map(len, groups))
    return [_gallery(group, BYTES // count) for group in groups]


def _same(one: Examples | None, other: Examples) -> bool:
    return (
        one is not None
        and (one.index, one.eps, one.asked["norm"]) == (other.index, other.eps, other.asked["norm"])
        and one.images.shape == other.images.shape
        and torch.equal(one.images[:, 0], other.images[:, 0])
        and torch.equal(one.labels, other.labels)
    )


def _gallery(runs: Sequence[RunResults], room: int) -> Gallery:
    found = [(run.name, run.examples) for run in runs if run.examples is not None]
    first = found[0][1]
    tables = [_rows(examples, room) for _, examples in found]
    count = min(map(len, tables))
    labels = [int(label) for label in first.labels[:count]]
    eps = [f"{radius:.4g}" for radius in first.eps]
    names = [f"image {i}, class {label}" for i, label in zip(first.index, labels, strict=False)]
    asked = [run.target for run in runs if run.target]
    return Gallery(
        eps=eps,
        start=_nearest(first.eps, max(asked, default=first.eps[-1])),
        networks=[
            {"name": name, "rows": rows[:count]}
            for (name, _), rows in zip(found, tables, strict=True)
        ],
        data={
            "eps": eps,
            "images": names,
            "labels": labels,
            "networks": [
                {"name": name, "answers": [_answers(one, e) for e in range(count)]}
                for name, one in found
            ],
        },
        left_out=len(first.index) - count,
    )


def _nearest(values: Sequence[float], asked: float) -> int:
    return min(range(len(values)), key=lambda place: abs(values[place] - asked))


def _rows(examples: Examples, room: int) -> list[dict[str, Any]]:
    """A row for each image, as many as there is room for; the first in any case."""
    rows: list[dict[str, Any]] = []
    used = 0
    for e, index in enumerate(examples.index):
        label = int(examples.labels[e])
        cells = [_cell(examples, e, r) for r in range(len(examples.eps))]
        used += sum(len(cell["seen"]) + len(cell["change"]) for cell in cells)
        if rows and used > room:
            break
        rows.append({"name": f"{index}, class {label}", "cells": cells})
    return rows


def _cell(examples: Examples, e: int, r: int) -> dict[str, Any]:
    label, answer = int(examples.labels[e]), int(examples.predictions[e, r])
    share = float(examples.probabilities[e, r].max())
    what = f"image {examples.index[e]} of class {label}"
    at = f"ε = {examples.eps[r]:.4g}"
    clean, seen = examples.images[e, 0], examples.images[e, r]
    return {
        "seen": _png(seen),
        "seen_alt": f"{what} under attack at {at}: predicted {answer}" if r else what,
        "change": _png(_as_colours(seen - clean, _scale(examples, e, r))) if r else "",
        "change_alt": f"perturbation of {what} at {at}",
        "text": f"{answer} ({share:.0%})",
        "right": answer == label,
    }


def _answers(examples: Examples, e: int) -> list[dict[str, Any]]:
    """What the script says of an image at each ε."""
    found = []
    for r in range(len(examples.eps)):
        shares = examples.probabilities[e, r]
        answer = int(examples.predictions[e, r])
        by = examples.by[e][r]
        found.append(
            {
                "answer": answer,
                "share": f"{float(shares[answer]):.1%}",
                "by": f"made by {by}" if by else "without attack",
                "scale": _scale_text(examples, e, r),
                "sure": [
                    [k, f"{float(shares[k]):.1%}", round(float(shares[k]), 4)]
                    for k in _listed(shares, int(examples.labels[e]))
                ],
            }
        )
    return found


def _listed(shares: Tensor, label: int) -> list[int]:
    if len(shares) <= LISTED:
        return list(range(len(shares)))
    top = [int(k) for k in shares.topk(5).indices]
    return sorted({*top, label})


def _scale(examples: Examples, e: int, r: int) -> float:
    """The change of a pixel that is shown in full colour."""
    if examples.asked["norm"] == "linf":
        return examples.eps[r]
    return float((examples.images[e, r] - examples.images[e, 0]).abs().max())


def _scale_text(examples: Examples, e: int, r: int) -> str:
    scale = f"{_scale(examples, e, r):.3g}"
    if examples.images.shape[2] == 3:
        return f"grey is 0, full scale ±{scale}"
    return f"blue −{scale} … orange +{scale}"


def _as_colours(change: Tensor, scale: float) -> Tensor:
    """A perturbation as an image: of one channel from blue over white to orange, of three around grey."""
    share = (change / scale if scale else change).clamp(-1, 1)
    if len(share) == 3:
        return (share + 1) / 2
    one = share.mean(dim=0, keepdim=True)
    low, high = (_rgb(style.COLOURS[number]) for number in (0, 1))
    end = torch.where(one < 0, low[:, None, None], high[:, None, None])
    return 1 - one.abs() * (1 - end)


def _rgb(colour: str) -> Tensor:
    return torch.tensor([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def _png(image: Tensor) -> str:
    """As base64. Channels other than three are averaged."""
    from PIL import Image

    shown = image if len(image) == 3 else image.mean(dim=0, keepdim=True)
    pixels = (shown.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(np.ascontiguousarray(pixels).squeeze())
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    buffer = BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return b64encode(buffer.getvalue()).decode()
