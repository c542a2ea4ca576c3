"""Pictures of loss landscapes: the content of landscape-*.json in, matplotlib figures out."""

import math
from collections.abc import Mapping, Sequence
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
    segments(panels[0], found)
    if grid is not None:
        _plane(panels[1], grid, found)
    return figure


def segments(axes: "Axes", found: Found) -> None:
    """ℓ(α) at each ε, on axes."""
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


def inputs(found: Found) -> "Figure":
    """The loss around each image as a surface and from above, as in the paper's Figure 5.

    Args:
        found: content of landscape-inputs.json.
    """
    picture = planes([("", found["steps"], one) for one in found["planes"]])
    picture.suptitle(
        f"{found['run']['name']}: loss around {found['split']} images of {found['data']}, direction of "
        f"{found['attack']['name']} at {found['norm']} ε = {found['eps']:.4g}",
        fontsize=10,
        wrap=True,
    )
    return picture


def planes(drawn: Sequence[tuple[str, Sequence[float], Found]]) -> "Figure":
    """Planes side by side, each as a surface and from above.

    Args:
        drawn: title (may be empty), steps and plane of each.
    """
    columns = min(len(drawn), IN_A_ROW)
    rows = -(-len(drawn) // columns)
    figure = style.blank(3.6 * columns + 0.6, 6.4 * rows + 0.4)
    for number, (title, along, one) in enumerate(drawn):
        row, column = divmod(number, columns)
        top = 2 * row * columns + column + 1
        surface = figure.add_subplot(2 * rows, columns, top, projection="3d")
        above = figure.add_subplot(2 * rows, columns, top + columns)
        steps = np.asarray(along)
        _surface(surface, steps, one, title)
        _from_above(above, steps, one)
    return figure


IN_A_ROW = 3
"""Images side by side."""


def _surface(axes: Any, steps: Any, one: Found, title: str) -> None:
    loss, unit = _in_units(one["loss"])
    a, b = np.meshgrid(steps, steps, indexing="ij")
    axes.plot_surface(a, b, loss, cmap=style.SURFACE, linewidth=0, rcount=100, ccount=100)
    axes.set_xlabel("a, adversarial", fontsize=style.SMALL)
    axes.set_ylabel("b, random", fontsize=style.SMALL)
    axes.set_zlabel(f"loss ({unit})", fontsize=style.SMALL)
    axes.set_xticks([steps[0], 0, steps[-1]])
    axes.set_yticks([steps[0], 0, steps[-1]])
    axes.tick_params(labelsize=style.SMALL - 1)
    axes.view_init(elev=28, azim=-125)
    which = f"image {one['index']}, class {one['label']}"
    axes.set_title(
        f"{title + ', ' if title else ''}{which}\nlargest step {one['largest_step']:.1%} of the range,"
        f"\nlargest Δ² {one['sudden_jump']:.3g} × median",
        fontsize=9,
    )


def _from_above(axes: "Axes", steps: Any, one: Found) -> None:
    loss, unit = _in_units(one["loss"])
    shown = axes.pcolormesh(
        steps, steps, loss.T, cmap=style.SURFACE, shading="nearest", rasterized=True
    )
    axes.plot(0, 0, marker="+", color="red", markersize=9, linestyle="None")
    axes.set(xlabel="a, adversarial direction (pixel units)", aspect="equal")
    axes.set_ylabel("b, random direction (pixel units)")
    assert axes.figure is not None
    axes.figure.colorbar(shown, ax=axes, label=f"loss ({unit})", shrink=0.8)


def _in_units(loss: Any) -> tuple[Any, str]:
    """Losses and what they are in: those of a confident network are tiny."""
    found = np.asarray(loss)
    largest = float(found.max())
    power = math.floor(math.log10(largest)) if 0 < largest < SMALL_LOSS else 0
    return found / 10.0**power, f"10{str(power).translate(RAISED)} nats" if power else "nats"


SMALL_LOSS = 0.01
"""Nats: the largest loss of a picture that is drawn in a smaller unit."""

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def convergence(found: Found) -> "Figure":
    """Size of the change of the loss, and distance of the weights, by epoch, as in the paper's
    Figure 10.

    Args:
        found: content of landscape-convergence.json.
    """
    figure = style.blank(9.6, 3.9)
    change, distance = figure.subplots(1, 2)
    for number, one in enumerate(found["runs"]):
        look = {**style.line(number), "marker": "o", "markersize": 3}
        known = [
            (epoch, abs(value))
            for epoch, value in zip(one["epoch"], one["loss_change"], strict=True)
            if value  # the first epoch has none; a change of 0 has no place on a log axis
        ]
        label = f"{one['name']}, ε = {one['eps'][-1]:.4g}"
        change.plot([e for e, _ in known], [v for _, v in known], **look, label=label)
        distance.plot(one["epoch"], one["weight_distance"], **look, label=label)
    change.set(
        yscale="log",
        xlabel="epoch",
        ylabel="|change of the adversarial loss| (nats)",
        title="training loss, from the epoch before",
    )
    distance.set(
        yscale="log",
        xlabel="epoch",
        ylabel="ℓ2 distance of the weights",
        title="weights, from the epoch before",
    )
    for axes in (change, distance):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlim(0.5, max(one["epoch"][-1] for one in found["runs"]) + 0.5)
    distance.legend(frameon=False, fontsize=style.SMALL)
    style.open_frame(change, distance)
    return figure
