"""Networks: pixels in [0, 1] → logits."""

from hardball.models.build import build
from hardball.models.fronts import FRONTS, Rounding
from hardball.models.networks import MODELS, ConvNet, Normalize, mnist_cnn

__all__ = ["FRONTS", "MODELS", "ConvNet", "Normalize", "Rounding", "build", "mnist_cnn"]
