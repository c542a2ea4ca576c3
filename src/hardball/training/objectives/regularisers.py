"""The two regularisers of certified training by Shi et al. 2021 ("Fast certified robust training with
short warmup", sections 3.3 and 3.4): numbers about the boxes that enter the ReLUs.

Both are means over m ReLU layers of terms between 0 and 1 (tightness) or 2 (balance), and 0 where all is
well. Shapes: Box of [B, ...] before each ReLU; results are scalars.
"""

from collections.abc import Sequence

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
    input_width = box.radius.mean()
    terms = [
        (tolerance - input_width / one.radius.mean().clamp(min=LEAST)).relu() for one in hidden
    ]
    return torch.stack(terms).mean() / tolerance


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
        middle = one.middle
        active, inactive = (one.low > 0).to(middle), (one.high < 0).to(middle)
        spread = (middle - middle.mean()).square()
        pairs = (
            ((middle * active).sum(), -(middle * inactive).sum()),
            ((spread * active).sum(), (spread * inactive).sum()),
        )
        term = sum((tolerance - torch.minimum(_ratio(a, b), _ratio(b, a))).relu() for a, b in pairs)
        there = (active.sum() > 0) & (inactive.sum() > 0)
        terms.append(torch.where(there, term, 0.0))
    return torch.stack(terms).mean() / tolerance


def _ratio(one: Tensor, other: Tensor) -> Tensor:
    return one / other.clamp(min=LEAST)
