"""What the last validation batch of an epoch shows in TensorBoard: its adversarial examples, and how
much of the ball they use. The attack is that of the validation; nothing is computed twice.

Shapes: B examples; images [B, ...].
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hardball.threats import ThreatModel

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SHOWN = 8
"""Examples in the picture."""

PER_PIXEL = ("linf", "unbounded")
"""Norms in which each pixel has an ε of its own."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Attacked:
    """A batch and its adversarial examples."""

    images: Tensor
    examples: Tensor
    threat: ThreatModel
    """Norm and ε > 0."""

    def used(self) -> Tensor:
        """How much of the ball the perturbations use, in [0, 1]: |δ|/ε of each pixel where the norm
        bounds pixels (ℓ∞), ‖δ‖/ε of each example otherwise (of ℓ0, whose ball holds whole numbers, the
        share of the ⌊ε⌋ coordinates). Pixels that the box stops count as they are."""
        moved = (self.examples - self.images).detach()
        eps = float(self.threat.eps)
        if self.threat.norm in PER_PIXEL:
            return moved.abs().flatten() / eps
        whole = float(int(eps)) if self.threat.norm == "l0" else eps
        return self.threat.size(moved) / max(whole, 1e-12)

    def picture(self) -> Tensor | None:
        """[C, 3H, nW] in [0, 1]: the first examples side by side; from above the image, what was added
        (grey: nothing, white and black: as much as the largest change of the batch) and the sum.
        None for images that cannot be drawn."""
        if self.images.dim() != 4 or self.images.shape[1] not in (1, 3):
            return None
        images, examples = (each[:SHOWN].detach().float() for each in (self.images, self.examples))
        moved = examples - images
        largest = moved.abs().amax().clamp(min=1e-12)
        rows = (images, 0.5 + moved / (2 * largest), examples)
        return torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1).clamp(0, 1)

    def write(self, events: "SummaryWriter", epoch: int) -> None:
        """As an image and a histogram."""
        picture = self.picture()
        if picture is not None:
            events.add_image("adversarial examples", picture.cpu(), epoch)
        what = "pixel" if self.threat.norm in PER_PIXEL else "example"
        events.add_histogram(f"share of the ball used by each {what}", self.used().cpu(), epoch)
