"""hardball: training and honestly measuring classifiers under large adversarial perturbations."""

from hardball._version import __version__
from hardball.attacks import (
    PGD,
    ARTAttack,
    AttackResult,
    AutoAttackPart,
    BruteForce,
    Distortion,
    Targeted,
    Transfer,
    fgsm,
    minimum_distortion,
)
from hardball.data import Dataset, load_dataset
from hardball.errors import UserError
from hardball.evaluation import Evaluation, evaluate, protocols
from hardball.models import Normalize, build
from hardball.runs import Run, load_run
from hardball.threats import L0, L2, LInf, ThreatModel, Unbounded
from hardball.training import Constant, Iterative, Settings, fit

__all__ = [
    "L0",
    "L2",
    "PGD",
    "ARTAttack",
    "AttackResult",
    "AutoAttackPart",
    "BruteForce",
    "Constant",
    "Dataset",
    "Distortion",
    "Evaluation",
    "Iterative",
    "LInf",
    "Normalize",
    "Run",
    "Settings",
    "Targeted",
    "ThreatModel",
    "Transfer",
    "Unbounded",
    "UserError",
    "__version__",
    "build",
    "evaluate",
    "fgsm",
    "fit",
    "load_dataset",
    "load_run",
    "minimum_distortion",
    "protocols",
]
