"""Per-example losses: logits [B, K] and integer labels [B] in, losses [B] out.

All rise as the classifier gets more wrong, so an attack maximises any of them.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from hardball.errors import UserError

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """−log softmax(z)_y, computed in float32 at least: half precision saturates at large losses."""
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return F.cross_entropy(wide, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """max_{j≠y} z_j − z_y: positive exactly where the example is misclassified (Carlini & Wagner)."""
    true = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.amax(dim=1) - true


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio (Croce & Hein 2020): margin / (z_π1 − z_π3), free of scale.

    Raises:
        UserError: fewer than three classes, where the third largest logit does not exist.
    """
    if logits.shape[1] < 3:
        raise UserError(
            f"the DLR loss with {logits.shape[1]} classes; it needs 3 or more: use margin"
        )
    ordered = logits.sort(dim=1, descending=True).values
    return margin(logits, labels) / (ordered[:, 0] - ordered[:, 2] + 1e-12)


def kl(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(softmax(reference) ‖ softmax(logits)); `reference` are logits [B, K] (TRADES' inner loss)."""
    log_p, log_q = F.log_softmax(reference, dim=1), F.log_softmax(logits, dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}
"""Losses of logits and labels, by name (`kl` compares two sets of logits, so it is none)."""


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """bool [B]: the true class has strictly the largest logit.

    A tie or a NaN counts as an error, so neither a constant predictor nor a broken one passes.
    """
    return margin(logits, labels) < 0
