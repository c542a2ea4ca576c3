"""Objectives on bounds of the logits, for certificates, alone or mixed with adversarial examples.

Shapes: B examples, K classes; logits [B, K], labels int64 [B], losses [B].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, fx, nn

from hardball.certify.crown import relaxed
from hardball.certify.intervals import Box
from hardball.errors import UserError
from hardball.training.objectives.base import EXACT, Objective
from hardball.training.objectives.regularisers import balance, tightness


@dataclass(frozen=True, kw_only=True)
class IBPLoss(Objective):
    """Cross entropy of the worst logits that interval bounds allow: certified training (Gowal et al.
    2018), with initialisation and regularisers of Shi et al. 2021 where asked for. No attack runs.

    The loss bounds the adversarial one from above. Raise ε slowly from 0 (an iterative curriculum by
    step): at a large ε bounds of random weights say nothing. With both, Shi et al. ramp within 20
    epochs where others took hundreds.

    Example:
        >>> hb.IBPLoss().needs_attack, hb.IBPLoss().needs_bounds
        (False, True)
    """

    needs_attack: ClassVar[bool] = False
    needs_bounds: ClassVar[bool] = True
    needs_logits: ClassVar[bool] = False

    init: bool = False
    """Draw initial weights from N(0, 2π/n²), n inputs each: then bounds neither grow nor shrink from
    layer to layer. For deep networks; those of a few layers learn better without."""
    regularise: float = 0.0
    """λ of the regularisers (0.5 in the paper): λ·(1 − ε ÷ largest ε)·(tightness + ReLU balance) is
    added to the loss (see `hardball.training.objectives.regularisers`)."""
    tolerance: float = 0.5
    """τ of the regularisers: ratios above it are well enough."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.regularise < float("inf"):
            raise UserError(
                f"regularise={self.regularise}; allowed is a finite number, 0 or more (0.5 is usual)"
            )
        if not 0 < self.tolerance <= 1:
            raise UserError(f"tolerance={self.tolerance}; allowed is above 0, up to 1")

    def bounded(self, adversarial: Tensor, labels: Tensor, worst: Tensor) -> Tensor:
        return self.smoothed(worst, labels)

    def penalty(self, box: Box, hidden: Sequence[Box]) -> Tensor:
        """λ·(tightness + ReLU balance); without ReLUs, or for a box without width, 0."""
        if not self.regularise or not hidden:
            return super().penalty(box, hidden)
        tight = tightness(box, hidden, self.tolerance)
        found = self.regularise * (tight + balance(hidden, self.tolerance))
        return torch.where(box.radius.mean() > 0, found, 0.0)

    def prepare(self, model: nn.Module) -> None:
        """Shi et al. 2021, equation 5."""
        if not self.init:
            return
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                inputs = layer.weight[0].numel()
                nn.init.normal_(layer.weight, std=math.sqrt(2 * math.pi) / inputs)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


@dataclass(frozen=True, kw_only=True)
class MTLIBP(IBPLoss):
    """(1 − α)·ℓ(f(x'), y) + α·ℓ(worst, y): a mixture of adversarial training and interval bounds (De
    Palma et al. 2024).

    Example:
        >>> hb.MTLIBP(alpha=0.1).needs_bounds
        True
    """

    needs_attack: ClassVar[bool] = True
    needs_logits: ClassVar[bool] = True

    alpha: float = 0.5
    """Share α of the bounds: 0 is adversarial training, 1 is `IBPLoss`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise UserError(f"alpha={self.alpha}; allowed is a share, 0 to 1")

    def bounded(self, adversarial: Tensor, labels: Tensor, worst: Tensor) -> Tensor:
        attacked = self.smoothed(adversarial, labels)
        return (1 - self.alpha) * attacked + self.alpha * self.smoothed(worst, labels)


@dataclass(frozen=True, kw_only=True)
class SABR(IBPLoss):
    """Cross entropy of the worst logits in a small box around the adversarial example (Müller et al.
    2023): less is proved than by `IBPLoss`, and more is learned.

    Example:
        >>> hb.SABR(share=0.4).needs_bounds
        True
    """

    needs_attack: ClassVar[bool] = True

    share: float = 0.4
    """Radius of the box ÷ ε. Its centre is the adversarial example, moved so that the box stays in the
    ball."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share <= 1:
            raise UserError(f"share={self.share}; allowed is 0 to 1")

    def box(self, images: Tensor, adversarial: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        small = self.share * eps
        room = eps - small
        centre = images + (adversarial - images).clamp(-room, room)
        return (centre - small).clamp(min=0), (centre + small).clamp(max=1)


@dataclass(frozen=True, kw_only=True)
class CROWNIBPLoss(IBPLoss):
    """`IBPLoss` on (1 − β)·(interval bounds) + β·(linear relaxation) of the margins, β from `beta` to
    `beta_end` as ε grows (Zhang et al. 2020, without their clean loss).

    Linear bounds are tighter for weights that know nothing of intervals, so the ramp begins with them;
    interval bounds leave the network more freedom at a large ε, so it ends with these. Each is a bound,
    and so is their mean. An update costs some K passes more where β > 0.

    Example:
        >>> hb.CROWNIBPLoss().needs_bounds
        True
    """

    beta: float = 1.0
    """β at ε = 0."""
    beta_end: float = 0.0
    """β at the largest ε."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("beta", "beta_end"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name}={getattr(self, name)}; allowed is a share, 0 to 1")

    def bounds(
        self, graph: fx.GraphModule, box: Box, labels: Tensor, left: float
    ) -> tuple[Tensor, Sequence[Box]]:
        """The mean, with weights 1 − β and β = beta_end + (beta − beta_end)·left."""
        intervals, hidden = super().bounds(graph, box, labels, left)
        beta = self.beta_end + (self.beta - self.beta_end) * left
        if not beta:
            return intervals, hidden
        linear, _ = relaxed(graph, box, labels, EXACT)
        return (1 - beta) * intervals + beta * linear, hidden
