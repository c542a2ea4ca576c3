"""Pictures of saliency and perturbations: the content of explain.json in, a matplotlib figure out."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hardball.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Found = Mapping[str, Any]

PANEL = 1.05
"""Least width of a picture in inches."""

LEAST_WIDTH = 9.2
"""Of all columns, in inches: the measures need as much."""

MEASURES = {
    "foreground_share": "share of |map| on the foreground",
    "gini": "sparsity: Gini coefficient of |map|",
    "alignment": "alignment: |cos(image, map)|",
}
"""measure → what its axis says."""


def explain(found: Found) -> "Figure":
    """The images with saliency and perturbations for each run, as in the paper's Figures 6 and 13, and
    below them the measures over all n images.

    Args:
        found: content of explain.json.
    """
    images = found["images"]
    maps = images[0]["runs"][0]["maps"]
    widths = [1.0, *(float(len(maps)) for _ in found["runs"])]
    panel = max(PANEL, LEAST_WIDTH / sum(widths))
    width, height = panel * sum(widths) + 0.5, (panel + 0.22) * len(images) + 0.9
    figure = style.blank(width, height + 3.6)
    above, below = figure.subfigures(2, 1, height_ratios=[height, 3.6], squeeze=False)[:, 0]
    parts = above.subfigures(1, len(widths), width_ratios=widths, squeeze=False)[0]
    _originals(parts[0], found)
    for place, part in enumerate(parts[1:]):
        _run(part, found, place)
    figure.suptitle(
        f"{found['data']}, {found['norm']}. Saliency: more of a red pixel raises the loss, of a blue one "
        "lowers it. Perturbation δ: red is added, blue is taken away.\nEach picture is scaled to its "
        "own maximum, written below it; after the arrow the class predicted there.",
        fontsize=style.SMALL,
    )
    _measures(below, found)
    return figure


def _originals(part: "SubFigure", found: Found) -> None:
    images = found["images"]
    rows = part.subplots(len(images), 1, squeeze=False)[:, 0]
    part.suptitle(" ", fontsize=9)
    for axes, one in zip(rows, images, strict=True):
        pixels = np.asarray(one["pixels"])
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        _bare(axes, f"{found['split']} {one['index']}: {one['label']}")
    rows[0].set_title("image\n ", fontsize=style.SMALL)


def _run(part: "SubFigure", found: Found, place: int) -> None:
    """A block of columns: one run's maps."""
    images = found["images"]
    name = found["runs"][place]["name"]
    part.suptitle(name, fontsize=9, fontweight="bold")
    count = len(images[0]["runs"][place]["maps"])
    grid = part.subplots(len(images), count, squeeze=False)
    for row, one in zip(grid, images, strict=True):
        for axes, drawn in zip(row, one["runs"][place]["maps"], strict=True):
            values = np.asarray(drawn["values"])
            axes.imshow(values, cmap=style.SIGNED, vmin=-1, vmax=1, interpolation="nearest")
            below = f"max {drawn['scale']:.2g}"
            if "prediction" in drawn:
                below += f" → {drawn['prediction']}"
            elif drawn["eps"] == 0:
                below += f" → {one['runs'][place]['prediction']}"
            _bare(axes, below)
    for axes, drawn in zip(grid[0], images[0]["runs"][place]["maps"], strict=True):
        axes.set_title(_title(drawn), fontsize=style.SMALL)


def _title(drawn: Found) -> str:
    """Two lines: what a column shows, and at which ε."""
    name = "saliency" if drawn["name"] == "gradient" else drawn["name"].replace("-", " ")
    if drawn["kind"] == "perturbation":
        return f"{drawn['name']} δ\nε = {drawn['eps']:.4g}"
    return f"{name}\nat the image" if drawn["eps"] == 0 else f"{name}\nat ε = {drawn['eps']:.4g}"


def _bare(axes: "Axes", below: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(below, fontsize=style.SMALL - 1, labelpad=2)


def _measures(part: "SubFigure", found: Found) -> None:
    """Mean and interval of each measure, by map and run."""
    panels = part.subplots(1, len(MEASURES))
    for axes, measure in zip(panels, MEASURES, strict=True):
        rows = [row for row in found["numbers"] if row["measure"] == measure]
        for number, run in enumerate(found["runs"]):
            mine = [row for row in rows if row["run"] == run["name"] and row["mean"] is not None]
            _points(axes, mine, number, len(found["runs"]), run["name"], _order(rows))
        axes.axhline(found["chance"][measure], color="gray", linestyle=":", linewidth=1)
        axes.plot([], [], color="gray", linestyle=":", label="noise that ignores the image")
        order = _order(rows)
        axes.set_xticks(range(len(order)), [_title(one) for one in order.values()])
        axes.tick_params(axis="x", labelsize=style.SMALL - 1, rotation=90 if len(order) > 5 else 0)
        axes.set_title(MEASURES[measure], fontsize=9)
        axes.set_ylim(0, 1.02)
        axes.set_xlim(-0.5, len(order) - 0.5)
        style.open_frame(axes)
    handles, labels = panels[0].get_legend_handles_labels()
    part.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(labels),
        frameon=False,
        fontsize=style.SMALL,
        title=f"mean over {found['n']} {found['split']} images, 95% interval",
        title_fontsize=style.SMALL,
    )


def _order(rows: Sequence[Found]) -> dict[tuple[Any, ...], Found]:
    """The maps in the order in which they come, each once."""
    return {(row["kind"], row["name"], row["eps"]): row for row in rows}


def _points(
    axes: "Axes",
    rows: Sequence[Found],
    number: int,
    runs: int,
    label: str,
    order: Mapping[tuple[Any, ...], Found],
) -> None:
    places = list(order)
    shift = 0.5 * (number - (runs - 1) / 2) / max(2, runs)
    x = [places.index((row["kind"], row["name"], row["eps"])) + shift for row in rows]
    mean = np.array([row["mean"] for row in rows])
    low = np.array([row["mean"] if row["low"] is None else row["low"] for row in rows])
    high = np.array([row["mean"] if row["high"] is None else row["high"] for row in rows])
    axes.errorbar(
        x,
        mean,
        yerr=[mean - low, high - mean],
        linestyle="None",
        marker=style.MARKERS[number % len(style.MARKERS)],
        color=style.COLOURS[number % len(style.COLOURS)],
        markersize=5,
        capsize=2,
        label=label,
    )
