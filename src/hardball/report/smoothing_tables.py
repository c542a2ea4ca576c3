"""The table of `hardball certify-smooth`, at 80 columns."""

from typing import Any

from rich.table import Table


def smoothing_table(found: dict[str, Any], name: str) -> Table:
    """Certified accuracy at each radius, with its interval."""
    few, many = found["samples"]
    table = Table(
        title=f"{name} smoothed with σ={found['sigma']:g}, {found['data']} {found['split']}, "
        f"n={found['n']}, {few} + {many} draws each, α={found['alpha']:g}",
        title_justify="left",
    )
    for column in ("ℓ2 radius", "certified", "95% interval", "images"):
        table.add_column(column, justify="right")
    for point in found["certified"]:
        table.add_row(
            f"{point['radius']:.4g}",
            f"{point['accuracy']:.1%}",
            f"{point['low']:.1%}–{point['high']:.1%}",
            f"{point['right']}",
        )
    return table


def smoothing_sentence(found: dict[str, Any]) -> str:
    """What the smoothed classifier does to images as they are, and how far these draws can certify."""
    smoothed, n = found["smoothed"], found["n"]
    return (
        f"The smoothed classifier is right on {smoothed['right']} of {n} images, wrong on "
        f"{smoothed['wrong']} and abstains on {smoothed['abstained']}. No radius above "
        f"{found['largest_radius']:.3g} can be certified with so many draws. {found['caveat']}"
    )
