"""Training along a curriculum."""

from hardball.training.attack import TrainingAttack
from hardball.training.course import Course
from hardball.training.curricula import CURRICULA, Adaptive, Constant, Curriculum, Iterative
from hardball.training.fit import fit
from hardball.training.machine import Machine
from hardball.training.objectives import (
    MART,
    MTLIBP,
    OBJECTIVES,
    SABR,
    TRADES,
    Adversarial,
    CROWNIBPLoss,
    GaussianNoise,
    IBPLoss,
    Objective,
)
from hardball.training.optim import Optimizer
from hardball.training.settings import Settings
from hardball.training.stopping import Stopping

__all__ = [
    "CURRICULA",
    "MART",
    "MTLIBP",
    "OBJECTIVES",
    "SABR",
    "TRADES",
    "Adaptive",
    "Adversarial",
    "CROWNIBPLoss",
    "Constant",
    "Course",
    "Curriculum",
    "GaussianNoise",
    "IBPLoss",
    "Iterative",
    "Machine",
    "Objective",
    "Optimizer",
    "Settings",
    "Stopping",
    "TrainingAttack",
    "fit",
]
