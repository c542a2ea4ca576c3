"""Refusal of input that would give a wrong number silently. Each check reads the data once, so it
belongs where data comes in (a dataset, an evaluation, a public attack call), not inside a loop."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from hardball.errors import UserError


def validate_images(images: Tensor, what: str = "images") -> None:
    """Floating point, finite, inside [0, 1], with a batch dimension.

    Raises:
        UserError: naming the offending value and the cure.
    """
    if not images.dtype.is_floating_point:
        raise UserError(
            f"{what} are {_dtype(images)}; allowed is floating point in [0, 1]: divide uint8 by 255"
        )
    if images.dim() < 2:
        raise UserError(
            f"{what} have shape {list(images.shape)}; allowed is [B, ...] with a batch first"
        )
    if not images.numel():
        return
    low, high = (float(v) for v in images.detach().aminmax())
    if math.isnan(low) or math.isnan(high):
        raise UserError(f"{what} contain NaN; allowed are numbers in [0, 1]: clean the data first")
    if low < 0 or high > 1:
        raise UserError(
            f"{what} lie in [{low:.4g}, {high:.4g}]; allowed is [0, 1]: undo any normalisation and put "
            "it inside the model (hardball.Normalize)"
        )


def validate_labels(labels: Tensor, count: int, classes: int | None = None) -> None:
    """int64 [count], each in 0 … classes−1.

    Raises:
        UserError: naming the offending value and the cure.
    """
    if labels.dtype != torch.int64 or labels.dim() != 1:
        raise UserError(
            f"labels are {_dtype(labels)} of shape {list(labels.shape)}; allowed are class numbers, "
            "int64 [B]: use labels.long(), or argmax(1) for one-hot rows"
        )
    if len(labels) != count:
        raise UserError(f"{len(labels)} labels for {count} images; pass one label for each image")
    if not len(labels):
        return
    low, high = (int(v) for v in labels.aminmax())
    if low < 0 or (classes is not None and high >= classes):
        wrong = low if low < 0 else high
        allowed = f"0 … {classes - 1}" if classes is not None else "0 or more"
        raise UserError(f"label {wrong}; allowed is {allowed}: number the classes from 0")


def validate_logits(logits: object, count: int) -> Tensor:
    """A tensor [count, K] with K ≥ 2: what every attack needs of a classifier.

    Raises:
        UserError: naming what came instead and the cure.
    """
    if not isinstance(logits, Tensor):
        raise UserError(
            f"the model returned {type(logits).__name__}; allowed is a tensor of logits [B, classes]: "
            f"wrap the model so that it returns just those{_where_logits_are(logits)}"
        )
    if logits.dim() != 2 or len(logits) != count or logits.shape[1] < 2:
        raise UserError(
            f"the model returned shape {list(logits.shape)} for {count} images; allowed is "
            "[B, classes] with 2 classes or more: flatten or pool before the last layer"
        )
    return logits


def _where_logits_are(found: object) -> str:
    """How a wrapper gets at logits inside what a model returned, where that can be seen."""
    inside: str | None = None
    if isinstance(getattr(found, "logits", None), Tensor):
        inside = ".logits"
    elif isinstance(found, Mapping):
        key = next((key for key, one in found.items() if isinstance(one, Tensor)), None)
        inside = None if key is None else f"[{key!r}]"
    elif isinstance(found, tuple | list) and found and isinstance(found[0], Tensor):
        inside = "[0]"
    if inside is None:
        return ""
    return f" (an nn.Module whose forward is: return self.model(images){inside})"


def logits_of_copy(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Logits [B, K] of images [B, ...] that no model can spoil.

    Raises:
        UserError: see `validate_logits`; or the model writes into the images it is given.
    """
    copy = images.detach().clone()
    logits = validate_logits(model(copy), len(images))
    if copy._version:
        raise UserError(
            "the model changes its images in place; attacks and data need them as they are: write "
            "x = x - mean, not x -= mean"
        )
    return logits


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
