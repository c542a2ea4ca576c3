"""Adversarial examples, landscapes and saliency: what there is to look at."""

from collections.abc import Mapping
from typing import Any

from hardball.report import landscape_tables
from hardball.report.blocks import Chart, Line, Missing, Picture, Section, Table, once
from hardball.report.gallery import galleries
from hardball.report.pictures import BYTES, fitted
from hardball.report.results import RunResults
from hardball.report.story.naming import Runs, listed, paths, quoted


def attacked(runs: Runs, command: str) -> Section:
    """Adversarial examples with a slider over ε."""
    found = galleries(runs)
    lacking = [
        Missing(what=f"{run.name}: {run.without_examples}.", commands=[command])
        for run in runs
        if run.examples is None
    ]
    text = (
        "Test images under attack, the first of each class. At each ε the picture is a witness of the "
        "evaluation if there is one at that ε, else what the attack found there; where nothing breaks the "
        "image, the one of highest loss."
    )
    more = sum(gallery.left_out for gallery in found)
    return Section(
        title="Adversarial examples",
        text=(text + f" {more} further images were left out to keep the page small." * (more > 0))
        if found
        else "",
        blocks=[*found, *lacking],
        commands=[command] if found else [],
    )


def landscapes(runs: Runs) -> Section:
    """The loss around weights and around images."""
    blocks: list[Any] = []
    commands = []
    room = BYTES // max(1, sum(len(run.pictures) for run in runs))
    for run in runs:
        weights, inputs = run.landscapes.get("weights"), run.landscapes.get("inputs")
        if weights is not None:
            blocks += [_segments(run, weights), Table.of(landscape_tables.weights_table(weights))]
            picture = run.pictures.get("landscape-weights.png")
            if picture is not None and weights["plane"] is not None:
                alt = f"{run.name}: adversarial loss on the segment and on a plane through the end"
                blocks.append(Picture(content=fitted(picture, room), alt=alt))
            commands.append(weights["command"])
        if inputs is not None:
            picture = run.pictures.get("landscape-inputs.png")
            if picture is not None:
                alt = f"{run.name}: the loss on a plane around each image, as a surface and from above"
                blocks.append(Picture(content=fitted(picture, room), alt=alt))
            blocks.append(Table.of(landscape_tables.inputs_table(inputs)))
            commands.append(inputs["command"])
    for kind, words, what in (
        ("weights", "weights random", "on the way from random weights to those trained"),
        ("inputs", "inputs", "around test images"),
    ):
        lacking = [run for run in runs if kind not in run.landscapes]
        if lacking:
            blocks.append(
                Missing(
                    what=f"The loss of {listed(lacking)} {what} has not been drawn.",
                    commands=[f"hardball landscape {words} {quoted(run)}" for run in lacking],
                )
            )
    return Section(title="Landscapes of the loss", blocks=blocks, commands=once(commands))


def _segments(run: RunResults, found: Mapping[str, Any]) -> Chart:
    start, end = found["start"]["name"], found["end"]["name"]
    return Chart(
        title=f"{run.name}: loss between two sets of weights",
        x_label=f"α, from {start} (0) to {end} (1)",
        y_label="adversarial loss (nats)",
        lines=[
            Line(name=f"ε = {one['eps']:.4g}", x=found["alpha"], y=one["loss"], look=number)
            for number, one in enumerate(found["segments"])
        ],
        y_format=".4f",
    )


def explained(runs: Runs) -> Section:
    """Saliency maps, and numbers for what they show."""
    blocks: list[Any] = []
    commands = []
    room = BYTES // max(1, sum(len(run.pictures) for run in runs))
    for run in runs:
        if run.explained is None:
            continue
        picture = run.pictures.get("explain.png")
        if picture is not None:
            alt = f"{run.name}: saliency and perturbations of test images, side by side"
            blocks.append(Picture(content=fitted(picture, room), alt=alt))
        rows = [
            [
                one["run"],
                one["quantity"],
                f"{one['eps']:.4g}",
                f"{one['mean']:.3f}",
                f"{one['low']:.3f} – {one['high']:.3f}",
                f"{one['n']:,}",
            ]
            for one in run.explained.get("numbers") or []
        ]
        columns = ["run", "quantity", "ε", "mean", "95% interval", "images"]
        blocks.append(Table(columns=columns, rows=rows))
        commands.append(run.explained["command"])
    if not blocks:
        what = "What the network looks at (the gradient of its loss) has not been drawn."
        blocks = [Missing(what=what, commands=[f"hardball explain {paths(runs)}"])]
    return Section(title="Saliency", blocks=blocks, commands=once(commands))
