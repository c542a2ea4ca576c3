"""The paper's tables and figures as data: which trainings, which measurements, which claims."""

from hardball.reproduction.budgets import BUDGETS, Budget
from hardball.reproduction.plan import Planned, plan
from hardball.reproduction.recipes import RECIPES, Recipe
from hardball.reproduction.trainings import TRAININGS, Training

__all__ = ["BUDGETS", "RECIPES", "TRAININGS", "Budget", "Planned", "Recipe", "Training", "plan"]
