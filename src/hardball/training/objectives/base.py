"""What an objective is: the loss that the parameters descend, and the loss that the attack climbs.

Shapes: B examples, K classes; logits [B, K], labels int64 [B], losses [B].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, fx, nn

from hardball.certify.ibp import propagated
from hardball.certify.intervals import Box, Propagation
from hardball.errors import UserError
from hardball.losses import cross_entropy

EXACT = Propagation(rounding=False)
"""Training bounds the network of exact arithmetic."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """min_θ Σ loss(f_θ(x'), y, f_θ(x)), where x' maximises `climbed` inside ball ∩ box.

    To add one, derive a frozen dataclass from this class and write `loss`; its fields become flags.
    Whatever the objective, training is watched by the adversarial cross entropy: the detectors of
    collapse and of a sudden increase, and the validation part, know nothing else.

    Example:
        >>> class Squared(hb.Objective):
        ...     def loss(self, adversarial, labels, clean):
        ...         return self.smoothed(adversarial, labels) ** 2
        >>> Squared().loss(torch.zeros(2, 2), torch.tensor([0, 1]), None)
        tensor([0.4805, 0.4805])
    """

    needs_clean: ClassVar[bool] = False
    """`loss` and `climbed` are given the logits of the clean images too, for one more pass each."""
    needs_attack: ClassVar[bool] = True
    """The training attack runs; without it the adversarial examples are the images themselves."""
    needs_bounds: ClassVar[bool] = False
    """`loss` is given the worst logits that interval bounds allow in `box` (ℓ∞ only)."""
    needs_logits: ClassVar[bool] = True
    """`bounded` looks at the logits of the adversarial examples; without it they are not computed."""
    noisy: ClassVar[bool] = False
    """The examples are x + N(0, σ²I) in place of adversarial ones, and the curriculum's ε is σ."""

    label_smoothing: float = 0.0
    """Share of the label's weight that is spread evenly over all classes (cross entropy terms)."""

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UserError(
                f"label_smoothing={self.label_smoothing}; allowed is a number in [0, 1)"
            )

    def loss(self, adversarial: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        """What the parameters descend, [B].

        Args:
            adversarial: logits [B, K] of the adversarial examples.
            labels: int64 [B].
            clean: logits [B, K] of the images themselves, if `needs_clean`; else None.
        """
        # an objective with `needs_bounds` writes `bounded` instead
        raise TypeError(f"{type(self).__name__} is an objective without a method `loss`; write one")

    def bounded(self, adversarial: Tensor, labels: Tensor, worst: Tensor) -> Tensor:
        """What the parameters descend, [B], if `needs_bounds`.

        Args:
            adversarial: logits [B, K] of the adversarial examples; empty, if not `needs_logits`.
            labels: int64 [B].
            worst: upper bounds on z_j − z_y [B, K] over the box, as logits: their cross entropy is an
                upper bound of that of every image in the box.
        """
        raise TypeError(
            f"{type(self).__name__} needs bounds and has no method `bounded`; write one"
        )

    def box(self, images: Tensor, adversarial: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """The pixels between which bounds are wanted, if `needs_bounds`: ball ∩ [0, 1]."""
        return (images - eps).clamp(min=0), (images + eps).clamp(max=1)

    def bounds(
        self, graph: fx.GraphModule, box: Box, labels: Tensor, left: float
    ) -> tuple[Tensor, Sequence[Box]]:
        """Lower bounds on z_y − z_j [B, K], 0 at j = y, and the boxes before the ReLUs, if
        `needs_bounds`.

        Args:
            graph: of the model (`hardball.certify.intervals.traced`).
            box: of the pixels.
            labels: int64 [B].
            left: 1 − ε ÷ the largest ε.
        """
        return propagated(graph, box, labels, EXACT)

    def penalty(self, box: Box, hidden: Sequence[Box]) -> Tensor:
        """What is added to the loss of each example, times 1 − ε ÷ the largest ε: a scalar, if
        `needs_bounds`.

        Args:
            box: of the pixels [B, ...].
            hidden: before each ReLU.
        """
        return box.low.new_zeros(())

    def prepare(self, model: nn.Module) -> None:
        """Change random initial weights as the objective wants them, before training from scratch."""

    def climbed(self, logits: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        """What the training attack climbs, [B]: the cross entropy unless an objective says otherwise.

        Args:
            logits: [B, K] of the attack's present iterate.
            labels: int64 [B].
            clean: logits [B, K] of the images, without gradient, if `needs_clean`; else None.
        """
        return cross_entropy(logits, labels)

    def smoothed(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy [B] with the label smoothing of this objective."""
        if not self.label_smoothing:
            return cross_entropy(logits, labels)
        smoothing = self.label_smoothing
        return F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=smoothing)
