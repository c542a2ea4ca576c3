"""Training objectives: the loss that the parameters descend, and the loss that the attack climbs."""

from hardball.training.objectives.attacked import MART, TRADES, Adversarial, GaussianNoise
from hardball.training.objectives.base import Objective
from hardball.training.objectives.certified import MTLIBP, SABR, CROWNIBPLoss, IBPLoss
from hardball.training.objectives.table import (
    OBJECTIVES,
    objective_class,
    objective_from,
    objective_spec,
)

__all__ = [
    "MART",
    "MTLIBP",
    "OBJECTIVES",
    "SABR",
    "TRADES",
    "Adversarial",
    "CROWNIBPLoss",
    "GaussianNoise",
    "IBPLoss",
    "Objective",
    "objective_class",
    "objective_from",
    "objective_spec",
]
