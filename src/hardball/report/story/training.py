"""What was trained and how, and the curves of the training."""

from collections.abc import Mapping
from typing import Any

from hardball.report.blocks import Badge, Chart, Level, Line, Missing, Note, Section, Table, once
from hardball.report.results import RunResults
from hardball.report.story.naming import Runs, quoted
from hardball.report.style import NORMS
from hardball.runs import COLLAPSED, FINISHED, NON_FINITE, noise_of

DRAWN = 300
"""Epochs drawn of a run, at most; of more, evenly many are left out."""


def trained(runs: Runs) -> Section:
    """What was trained, how, and how it ended."""
    columns = [_settings(run) for run in runs]
    rows: list[list[Any]] = [[what, *(one[what] for one in columns)] for what in columns[0]]
    rows.append(["ended", *(_ended(run) for run in runs)])
    rows.append(["epochs", *(str(len(run.history)) for run in runs)])
    if any(run.outcome is not None and run.outcome.probe for run in runs):
        rows.append(["probe at the end", *(_probed(run) for run in runs)])
    table = Table(columns=["", *(run.name for run in runs)], rows=rows, words=True)
    notes = [
        Note(text=f"{run.name}: {run.outcome.message}.")
        for run in runs
        # of a failure it is the page's first sentence
        if run.outcome is not None and not run.failed
        if run.outcome.status != FINISHED or run.outcome.masked
    ]
    return Section(
        title="What was trained, and how",
        blocks=[table, *notes],
        commands=[run.commands["train"] for run in runs if "train" in run.commands],
    )


def _settings(run: RunResults) -> dict[str, str]:
    config, origin = run.config, run.config.get("origin")
    model = config.get("model") or {}
    return {
        "data": str((config.get("data") or {}).get("name", "passed from Python")),
        "network": f"{model.get('name') or 'passed from Python'}{_bracket(model.get('args'))}",
        "start": f"the weights of {origin['path']}" if origin else "random weights",
        "curriculum": _group(config.get("curriculum")),
        "norm": NORMS.get(run.norm, run.norm),
        "training attack": (
            _group(config.get("attack")) if noise_of(config) is None else "none: Gaussian noise"
        ),
        "objective": _group(config.get("objective")),
        "optimizer": _group(config.get("optimizer")),
        "batch size": str(config.get("batch_size", "")),
        "seed": str(config.get("seed", "")),
    }


def _group(values: Mapping[str, Any] | None) -> str:
    """A part of the settings: its name, and what is on."""
    own = {name: value for name, value in (values or {}).items() if name != "name"}
    parts = [str((values or {}).get("name", "")), _words(own)]
    return ", ".join(part for part in parts if part)


def _words(values: Mapping[str, Any]) -> str:
    """Settings in a few words: those that are on."""
    return ", ".join(
        name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {_plain(value)}"
        for name, value in values.items()
        if value not in (None, False, 0) or name == "target"
    )


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _bracket(values: Mapping[str, Any] | None) -> str:
    words = _words(values) if values else ""
    return f" ({words})" if words else ""


def _ended(run: RunResults) -> Badge:
    if run.outcome is None:
        return Badge("not yet")
    status = run.outcome.status
    bad = status in (COLLAPSED, NON_FINITE)
    return Badge(status, "bad" if bad else "good" if status == FINISHED else "doubtful")


def _probed(run: RunResults) -> str:
    if run.outcome is None or run.outcome.probe is None:
        return "none"
    return f"of {run.outcome.probe['n']} held-out images {run.outcome.withstood}"


def curves(runs: Runs) -> Section:
    """Loss, ε and accuracy by epoch, and how loss and weights settle."""
    found = [run for run in runs if run.history]
    if not found:
        return Section(
            title="Training curves",
            blocks=[
                Missing(
                    what=f"{run.name} has finished no epoch.",
                    commands=[f"hardball train --resume {quoted(run)}"],
                )
                for run in runs
            ],
        )
    levels = once(f"ln {r.classes}|{r.chance}" for r in found if r.chance is not None)
    constant = [
        Level(name=f"constant prediction, {name} = {float(at):.3f}", at=float(at))
        for name, at in (one.split("|") for one in levels)
    ]
    of_epoch: dict[str, Any] = {"x_label": "epoch", "whole": True}
    charts = [
        Chart(
            title="Training loss under attack",
            y_label="adversarial loss (nats)",
            lines=_lines(runs, "adv_loss"),
            levels=constant,
            **of_epoch,
        ),
        Chart(title="ε of the training attack", y_label="ε", lines=_lines(runs, "eps"), **of_epoch),
        Chart(
            title="Validation accuracy",
            y_label="accuracy: solid under attack, dotted without",
            lines=[
                *_lines(runs, "val_adv_accuracy", " under attack"),
                *_lines(runs, "val_accuracy", " clean", second=True),
            ],
            percent=True,
            y_format=".1%",
            **of_epoch,
        ),
        Chart(
            title="Change of the training loss",
            y_label="|change from the epoch before| (nats)",
            lines=_lines(runs, "loss_change", size=True),
            log=True,
            **of_epoch,
        ),
        Chart(
            title="Movement of the weights",
            y_label="ℓ2 distance from the epoch before",
            lines=_lines(runs, "weight_distance", size=True),
            log=True,
            **of_epoch,
        ),
    ]
    longest = max(len(run.history) for run in found)
    return Section(
        title="Training curves",
        text="All losses are cross entropies under the training attack. A training that stays at the "
        "loss of a constant prediction has learned nothing. Point at a chart, or focus it and press the "
        "arrow keys, to read it."
        + f" Of {longest} epochs {DRAWN} are drawn." * (longest > DRAWN)
        + " Where the objective is noise, ε is its σ, and noise is what is written as attack."
        * any(noise_of(run.config) is not None for run in found),
        blocks=[chart for chart in charts if any(line.x for line in chart.lines)],
        commands=[run.commands["train"] for run in found if "train" in run.commands],
    )


def _lines(
    runs: Runs, column: str, more: str = "", *, second: bool = False, size: bool = False
) -> list[Line]:
    """A column of metrics.csv of every run that has it; `size` for its positive absolute values."""
    lines = []
    for number, run in enumerate(runs):
        epochs, values = run.column(column)
        points = [(e, abs(v) if size else v) for e, v in zip(epochs, values, strict=True)]
        points = [(e, v) for e, v in points if v > 0 or not size]
        step = (len(points) - 1) / (DRAWN - 1)
        if step > 1:
            points = [points[round(i * step)] for i in range(DRAWN)]
        if points:
            x, y = zip(*points, strict=True)
            lines.append(Line(name=f"{run.name}{more}", x=x, y=y, look=number, second=second))
    return lines
