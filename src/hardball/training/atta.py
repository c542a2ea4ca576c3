"""Perturbations carried from epoch to epoch (ATTA, Zheng et al. 2020, arXiv 1912.11969).

Shapes: N training images, B examples of an update, of which a process attacks its share.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hardball.threats import ThreatModel

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LEVELS = 127
"""A carried pixel is a whole number of this fraction of the most that a pixel may move."""


class Carried:
    """Where the last attack on each training image ended, one byte per pixel.

    Kept is δ/min(1, ε), so that a perturbation grows with ε along a ramp: no pixel moves further
    than min(1, ε) in any of the norms. Every process keeps all of them, since another one may attack
    the image next.
    """

    def __init__(self, images: Tensor) -> None:
        self.levels = torch.zeros(images.shape, dtype=torch.int8, device=images.device)

    def start(self, rows: Tensor, images: Tensor, threat: ThreatModel) -> Tensor:
        """Where to start an attack on the training images [B, ...] of these rows: a point of ball ∩
        box."""
        share = self.levels[rows].to(images) / LEVELS
        return threat.project(images + share * _reach(images, threat), images)

    def keep(
        self, rows: Tensor, images: Tensor, found: Tensor, threat: ThreatModel, fabric: "Fabric"
    ) -> None:
        """Keep what all processes found for these rows [B].

        Args:
            images: of this process's share, every world-size-th row from its rank on. (A process
                without a row of its own has a filler here, which is left out.)
            found: the adversarial examples for them.
        """
        kept = torch.zeros_like(self.levels[rows])
        mine = kept[fabric.global_rank :: fabric.world_size]
        moved = LEVELS * (found - images) / _reach(images, threat)
        mine.copy_(moved[: len(mine)].round().clamp(-LEVELS, LEVELS))
        if fabric.world_size > 1:
            # each row is one process's, and 0 in the others
            torch.distributed.all_reduce(kept)
        self.levels[rows] = kept


def _reach(images: Tensor, threat: ThreatModel) -> Tensor:
    """The most that a pixel may move."""
    return threat.radius(images).clamp(max=1)
