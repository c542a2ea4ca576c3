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


def inputs_table(found: Mapping[str, Any]) -> Table:
    """One row per image: how sudden the loss around it is."""
    reach = found["steps"][-1]
    table = Table(
        title=f"{found['run']['name']}: {found['data']} {found['split']} images, {found['norm']}, "
        f"±{reach:.4g} along the direction of {found['attack']['name']} at ε = {found['eps']:.4g} and "
        f"a random one, {len(found['steps'])}² points",
        title_justify="left",
        caption="largest Δ²: of the loss's second differences, over their median. largest step: between "
        "neighbours, as a share of the range; near 1 the loss jumps",
    )
    for column in ("image", "class", "predicted", "range", "wrong", "largest Δ²", "largest step"):
        table.add_column(column, justify="right")
    for one in found["planes"]:
        table.add_row(
            str(one["index"]),
            str(one["label"]),
            str(one["prediction"]),
            f"{one['range']:.3f}",
            f"{one['wrong']:.0%}",
            f"{one['sudden_jump']:.3g}",
            f"{one['largest_step']:.1%}",
        )
    return table


def convergence_table(found: Mapping[str, Any]) -> Table:
    """One row per run: what the last epoch changed."""
    table = Table(title="change from epoch to epoch", title_justify="left")
    for column in ("run", "epochs", "ε", "loss", "its last change", "weights' last ℓ2 distance"):
        table.add_column(column, justify="left" if column == "run" else "right", overflow="fold")
    for one in found["runs"]:
        change = one["loss_change"][-1]
        table.add_row(
            one["name"],
            str(len(one["epoch"])),
            f"{one['eps'][-1]:.4g}",
            f"{one['adv_loss'][-1]:.3f}",
            "" if change is None else f"{change:+.4f}",
            f"{one['weight_distance'][-1]:.4g}",
        )
    return table
