"""How figures look: one place for colours, sizes and the empty canvas."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Of lines: Okabe and Ito's, distinct for colour-blind readers too."""

ON_LIGHT = ("#0072b2", "#d55e00", "#008a64", "#b8608f", "#2f8fc6", "#a97400", "#000000")
"""The same on a light page: those with a contrast below 3 are darker."""

ON_DARK = ("#4fa8e0", "#f28e4f", "#2fc39a", "#e6a3c8", "#8fd3f7", "#f3c14b", "#e8e8e8")
"""The same on a dark page."""

DASHES = ("-", "--", "-.", ":")
"""Line styles, so that colour is never the only difference."""

SVG_DASHES = {"-": "none", "--": "7 4", "-.": "8 3 2 3", ":": "2 3"}
"""The same, as SVG has them."""

NORMS = {"linf": "ℓ∞", "l2": "ℓ2", "l0": "ℓ0", "unbounded": "unbounded"}
"""As they are written."""

SURFACE = "viridis"
"""Of values on a plane: even in lightness, also in grey."""

SIGNED = "RdBu_r"
"""Of values with a sign around 0: red above, blue below, distinct for colour-blind readers."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Of points, so that colour is never the only difference."""

SMALL = 8
"""Font size of legends and remarks, in points."""


def blank(width: float, height: float) -> "Figure":
    """An empty figure of that size in inches, on the Agg canvas: without pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def line(number: int) -> dict[str, Any]:
    """Colour and dashes of the line of that number, from 0."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
    }


def open_frame(*axes: Any) -> None:
    """No lines at the top and on the right."""
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
