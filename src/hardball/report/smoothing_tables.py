"""Certified accuracy as tables: that of `hardball certify-smooth`, at 80 columns, and that of a study."""

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


def study_table(result: dict[str, Any]) -> str:
    """A table in Markdown of results/smoothing.json: one row per network, σ, way and seed."""
    radii = [point["radius"] for point in result["networks"][0]["certified"]]
    heads = ["network", "σ", "way", "seed", "under noise", *(f"r={radius:g}" for radius in radii)]
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for one in result["networks"]:
        collapsed = ", collapsed" if one["collapsed_epochs"] == result["epochs"] else ""
        cells = [
            one["net"]["name"],
            f"{one['sigma']:g}",
            one["kind"],
            str(one["seed"]),
            f"{one['val_accuracy_under_noise']:.1%}{collapsed}",
            *(
                f"{p['accuracy']:.1%} [{p['low']:.1%}, {p['high']:.1%}]" if p["right"] else "0"
                for p in one["certified"]
            ),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    limits = ", ".join(f"{value:.3g} at σ={s}" for s, value in result["largest_radius"].items())
    return (
        "\n".join(lines)
        + f"\n\nn = {result['test']} test images, {result['samples'][0]} + {result['samples'][1]} draws "
        f"each, α = {result['alpha']:g}; in brackets the 95% Wilson interval. So many draws can certify no "
        f"radius above {limits}.\n"
    )
