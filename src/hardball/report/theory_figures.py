"""Pictures of the theory: numbers in, matplotlib figures out. Nothing is computed here.

Figures are built on the Agg canvas directly, without pyplot and its global state.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardball.report.style import blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]

_UNITS = {"linf": "ε (ℓ∞)", "l2": "ε (ℓ2)", "l0": "ε (ℓ0, features)"}


def save(figure: "Figure", path: Path) -> None:
    """Write a figure; the suffix chooses the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight")


def forced_error_curve(found: Mapping[str, Any]) -> "Figure":
    """The least forced error over ε, as bounds where it is not solved.

    Args:
        found: `data`, `split`, `norm`, `closest_pair.distance`, and a `curve` of `eps` and `error`.
    """
    figure = blank(5, 3.2)
    axes = figure.add_subplot()
    eps = [point["eps"] for point in found["curve"]]
    low, high = np.array([point["error"] for point in found["curve"]]).T
    axes.plot(eps, low, "o-", markersize=4, label="least forced error, proven")
    if (low < high).any():
        axes.fill_between(eps, low, high, alpha=0.3, label="not settled")
    limit = found["closest_pair"]["distance"] / 2
    axes.axvline(limit, color="black", linestyle=":", label=f"first conflict, ε = {limit:.3g}")
    axes.set(
        xlabel=_UNITS[found["norm"]],
        ylabel="robust error, at least",
        title=f"{found['data']}, {found['split']}",
    )
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    return figure


def conflicting_pairs(images: Array, labels: Sequence[tuple[int, int]], lengths: Array) -> "Figure":
    """Images that conflict, one pair per column.

    Args:
        images: [P, 2, C, H, W] pixels in [0,1], C of 1 or 3.
        labels: of each pair's two images. [P, 2]
        lengths: distance of each pair. [P]
    """
    count = len(images)
    figure = blank(1.2 * max(count, 2), 2.8)
    grid = figure.subplots(2, count, squeeze=False)
    for axes, pair, answers, length in zip(grid.T, images, labels, lengths, strict=True):
        for place, image, answer in zip(axes, pair, answers, strict=True):
            place.imshow(np.moveaxis(image, 0, -1).squeeze(), cmap="gray", vmin=0, vmax=1)
            place.set_title(str(answer), fontsize=8)
            place.set_axis_off()
        axes[0].set_title(f"{length:.3g} apart\n{answers[0]}", fontsize=8)
    return figure


def l0_surface(surface: Array, k: int, t: float) -> "Figure":
    """The paper's Figure 12: error(s) for ε = 0 … k by s = −1 … k. [k+1, k+2]"""
    figure = blank(5, 3.6)
    axes = figure.add_subplot()
    picture = axes.imshow(
        surface, origin="lower", aspect="auto", extent=(-1.5, k + 0.5, -0.5, k + 0.5)
    )
    best = surface.min(axis=1)
    below = best < 0.5 - 1e-12
    axes.plot(surface.argmin(axis=1)[below] - 1, np.flatnonzero(below), "r.", label="optimal s")
    axes.set(xlabel="threshold s", ylabel="ε (flips)", title=f"ℓ0 robust error, k = {k}, t = {t:g}")
    axes.legend(fontsize=8)
    figure.colorbar(picture)
    return figure


def largest_l0_eps(table: Mapping[float, Mapping[int, int]]) -> "Figure":
    """t → k → the largest number of flips at which the error is below one half."""
    figure = blank(5, 3.2)
    axes = figure.add_subplot()
    for t, row in table.items():
        axes.plot(list(row), list(row.values()), ".-", label=f"t = {t:g}")
    axes.set(xlabel="effective features k", ylabel="largest ε (flips) with error below ½")
    axes.legend(fontsize=8)
    return figure


def gaussian_errors(eps: Sequence[float], errors: Mapping[str, Sequence[float]]) -> "Figure":
    """Robust errors over ε, one line per name."""
    figure = blank(5, 3.2)
    axes = figure.add_subplot()
    for name, values in errors.items():
        axes.plot(eps, values, ".-", label=name)
    axes.axhline(0.5, color="black", linestyle=":", label="guessing")
    axes.set(xlabel="ε", ylabel="robust error")
    axes.legend(fontsize=8)
    return figure


def hardness_instance(places: Array, edges: Array, right: Sequence[int], title: str) -> "Figure":
    """A graph whose highlighted vertices an optimal classifier of its points gets right.

    Args:
        places: where to draw the vertices. [k, 2]
        edges: [E, 2]
        right: vertices to highlight.
    """
    figure = blank(4, 4)
    axes = figure.add_subplot()
    for u, v in edges:
        axes.plot(*places[[u, v]].T, color="gray", zorder=1)
    chosen = np.isin(np.arange(len(places)), right)
    kinds = ((chosen, "tab:green", "robustly right"), (~chosen, "lightgray", "given up"))
    for mask, colour, name in kinds:
        x, y = places[mask].T
        axes.scatter(x, y, s=300, color=colour, edgecolors="black", zorder=2, label=name)
    for vertex, (x, y) in enumerate(places):
        axes.text(x, y, str(vertex), ha="center", va="center", zorder=3, fontsize=9)
    axes.set_title(title, fontsize=9)
    axes.margins(0.15)
    axes.set_axis_off()
    axes.legend(fontsize=8, loc="lower center", ncols=2, markerscale=0.5)
    return figure


def approach(sizes: Sequence[int], errors: Mapping[str, Array], optimum: float) -> "Figure":
    """Robust test error of trained networks over training examples, and the line none can cross.

    Args:
        sizes: numbers of training examples. [n]
        errors: name → errors. [n, seeds]
        optimum: the least robust error of any classifier.
    """
    figure = blank(5, 3.2)
    axes = figure.add_subplot()
    for name, values in errors.items():
        centre = np.asarray(values).mean(axis=1)
        axes.plot(sizes, centre, "o-", label=name)
        axes.fill_between(sizes, np.min(values, axis=1), np.max(values, axis=1), alpha=0.25)
    axes.axhline(optimum, color="black", linestyle="--", label=f"optimum, {optimum:.4f}")
    axes.set(xscale="log", xlabel="training examples", ylabel="robust error")
    axes.legend(fontsize=8)
    return figure
