"""The two regularisers of certified training by Shi et al. 2021 ("Fast certified robust training with
short warmup", sections 3.3 and 3.4): numbers about the boxes that enter the ReLUs.

Both are means over m ReLU layers of terms between 0 and 1 (tightness) or 2 (balance), and 0 where all is
well. Shapes: Box of [B, ...] before each ReLU; results are scalars.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hardball.certify.intervals import Box

LEAST = 1e-12
"""No division by less."""


def tightness(box: Box, hidden: Sequence[Box], tolerance: float) -> Tensor:
    """(1/m)·Σ_i max(0, τ − E[Δ_0]/E[Δ_i])/τ: boxes shall not grow from layer to layer.

    Δ_i is the width of the box before ReLU i and Δ_0 that of the input; E is the mean over examples and
    neurons. With usual initial weights boxes grow with the square root of a layer's number of inputs,
    and after a few layers the worst logits have nothing to do with the images.

    Args:
        box: at the input.
        hidden: before each ReLU, m ≥ 1 of them.
        tolerance: τ in (0, 1].
    """
    input_width = _width(box)
    terms = [(tolerance - input_width / _width(one).clamp(min=LEAST)).relu() for one in hidden]
    return torch.stack(terms).mean() / tolerance


def _width(box: Box) -> Tensor:
    """Mean over examples and neurons."""
    found: Tensor = _Width.apply(box.low, box.high)
    return found


class _Width(torch.autograd.Function):
    """(low, high) ↦ mean of high − low, without a tensor of their size."""

    @staticmethod
    def forward(ctx: Any, low: Tensor, high: Tensor) -> Tensor:
        ctx.shape, ctx.dtype = low.shape, low.dtype
        return high.mean(dtype=_wide(high)) - low.mean(dtype=_wide(low))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        each = (grads[0] / ctx.shape.numel()).to(ctx.dtype)
        return (-each).expand(ctx.shape), each.expand(ctx.shape)


def balance(hidden: Sequence[Box], tolerance: float) -> Tensor:
    """(1/m)·Σ_i [max(0, τ − min(α_i, 1/α_i)) + max(0, τ − min(β_i, 1/β_i))]/τ: neurons that are surely
    active and neurons that are surely not shall weigh the same.

    With c the middle of a neuron's box and c̄ their mean over layer and batch,

        α_i = Σ_active c / −Σ_inactive c,    β_i = Σ_active (c − c̄)² / Σ_inactive (c − c̄)².

    Active are neurons with a box above 0, inactive those with one below. Bounds push neurons to the
    inactive side, where boxes have no width and nothing is learned. A layer where either kind is missing
    has no ratio, and its terms count as 0.
    """
    terms = []
    for one in hidden:
        mean, *sides = _Moments.apply(one.low, one.high)
        constant = mean.detach()
        moved = mean - constant  # 0, with the mean's gradient
        sums = [first + count * constant for count, first, _ in sides]
        spreads = [
            second - 2 * moved * first + count * moved.square() for count, first, second in sides
        ]
        pairs = (sums[0], -sums[1]), (spreads[0], spreads[1])
        term = sum((tolerance - torch.minimum(_ratio(a, b), _ratio(b, a))).relu() for a, b in pairs)
        there = (sides[0][0] > 0) & (sides[1][0] > 0)
        terms.append(torch.where(there, term, 0.0))
    return torch.stack(terms).mean() / tolerance


class _Moments(torch.autograd.Function):
    """(low, high) ↦ c̄, and for the active and the inactive neurons their number, Σ(c − κ) and Σ(c − κ)²,
    where κ is c̄ as a constant.

    As one operation, for layers are large and memory is what takes the time: autograd would keep and
    pass over a dozen tensors of their size.
    """

    @staticmethod
    def forward(ctx: Any, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        middle = (low + high).to(_wide(low)).div_(2)
        mean = middle.mean()
        middle -= mean
        # 1 and 0 as numbers: on a CPU several times as fast as comparisons and what follows from them
        kinds = [end.sign().relu_().to(middle.dtype) for end in (low, -high)]
        parts = [middle * kind for kind in kinds]
        ctx.save_for_backward(*kinds, *parts)
        ctx.dtype = low.dtype
        sides = [
            torch.stack([kind.sum(), part.sum(), part.square().sum()])
            for kind, part in zip(kinds, parts, strict=True)
        ]
        return mean, sides[0], sides[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        mean, *sides = grads
        kinds, parts = ctx.saved_tensors[:2], ctx.saved_tensors[2:]
        found = torch.empty_like(parts[0]).copy_(mean / parts[0].numel())
        for kind, part, (_, first, second) in zip(kinds, parts, sides, strict=True):
            found.addcmul_(kind, first).addcmul_(part, 2 * second)
        found = found.div_(2).to(ctx.dtype)
        return found, found


def _wide(values: Tensor) -> torch.dtype:
    """float32 at least: sums of many numbers in half precision are none."""
    return torch.promote_types(values.dtype, torch.float32)


def _ratio(one: Tensor, other: Tensor) -> Tensor:
    return one / other.clamp(min=LEAST)
