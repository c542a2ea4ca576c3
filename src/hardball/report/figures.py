"""Figures from result data alone, as matplotlib Figures without global state."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from hardball.report.style import blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Result = Mapping[str, Any]
"""One trained network: "name", "history" (rows of metrics), "evaluation" (as in evaluation.json)."""

COLOURS = ("#8c8c8c", "#c1440e", "#1f6f8b", "#7a5195", "#3a7d44")


def training_and_accuracy(results: Sequence[Result], *, chance: float, asked: float) -> "Figure":
    """Left: training loss by epoch, with the constant predictor's; right: accuracy by ε."""
    from matplotlib.ticker import PercentFormatter

    figure = blank(9.5, 3.6)
    loss, accuracy = figure.subplots(1, 2)
    loss.axhline(chance, color="black", linestyle=":", linewidth=1)
    loss.annotate(
        "ln(classes): a constant prediction",
        (0, chance),
        (2, 4),
        textcoords="offset points",
        fontsize=8,
    )
    for result, colour in zip(results, COLOURS, strict=False):
        rows = result["history"]
        label = result["name"]
        loss.plot(
            [r["epoch"] for r in rows], [r["adv_loss"] for r in rows], color=colour, label=label
        )
        measured = result["evaluation"]
        points = [(0.0, measured["clean"]), *((r["eps"], r) for r in measured["robust"])]
        eps, values = [p[0] for p in points], [p[1]["accuracy"] for p in points]
        below = [p[1]["accuracy"] - p[1]["low"] for p in points]
        above = [p[1]["high"] - p[1]["accuracy"] for p in points]
        accuracy.errorbar(
            eps,
            values,
            yerr=[below, above],
            color=colour,
            label=label,
            marker="o",
            markersize=4,
            capsize=2,
        )
    loss.set(xlabel="epoch", ylabel="training loss under attack", ylim=(0, None))
    accuracy.axvline(asked, color="black", linestyle=":", linewidth=1)
    accuracy.set(xlabel="ε of the test attack", ylabel="test accuracy", ylim=(-0.02, 1.02))
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    accuracy.legend(frameon=False, fontsize=8)
    for axes in (loss, accuracy):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def as_png(figure: "Figure", *, dpi: int = 130) -> bytes:
    """The figure as a PNG file's content."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
