"""The call that all certificates share, and what a certificate says of itself.

Shapes: B examples, K classes; images [B, ...], labels int64 [B], logits [B, K].
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hardball.errors import UserError
from hardball.fingerprint import described
from hardball.isolation import untouched
from hardball.threats import ThreatModel
from hardball.validation import validate_images, validate_labels


class Certificate:
    """A lower bound on robust accuracy: derive from this class and write `certify`.

    Everything around it is here: images and labels are validated; the model is left as it was
    (parameters, modes, buffers, global random states); and what comes back is seen to be one bool for
    each example. A frozen dataclass describes itself by its fields.
    """

    def description(self) -> Any:
        """Parameters as JSON. Two certificates with the same description prove the same."""
        return described(self)

    def validate(self, images: Tensor, threat: ThreatModel) -> None:
        """Refuse what this certificate cannot do.

        Raises:
            Unsupported: a norm, or images of a shape, that it does not know.
            MissingExtra: a package that it needs.
        """

    def certify(
        self,
        model: Callable[[Tensor], Tensor],
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
    ) -> Tensor:
        """Which examples are proved. The one method to write.

        Args:
            model: images [B, ...] → logits [B, K], in evaluation mode.
            images: [B, ...] in [0, 1], B ≥ 1; not to be modified.
            labels: the true classes, int64 [B].
            threat: norm and ε.

        Returns:
            bool [B]: True where no x' in ball ∩ box is misclassified, x' = x included; the
            arithmetic's rounding must be allowed for. False where that is not known.
        """
        raise TypeError(
            f"{type(self).__name__} is a certificate without a method `certify`; write one"
        )

    def __call__(
        self,
        model: Callable[[Tensor], Tensor],
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
    ) -> Tensor:
        """Certify a batch of any size, also an empty one; bool [B].

        Raises:
            UserError: images or labels that are not as described, or an answer that is no bool [B].
            CannotRun: the certificate cannot run on this model or norm.
        """
        validate_images(images)
        validate_labels(labels, len(images))
        self.validate(images, threat)
        if not len(images):
            return torch.zeros(0, dtype=torch.bool, device=images.device)
        with untouched(model), torch.no_grad():
            found = self.certify(model, images, labels, threat)
        return _one_bool_each(found, len(images), type(self).__name__)


def _one_bool_each(found: object, count: int, name: str) -> Tensor:
    if not isinstance(found, Tensor) or found.dtype != torch.bool or found.shape != (count,):
        what = (
            f"{found.dtype} of shape {list(found.shape)}"
            if isinstance(found, Tensor)
            else type(found).__name__
        )
        raise UserError(
            f"the certificate {name} returned {what} for {count} images; return a bool tensor [B]"
        )
    return found
