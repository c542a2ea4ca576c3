"""An attack: `--attacks '[hardball_outside.attack:MomentumPGD]'`."""

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

import hardball as hb
from hardball.errors import Unsupported


@dataclass(frozen=True)
class MomentumPGD(hb.Attack):
    """Steps along a decaying sum of gradients (Dong et al. 2018) from a random start."""

    steps: int = 20
    decay: float = 0.75

    @property
    def cost(self) -> int:
        return self.steps  # in sample-steps: cheaper attacks run first

    def cheapest(self) -> Self:
        return replace(self, steps=1)

    def validate(self, images: Tensor, threat: hb.ThreatModel) -> None:
        if threat.norm not in ("linf", "l2"):
            raise Unsupported(f"norm {threat.norm} for momentum PGD; allowed are linf and l2")

    def search(
        self, model: Any, images: Tensor, labels: Tensor, threat: hb.ThreatModel, generator: Any
    ) -> Tensor:
        step = 2.5 * threat.radius(images) / self.steps
        moved, direction = threat.sample(images, generator), torch.zeros_like(images)
        for _ in range(self.steps):
            moved.requires_grad_(True)
            loss = F.cross_entropy(model(moved), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, moved)
            gradient = F.normalize(gradient.flatten(1), p=1, dim=1).view_as(gradient)
            direction = self.decay * direction + gradient
            moved = threat.project(moved.detach() + step * threat.steepest(direction), images)
        return moved
