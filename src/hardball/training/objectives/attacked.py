"""Objectives on adversarial or noisy examples.

Shapes: B examples, K classes; logits [B, K], labels int64 [B], losses [B].
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hardball.errors import UserError
from hardball.losses import kl
from hardball.training.objectives.base import Objective


@dataclass(frozen=True, kw_only=True)
class Adversarial(Objective):
    """Adversarial cross entropy (Madry et al. 2018): ℓ(f(x'), y).

    Example:
        >>> hb.Adversarial().loss(torch.zeros(2, 10), test.labels[:2], None)
        tensor([2.3026, 2.3026])
    """

    def loss(self, adversarial: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        return self.smoothed(adversarial, labels)


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Objective):
    """E ℓ(f(x + δ), y) over δ ~ N(0, σ²I), one δ for each example and epoch (Cohen et al. 2019).

    The curriculum moves σ where it moves ε elsewhere. x + δ is not clipped to [0, 1]: certificates by
    randomised smoothing (`certify_smooth`) are for the unclipped Gaussian. No attack runs; a noisy
    example counts as one sample-step.

    Example:
        >>> hb.GaussianNoise().needs_attack
        False
    """

    needs_attack: ClassVar[bool] = False
    noisy: ClassVar[bool] = True

    def loss(self, adversarial: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        return self.smoothed(adversarial, labels)


@dataclass(frozen=True, kw_only=True)
class TRADES(Objective):
    """ℓ(f(x), y) + β·KL(f(x) ‖ f(x')), where x' maximises the KL term (Zhang et al. 2019).

    The attack climbs from a random start: at the image itself the KL term has no gradient.

    Example:
        >>> hb.TRADES(beta=6.0).loss(torch.zeros(2, 10), test.labels[:2], torch.zeros(2, 10))
        tensor([2.3026, 2.3026])
    """

    needs_clean: ClassVar[bool] = True

    beta: float = 6.0
    """Weight β of the robustness term (1/λ in the paper)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_weight(self.beta)

    def loss(self, adversarial: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        assert clean is not None
        return self.smoothed(clean, labels) + self.beta * kl(adversarial, clean)

    def climbed(self, logits: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        assert clean is not None
        return kl(logits, clean)


@dataclass(frozen=True, kw_only=True)
class MART(Objective):
    """ℓ(f(x'), y) − log(1 − max_{k≠y} p_k(x')) + β·KL(f(x) ‖ f(x'))·(1 − p_y(x)) (Wang et al. 2020).

    The KL term counts most where the clean image is misclassified.

    Example:
        >>> hb.MART(beta=5.0).needs_clean
        True
    """

    needs_clean: ClassVar[bool] = True

    beta: float = 5.0
    """Weight of the KL term (λ in the paper)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_weight(self.beta)

    def loss(self, adversarial: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        assert clean is not None
        probability = F.softmax(clean, dim=1).gather(1, labels[:, None]).squeeze(1)
        boosted = self.smoothed(adversarial, labels) - _log_of_the_rest(adversarial, labels)
        return boosted + self.beta * kl(adversarial, clean) * (1 - probability)


def _log_of_the_rest(logits: Tensor, labels: Tensor) -> Tensor:
    """log(1 − max_{k≠y} p_k) [B], as the sum of all other probabilities: exact where 1 − p is not."""
    log_p = F.log_softmax(logits.float(), dim=1)
    wrong = log_p.scatter(1, labels[:, None], -torch.inf).argmax(dim=1, keepdim=True)
    return log_p.scatter(1, wrong, -torch.inf).logsumexp(dim=1)


def _check_weight(beta: float) -> None:
    if not 0 <= beta < float("inf"):
        raise UserError(f"beta={beta}; allowed is a finite number, 0 or more")
