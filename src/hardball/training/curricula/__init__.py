"""How ε moves during training."""

from hardball.training.curricula.adaptive import Adaptive
from hardball.training.curricula.base import Curriculum
from hardball.training.curricula.constant import Constant
from hardball.training.curricula.iterative import Iterative
from hardball.training.curricula.table import CURRICULA, as_spec, curriculum_class, curriculum_from

__all__ = [
    "CURRICULA",
    "Adaptive",
    "Constant",
    "Curriculum",
    "Iterative",
    "as_spec",
    "curriculum_class",
    "curriculum_from",
]
