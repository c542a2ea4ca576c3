"""Training along a curriculum."""

from hardball.training.curriculum import Constant, Curriculum, Iterative
from hardball.training.fit import fit
from hardball.training.settings import Settings

__all__ = ["Constant", "Curriculum", "Iterative", "Settings", "fit"]
