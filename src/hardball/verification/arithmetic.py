"""The arithmetic of `hardball verify`, apart from the evaluation's own.

Shapes: M images with their centres, [M, C, H, W]; K classes; per-image results [M].
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]

SLACK = 1e-6
"""A distance may exceed ε by ε·SLACK + SLACK: the rounding of float32."""

Z = 1.959963984540054
"""The normal distribution leaves 2.5% above it."""

LENGTHS: dict[str, Callable[[Array], Array]] = {
    "linf": lambda delta: np.abs(delta).max(axis=1),
    "l2": lambda delta: np.sqrt(np.square(delta).sum(axis=1)),
    "l0": lambda delta: (delta != 0).sum(axis=1),
    "unbounded": lambda delta: np.zeros(len(delta)),
}
"""norm → lengths [M] of perturbations [M, d]."""


def in_box(images: Tensor) -> Flags:
    """Every pixel in [0, 1]; a NaN is not."""
    flat = images.flatten(1).numpy()
    return np.asarray(((flat >= 0) & (flat <= 1)).all(axis=1))


def in_ball(norm: str, images: Tensor, centres: Tensor, eps: Array, dtype: str) -> Flags:
    """Distance at most ε [M], computed in `dtype` ("float32" or "float64")."""
    delta = images.flatten(1).numpy().astype(dtype) - centres.flatten(1).numpy().astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(LENGTHS[norm](delta) <= eps * (1 + SLACK) + SLACK)


def logits(network: nn.Module, images: Tensor, dtype: torch.dtype, batch_size: int) -> Array:
    """[M, K], with the network and the images in `dtype`; the network keeps that type."""
    network = network.to(dtype).eval()
    with torch.no_grad():
        found = [
            network(part.to(dtype)).double().numpy() for part in torch.split(images, batch_size)
        ]
    return np.concatenate(found) if len(images) else np.zeros((0, 0))


def wrong(found: Array, labels: Array) -> Flags:
    """The label's logit is not above all others: a tie or a NaN is an error."""
    if not len(labels):
        return np.zeros(0, dtype=bool)
    rows = np.arange(len(labels))
    others = found.copy()
    others[rows, labels] = -np.inf
    with np.errstate(invalid="ignore"):
        return np.asarray(~(found[rows, labels] > others.max(axis=1)))


def taken_for(found: Array, labels: Array, predicted: Array) -> Flags:
    """The class `predicted` beats or ties the label; −1 means a NaN."""
    if not len(labels):
        return np.zeros(0, dtype=bool)
    rows = np.arange(len(labels))
    beats = found[rows, np.maximum(predicted, 0)] >= found[rows, labels]
    return np.asarray(np.where(predicted < 0, np.isnan(found).any(axis=1), beats))


def wilson(right: int, n: int) -> tuple[float, float]:
    """95% score interval: the p with |right/n − p| ≤ Z·√(p(1−p)/n)."""
    middle, width = right + Z * Z / 2, Z * math.sqrt(right * (n - right) / n + Z * Z / 4)
    return (middle - width) / (n + Z * Z), (middle + width) / (n + Z * Z)


def is_accuracy(stated: Mapping[str, Any], right: int, n: int) -> bool:
    """An accuracy with its interval is that of `right` of n."""
    low, high = wilson(right, n)
    expected = {"accuracy": right / n, "low": low, "high": high, "right": right, "n": n}
    return all(abs(stated[name] - value) < 1e-9 for name, value in expected.items())


def exceeds(count: int, n: int, share: float) -> bool:
    """`count` of n images prove, with one-sided 95% confidence, more than that share: so many or more
    would come of it with less than 5%."""
    if not share or not count:
        return count > 0
    logs = (
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(share)
        + (n - k) * math.log1p(-share)
        for k in range(count, n + 1)
    )
    return math.fsum(map(math.exp, logs)) < 0.05


def chance_of_at_most(present: int, n: int, classes: int) -> float:
    """P(at most `present` of K classes occur among n labels drawn evenly), label by label."""
    chances = [1.0] + [0.0] * classes
    for _ in range(n):
        chances = [
            chances[k] * k / classes + (chances[k - 1] * (1 - (k - 1) / classes) if k else 0.0)
            for k in range(classes + 1)
        ]
    return sum(chances[: present + 1])


def tensors_sha256(tensors: Iterable[Tensor]) -> str:
    """The digest of data, as docs/evaluation.md defines it."""
    found = hashlib.sha256()
    for tensor in tensors:
        numbers = np.ascontiguousarray(tensor.numpy())
        found.update(f"{numbers.dtype} {list(numbers.shape)}\n".encode() + numbers.tobytes())
    return found.hexdigest()
