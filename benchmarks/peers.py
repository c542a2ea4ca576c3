"""How the speed benchmarks hand a network to the libraries compared."""

from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn


def art_classifier(model: nn.Module, images: Tensor) -> PyTorchClassifier:
    """For images [B, C, H, W] of ten classes."""
    return PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
