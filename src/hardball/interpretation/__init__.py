"""Saliency and perturbations of images, with numbers for how interpretable they are."""

from hardball.interpretation.look import Look, look
from hardball.interpretation.measures import (
    MEASURES,
    Mean,
    alignment,
    chance,
    foreground,
    foreground_share,
    gini,
    mean_of,
    paired_difference,
)
from hardball.interpretation.saliency import METHODS, loss_gradient, method_named
from hardball.interpretation.views import PERTURBATION, SALIENCY, View, ViewSettings, views

__all__ = [
    "MEASURES",
    "METHODS",
    "PERTURBATION",
    "SALIENCY",
    "Look",
    "Mean",
    "View",
    "ViewSettings",
    "alignment",
    "chance",
    "foreground",
    "foreground_share",
    "gini",
    "look",
    "loss_gradient",
    "mean_of",
    "method_named",
    "paired_difference",
    "views",
]
