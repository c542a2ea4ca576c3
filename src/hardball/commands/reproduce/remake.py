"""Recipes from their trainings and parts to NAME.json and NAME.png.

Trainings are shared by all recipes and found again by their identity; what was measured on the same
weights by the same command is not measured again. So a killed reproduction goes on where it was.
"""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from hardball import environment
from hardball.commands.reproduce.config import ReproduceConfig
from hardball.commands.reproduce.parts import measured
from hardball.commands.reproduce.trainings import trained, without_weights
from hardball.errors import UserError
from hardball.report import reproduction_figures
from hardball.report.figures import as_png
from hardball.report.reproduction_text import sentence
from hardball.reproduction import Recipe, plan
from hardball.reproduction.answers import answers
from hardball.storage import write_atomically

SCHEMA = 1
"""Of the JSON file of a recipe."""
CLASSES = 10
"""Of all data sets here."""


def reproduce(config: ReproduceConfig, console: Console) -> dict[str, Any]:
    """Train and measure all that the recipes need.

    Returns:
        name → content of NAME.json.

    Raises:
        UserError: see `estimate`; a result in `out` that another version made; or, after all else has
            been made, a training to start from that ended in a collapse.
    """
    planned = plan(config.names, config.size.without)
    for name in planned.recipes:
        _refuse_other_version(config.out / f"{name}.json")
    runs: dict[str, dict[str, Any]] = {}
    lacking: dict[str, str] = {}
    for name, training in planned.trainings.items():
        reason = without_weights(config, training)
        if reason is None:
            runs[name] = trained(config, name, training, console)
        else:
            lacking[name] = reason
    found: dict[str, Any] = {}
    left: list[str] = []
    for name, recipe in planned.recipes.items():
        if {*recipe.trainings} <= {*runs}:
            found[name] = _make(config, name, recipe, runs, console)
        else:
            left.append(name)
    if left:
        raise UserError(f"not made: {', '.join(left)}; {next(iter(lacking.values()))}")
    return found


def _make(
    config: ReproduceConfig,
    name: str,
    recipe: Recipe,
    runs: dict[str, dict[str, Any]],
    console: Console,
) -> dict[str, Any]:
    """Measure the parts, answer the claim, draw; NAME.json and NAME.png."""
    console.print(f"\n{name}: {recipe.title}", style="bold", highlight=False)
    folder = config.out / name
    parts = {
        key: measured(part, folder / key if key else folder, config, console)
        for key, part in recipe.parts.items()
    }
    size = config.size
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "name": name,
        "title": recipe.title,
        "paper": recipe.claim,
        "answers": answers(name, parts, CLASSES),
        "budget": size.name,
        "cut": config.cut(recipe.on, recipe.trainings) if recipe.trains else "",
        "trainings": {one: runs[one] for one in recipe.trainings},
        "command": config.command(name),
        "machine": environment.facts(),
    }
    picture = as_png(reproduction_figures.figure(name, recipe.title, parts, found["cut"]))
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(config.out / f"{name}.json", (text + "\n").encode())
    write_atomically(config.out / f"{name}.png", picture)
    for answer in found["answers"]:
        console.print(sentence(answer), soft_wrap=True, highlight=False)
    return found


def _refuse_other_version(path: Path) -> None:
    if not path.exists():
        return
    try:
        known = json.loads(path.read_text()).get("schema")
    except (ValueError, AttributeError):
        known = "none"
    if known != SCHEMA:
        raise UserError(
            f"{path} was made by another version of hardball (schema {known}, this one writes "
            f"{SCHEMA}); remove it, or choose another `out`"
        )
