"""The numbers beside pictures of landscapes, as tables for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def weights_table(found: Mapping[str, Any]) -> Table:
    """One row per ε: how far the segment is from convex, and the barrier on it."""
    start, end = found["start"]["name"], found["end"]["name"]
    table = Table(
        title=f"from {start} to {end}: {found['data']}, {found['images']} {found['split']} images, "
        f"{found['norm']}, {found['attack']['name']}, {len(found['alpha'])} points",
        title_justify="left",
    )
    for column in ("ε", "ℓ at start", "ℓ at end", "range", "above chord", "not convex by"):
        table.add_column(column, justify="right", overflow="fold")
    table.add_column("barrier", justify="right")
    for one in found["segments"]:
        numbers = ("range", "chord_violation", "convexity_violation", "barrier")
        ends = (one["loss"][0], one["loss"][-1])
        shown = [f"{value:.3f}" for value in (*ends, *(one[name] for name in numbers))]
        table.add_row(f"{one['eps']:.4g}", *shown)
    curvature = found["curvature"]
    if curvature is not None:
        table.caption = (
            f"largest Hessian eigenvalue at ε = {curvature['eps']:.4g}, examples fixed: "
            f"{curvature['start']:.4g} at {start}, {curvature['end']:.4g} at {end}"
        )
    return table
