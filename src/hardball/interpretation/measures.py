"""Numbers for how interpretable a map over an image is, with intervals.

A map is a saliency or a perturbation. Shapes: B examples; images and maps [B, C, H, W], every
measure float64 [B], NaN where it is not defined (a map that is 0 everywhere).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def foreground(images: Tensor, *, above: float = 0.0, grow: int = 0) -> Tensor:
    """bool, like the images: the pixel is brighter than `above` in at least one channel, or lies
    within `grow` pixels (in the maximum norm) of one that is.

    Example:
        >>> hb.interpretation.foreground(torch.tensor([[[[0.0, 0.5]]]]))
        tensor([[[[False,  True]]]])
    """
    bright = (images > above).any(dim=1, keepdim=True)
    if grow:
        wide = F.max_pool2d(bright.float(), 2 * grow + 1, stride=1, padding=grow)
        bright = wide > 0
    return bright.expand_as(images)


def foreground_share(maps: Tensor, mask: Tensor) -> Tensor:
    """Σ |m| over the foreground / Σ |m| over the image, in [0, 1]. A map that ignores the image has
    the foreground's share of the pixels.

    Example:
        >>> mask = hb.interpretation.foreground(test.images)
        >>> hb.interpretation.foreground_share(test.images, mask).min()
        tensor(1., dtype=torch.float64)
    """
    sizes = maps.double().abs()
    return (sizes * mask).flatten(1).sum(dim=1) / sizes.flatten(1).sum(dim=1)


def gini(maps: Tensor) -> Tensor:
    """The Gini coefficient of |m|: Σ_i (2i − d − 1)·|m|₍ᵢ₎ / (d·Σ |m|), |m|₍ᵢ₎ ascending over the d
    values (Hurley & Rickard 2009). 0 if all are equal, 1 − 1/d if a single one is not 0.

    Example:
        >>> hb.interpretation.gini(torch.ones(1, 1, 2, 2))
        tensor([0.], dtype=torch.float64)
    """
    ordered = maps.double().abs().flatten(1).sort(dim=1).values
    count = ordered.shape[1]
    rank = 2 * torch.arange(1, count + 1, device=maps.device, dtype=torch.float64) - count - 1
    return (ordered * rank).sum(dim=1) / (count * ordered.sum(dim=1))


def alignment(maps: Tensor, images: Tensor) -> Tensor:
    """|⟨x, m⟩| / (‖x‖·‖m‖), the absolute cosine of image and map, in [0, 1] (Etmann et al. 2019 leave
    out ‖x‖).

    Example:
        >>> images = test.images[:1]
        >>> print(round(hb.interpretation.alignment(2 * images, images).item(), 6))
        1.0
    """
    one, other = _unit(maps), _unit(images)
    return (one * other).sum(dim=1).abs().clamp(max=1)


def _unit(values: Tensor) -> Tensor:
    """[B, d] of length 1; scaled by the largest value first, so that no square underflows."""
    flat = values.double().flatten(1)
    flat = flat / flat.abs().amax(dim=1, keepdim=True)
    return flat / flat.square().sum(dim=1, keepdim=True).sqrt()


MEASURES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "foreground_share": lambda maps, images, mask: foreground_share(maps, mask),
    "gini": lambda maps, images, mask: gini(maps),
    "alignment": lambda maps, images, mask: alignment(maps, images),
}
"""name → (maps, images, foreground) → [B]."""


def chance(images: Tensor, mask: Tensor) -> dict[str, float]:
    """What independent Gaussian noise gives on these images, on average: the foreground's share of
    the pixels, √2 − 1, and E|u₁| of a random direction u in d dimensions."""
    size = images[0].numel()
    log_ratio = math.lgamma(size / 2) - math.lgamma((size + 1) / 2)
    return {
        "foreground_share": float(mask.double().mean()),
        "gini": math.sqrt(2) - 1,
        "alignment": math.exp(log_ratio) / math.sqrt(math.pi),
    }


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over images with its 95% interval (Student's t)."""

    mean: float
    low: float
    high: float
    n: int
    """Images that count."""
    undefined: int
    """Images left out, on which the measure is not defined."""

    def as_json(self) -> dict[str, Any]:
        known = self.n > 0
        return {
            "mean": self.mean if known else None,
            "low": self.low if self.n > 1 else None,
            "high": self.high if self.n > 1 else None,
            "n": self.n,
            "undefined": self.undefined,
        }


def mean_of(values: Tensor) -> Mean:
    """The mean of values [B] that are independent of each other; NaN are left out and counted."""
    known = values[~values.isnan()].double().cpu()
    n = len(known)
    mean, spread = float(known.mean()) if n else math.nan, math.nan
    if n > 1:
        from scipy.stats import t

        spread = float(t.ppf(0.975, n - 1)) * float(known.std()) / math.sqrt(n)
    return Mean(mean=mean, low=mean - spread, high=mean + spread, n=n, undefined=len(values) - n)


def paired_difference(one: Tensor, other: Tensor) -> Mean:
    """The mean of `one` − `other` [B], image by image: what the images have in common cancels, so its
    interval is the one to compare two networks by."""
    return mean_of(one - other)
