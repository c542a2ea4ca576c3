"""A training objective: `--objective hardball_outside.objective:Margin --objective.beta 2`."""

from dataclasses import dataclass

from torch import Tensor

import hardball as hb


@dataclass(frozen=True, kw_only=True)
class Margin(hb.Objective):
    """ℓ(f(x'), y) + β·max(0, gap − (z_y − max_{j≠y} z_j)) on the adversarial logits z."""

    beta: float = 1.0
    """Weight of the margin term."""
    gap: float = 2.0
    """The lead of the true class from which on nothing is added."""

    def loss(self, adversarial: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        true = adversarial.gather(1, labels[:, None]).squeeze(1)
        others = adversarial.scatter(1, labels[:, None], -float("inf")).amax(dim=1)
        missing = (self.gap - (true - others)).relu()
        return self.smoothed(adversarial, labels) + self.beta * missing
