"""Models made elsewhere, behind the normalisation that they were trained with."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from hardball.errors import UserError
from hardball.models import Normalize


def normalized(
    model: nn.Module, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> nn.Sequential:
    """A model that takes normalised images, as one that takes pixels in [0, 1].

    Every ε is in pixels, so the normalisation must be part of the model. A model that normalises its
    images itself (RobustBench's do) must not be wrapped.

    Args:
        model: normalised images → logits.
        mean: one for each channel; by default that of the model's `pretrained_cfg`, which timm's models
            have.
        std: likewise.

    Raises:
        UserError: no mean or std, here and there.

    Example:
        >>> network = hb.normalized(model, mean=[0.3], std=[0.2])
        >>> network(test.images).shape
        torch.Size([20, 10])
    """
    config = getattr(model, "pretrained_cfg", None)
    known: Mapping[str, Any] = config if isinstance(config, Mapping) else {}
    mean = known.get("mean") if mean is None else mean
    std = known.get("std") if std is None else std
    if mean is None or std is None:
        raise UserError(
            f"{type(model).__name__} does not say how its images are normalised (it has no "
            "pretrained_cfg with mean and std); pass `mean` and `std`, one number for each channel"
        )
    return nn.Sequential(Normalize(mean, std), model)
