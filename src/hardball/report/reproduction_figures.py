"""The paper's figures, remade: results of a recipe's parts in, one matplotlib figure out."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hardball.report import (
    explain_figures,
    landscape_figures,
    style,
    sweep_tables,
    theory_figures,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Parts = Mapping[str, Mapping[str, Any]]


def figure(name: str, title: str, parts: Parts, cut: str) -> "Figure":
    """The picture of a recipe.

    Args:
        name: of the recipe, e.g. fig3.
        title: what it shows.
        parts: part → result; those of the first one's kind are drawn.
        cut: what was left out of the paper's settings; stands below the picture.
    """
    kind = _kind(next(iter(parts.values())))
    drawn = _DRAWN[kind]({key: part for key, part in parts.items() if _kind(part) == kind})
    number = name.removeprefix("fig").replace("-cifar", ", CIFAR-10")
    which = f"Figure {number}" if name.startswith("fig") else name
    drawn.suptitle(f"{which}: {title}", fontsize=11, wrap=True)
    if cut:
        drawn.supxlabel(f"cut: {cut}", fontsize=style.SMALL - 1, color="dimgray", wrap=True)
    return drawn


def _kind(part: Mapping[str, Any]) -> str:
    return str(part.get("kind", "curves" if "runs" in part else "bernoulli"))


def _curves(parts: Parts) -> "Figure":
    """Training adversarial loss by epoch; with ε on a second axis where it moves."""
    from matplotlib.ticker import MaxNLocator

    (part,) = parts.values()
    drawn = style.blank(6.4, 4.2)
    axes = drawn.subplots()
    for number, run in enumerate(part["runs"]):
        _curve(axes, number, run)
    axes.axhline(np.log(10), color="black", lw=0.8, ls=":", label="constant prediction, ln 10")
    moving = [run for run in part["runs"] if len(set(run["eps"])) > 1]
    axes.set(xlabel="epoch", ylabel="training adversarial loss (nats)")
    axes.set_ylim(0, 1.05 * axes.dataLim.ymax)  # also where all losses are the same
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if moving:
        (run,) = moving
        above = axes.secondary_xaxis("top")
        shown = range(0, len(run["epoch"]), max(1, len(run["epoch"]) // 8))
        above.set_xticks([run["epoch"][i] for i in shown], [f"{run['eps'][i]:.2g}" for i in shown])
        above.set_xlabel("ε")
    axes.legend(frameon=False, fontsize=style.SMALL)
    axes.spines["right"].set_visible(False)
    return drawn


def _radius(eps: float) -> str:
    """0.4, and 8/255 as the paper writes it."""
    short, steps = f"{eps:.4g}", round(255 * eps)
    if math.isclose(float(short), eps) or not math.isclose(steps, 255 * eps):
        return short
    return f"{steps}/255"


def _curve(axes: "Axes", number: int, run: Mapping[str, Any]) -> None:
    look = {**style.line(number), "marker": "o", "markersize": 3}
    ends = run["eps"][0], run["eps"][-1]
    first, last = map(_radius, ends)
    radius = f"ε = {first}" if first == last else f"ε from {first} to {last}"
    axes.plot(run["epoch"], run["adv_loss"], **look, label=f"{run['name']}, {radius}")


def _segments(parts: Parts) -> "Figure":
    """ℓ(α) of each part in a panel of its own."""
    drawn = style.blank(4.3 * len(parts) if len(parts) > 1 else 6.2, 4.6)
    panels = drawn.subplots(1, len(parts), squeeze=False)[0]
    for panel, part in zip(panels, parts.values(), strict=True):
        landscape_figures.segments(panel, part)
    return drawn


def _planes(parts: Parts) -> "Figure":
    """Surface and view from above of each part, in a column."""
    return landscape_figures.planes(
        [
            (f"{part['run']['name']}, ε = {_radius(part['eps'])}", part["steps"], plane)
            for part in parts.values()
            for plane in part["planes"]
        ]
    )


def _settling(parts: Parts) -> "Figure":
    (part,) = parts.values()
    return landscape_figures.convergence(part)


def _saliency(parts: Parts) -> "Figure":
    (part,) = parts.values()
    return explain_figures.explain(part)


def _accuracy(parts: Parts) -> "Figure":
    """A panel for each run: at each ε a bar for what each attack in turn has left."""
    runs = [run for part in parts.values() for run in part["runs"]]
    bars = [_bars(run) for run in runs]
    columns = min(3, len(runs))
    rows = -(-len(runs) // columns)
    height = 0.21 * max(len(own) for own in bars) + 0.9
    drawn = style.blank(4.1 * columns, rows * height)
    panels = drawn.subplots(rows, columns, squeeze=False).flat
    for run, own, panel in zip(runs, bars, panels, strict=False):
        panel.set_title(run["name"], fontsize=style.SMALL)
        for place, (_, value, error, look) in enumerate(own):
            panel.barh(place, value, xerr=error, **look)
        labels = [label for label, *_ in own]
        panel.set_yticks(range(len(labels)), labels, fontsize=style.SMALL)
        panel.set(xlabel="test accuracy, in turn", xlim=(0, 1.02))
        panel.invert_yaxis()
        style.open_frame(panel)
    for panel in panels:  # those that are left
        panel.set_axis_off()
    return drawn


Bar = tuple[str, float, list[list[float]], dict[str, Any]]
"""Label, length, error and look of a bar."""


def _bars(run: Mapping[str, Any]) -> list[Bar]:
    """Clean accuracy, and what each attack left, under the paper's attack and under stronger ones."""
    found: list[Bar] = []
    for number, which in enumerate(("attacks", "strong")):
        measured = run.get(which)
        if measured is None:
            continue
        rows = [(f"clean (n={measured['n']:,})", measured["clean"], 0.5)]
        before = None
        for row in measured["scores"]:
            then = f"ε={_radius(row['eps'])} " if row["eps"] != before else "+ "
            rows.append((then + row["attack"], row["after"], 1.0))
            before = row["eps"]
        for label, row, alpha in rows:
            value = row["accuracy"]
            error = [[value - row["low"]], [row["high"] - value]]
            found.append((label, value, error, {"color": style.COLOURS[number], "alpha": alpha}))
    return found


def _checks(parts: Parts) -> "Figure":
    """What each check measured, as a table for each network."""
    drawn = style.blank(5.2 * len(parts), 7.0)
    panels = drawn.subplots(1, len(parts), squeeze=False)[0]
    for axes, part in zip(panels, parts.values(), strict=True):
        rows = [
            [f"{one['number']} {one['name']}", one["found"], one["status"]]
            for one in part["checklist"]["checks"]
        ]
        _text_table(axes, ("check", "found", "result"), rows)
        axes.set_title(f"{part['run']['name']}: {part['verdict']['word']}", fontsize=style.SMALL)
    return drawn


def _swept(parts: Parts) -> "Figure":
    """The trials and how each ended."""
    (part,) = parts.values()
    rows = [list(row[:5]) for row in sweep_tables.rows(part)]
    drawn = style.blank(8.4, 0.9 + 0.2 * (1 + len(rows)))
    _text_table(drawn.subplots(), sweep_tables.HEADINGS[:5], rows)
    return drawn


def _text_table(axes: "Axes", headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    axes.axis("off")
    if rows:
        made = axes.table([list(row) for row in rows], colLabels=list(headings), loc="center")
        made.auto_set_font_size(False)
        made.set_fontsize(style.SMALL - 1)
        made.auto_set_column_width(list(range(len(headings))))


def _surface(parts: Parts) -> "Figure":
    (part,) = parts.values()
    return theory_figures.l0_surface(np.asarray(part["surface"]), part["k"], part["t"])


_DRAWN: dict[str, Callable[[Parts], "Figure"]] = {
    "curves": _curves,
    "weights": _segments,
    "inputs": _planes,
    "convergence": _settling,
    "bernoulli": _surface,
    "explain": _saliency,
    "accuracy": _accuracy,
    "checks": _checks,
    "sweep": _swept,
}
