"""Networks: pixels in [0, 1] → logits."""

from hardball.models.build import build
from hardball.models.networks import MODELS, ConvNet, Normalize, mnist_cnn

__all__ = ["MODELS", "ConvNet", "Normalize", "build", "mnist_cnn"]
