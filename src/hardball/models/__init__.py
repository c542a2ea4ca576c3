"""Networks: pixels in [0, 1] → logits."""

from hardball.models.build import build
from hardball.models.fronts import FRONTS, Clip, Rounding
from hardball.models.initial import INITIALS, initialise
from hardball.models.networks import MODELS, ConvNet, Normalize, mnist_cnn

__all__ = [
    "FRONTS",
    "INITIALS",
    "MODELS",
    "Clip",
    "ConvNet",
    "Normalize",
    "Rounding",
    "build",
    "initialise",
    "mnist_cnn",
]
