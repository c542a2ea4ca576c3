"""What has to be trained for some recipes, in which order, at which cost."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from hardball.errors import UserError, unknown
from hardball.reproduction.recipes import RECIPES, Recipe
from hardball.reproduction.trainings import TRAININGS, Training

ALL = "all"
"""Every recipe."""
GROUPS: dict[str, Callable[[Recipe], bool]] = {
    ALL: lambda _: True,
    "mnist": lambda recipe: recipe.on == "mnist",
    "cifar": lambda recipe: recipe.on == "cifar",
}
"""Names of several recipes."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Recipes, and the trainings they need: those that others start from come first."""

    recipes: dict[str, Recipe]
    trainings: dict[str, Training]


def plan(names: Sequence[str], left_out: Collection[str] = ()) -> Planned:
    """What the recipes of these names, or of these groups, need.

    Args:
        names: of recipes and of `GROUPS`.
        left_out: trainings that a budget leaves out, with what needs them.

    Raises:
        UserError: no name, or one that does not exist.
    """
    if not names:
        raise UserError(f"no name; name one or several of: {', '.join([*RECIPES, *GROUPS])}")
    wanted: dict[str, Recipe] = {}
    for name in names:
        if name in GROUPS:
            wanted |= {key: recipe for key, recipe in RECIPES.items() if GROUPS[name](recipe)}
        elif name in RECIPES:
            wanted[name] = RECIPES[name]
        else:
            raise unknown("table or figure", name, [*RECIPES, *GROUPS])
    wanted = {name: recipe.without(left_out) for name, recipe in wanted.items()}
    ordered: dict[str, Training] = {}
    for recipe in wanted.values():
        for name in recipe.trainings:
            _add(name, ordered)
    return Planned(recipes=wanted, trainings=ordered)


def _add(name: str, ordered: dict[str, Training]) -> None:
    training = TRAININGS[name]
    if training.start is not None:
        _add(training.start, ordered)
    ordered.setdefault(name, training)


def sample_steps(curriculum: Any, attack: Any, images: int) -> int:
    """Examples × passes of the attack and the update, if nothing ends the training early.

    Args:
        curriculum: how ε moves.
        attack: the attack inside training (`TrainingAttack.pgd`).
        images: training images.
    """
    epochs = range(curriculum.total_epochs)
    steps = [_steps(attack, curriculum.eps_at(epoch)) + 1 for epoch in epochs]
    return images * sum(steps)


def _steps(attack: Any, eps: float) -> int:
    return 0 if eps == 0 else int(attack.at(eps, at_least_one=True).steps)
