"""Pictures of loss landscapes: the content of landscape-*.json in, matplotlib figures out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hardball.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Found = Mapping[str, Any]

LEAST_SPAN = 0.1
"""Of the loss axis, as a share of the highest loss."""


def weights(found: Found) -> "Figure":
    """ℓ(α) at each ε with the chord between its ends, as in the paper's Figures 3, 4 and 11; beside it
    the plane, where there is one.

    Args:
        found: content of landscape-weights.json.
    """
    grid = found["plane"]
    figure = style.blank(5.4 if grid is None else 10.2, 4.3)
    panels = figure.subplots(1, 1 if grid is None else 2, squeeze=False)[0]
    _segments(panels[0], found)
    if grid is not None:
        _plane(panels[1], grid, found)
    return figure


def _segments(axes: "Axes", found: Found) -> None:
    alpha = np.asarray(found["alpha"])
    for number, one in enumerate(found["segments"]):
        look = style.line(number)
        label = f"ε = {one['eps']:.4g}: barrier {one['barrier']:.3g}"
        axes.plot(
            alpha,
            one["loss"],
            **look,
            label=f"{label}, not convex by {one['convexity_violation']:.3g}",
        )
        axes.plot(alpha[[0, -1]], [one["loss"][0], one["loss"][-1]], lw=0.8, ls=":", color="gray")
    axes.plot([], [], lw=0.8, ls=":", color="gray", label="chord")
    curvature = found["curvature"]
    if curvature is not None:
        label = f"λ_max at ε = {curvature['eps']:.4g}: {curvature['start']:.3g} at the start, "
        axes.plot([], [], ls="", label=f"{label}{curvature['end']:.3g} at the end")
    start, end = found["start"]["name"], found["end"]["name"]
    axes.set(
        xlabel=f"α, from {start} (0) to {end} (1)",
        ylabel="adversarial loss ℓ(α) (cross entropy, nats)",
        title=f"{found['data']}, {found['images']} {found['split']} images, "
        f"{found['attack']['name']}",
        xlim=(0, 1),
    )
    # a change of a few thousandths must not look like a mountain
    low, high = axes.get_ylim()
    room = max(0.0, LEAST_SPAN * high - (high - low)) / 2
    axes.set_ylim(low - room, high + room)
    axes.legend(
        frameon=False, fontsize=style.SMALL, loc="upper center", bbox_to_anchor=(0.5, -0.16)
    )
    style.open_frame(axes)


def _plane(axes: "Axes", grid: Found, found: Found) -> None:
    from matplotlib.colors import LogNorm, Normalize

    steps, loss = np.asarray(grid["steps"]), np.asarray(grid["loss"])
    low, high = float(loss.min()), float(loss.max())
    wide = low > 0 and high > 20 * low
    norm = LogNorm(low, high) if wide else Normalize(low, high)
    # loss is [a][b]: rows of the picture are b
    shown = axes.pcolormesh(steps, steps, loss.T, cmap=style.SURFACE, norm=norm, shading="nearest")
    if high > low:
        levels = np.geomspace(low, high, 8) if wide else np.linspace(low, high, 8)
        axes.contour(steps, steps, loss.T, levels=levels[1:-1], colors="white", linewidths=0.6)
    axes.plot(
        0, 0, marker="+", color="red", markersize=9, linestyle="None", label=found["end"]["name"]
    )
    axes.legend(fontsize=style.SMALL, loc="upper right")
    axes.set(
        xlabel="a, first random direction (1: norm of each filter)",
        ylabel="b, second random direction",
        title=f"filter-normalised plane, ε = {grid['eps']:.4g}",
        aspect="equal",
    )
    assert axes.figure is not None
    axes.figure.colorbar(shown, ax=axes, label="adversarial loss (nats)")
