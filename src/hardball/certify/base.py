"""The call that all certificates share, and what a certificate says of itself.

Shapes: B examples, K classes; images [B, ...], labels int64 [B], logits [B, K].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hardball.errors import UserError
from hardball.fingerprint import described
from hardball.isolation import untouched
from hardball.threats import ThreatModel
from hardball.validation import validate_images, validate_labels


@dataclass(frozen=True, kw_only=True)
class Proved:
    """What a certificate said of B examples."""

    certified: Tensor
    """bool [B]."""
    margins: Tensor | None
    """float64 [B], lower bounds on min over j ≠ y of z_y − z_j; None where it has none."""


class Certificate:
    """A lower bound on robust accuracy: derive from this class and write `certify`, or `margins`.

    Everything around it is here: images and labels are validated; the model is left as it was
    (parameters, modes, buffers, global random states); and what comes back is seen to be one bool for
    each example. A frozen dataclass describes itself by its fields.

    Example:
        >>> class Nothing(hb.Certificate):
        ...     def certify(self, model, images, labels, threat):
        ...         return torch.zeros(len(images), dtype=torch.bool)
        >>> found = hb.evaluate(
        ...     model, test, eps=0.1, attacks={"fgsm": hb.fgsm()}, certify={"nothing": Nothing()}
        ... )
        >>> found.certified[0.1].value
        0.0
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
        """Which examples are proved. The one method to write, unless `margins` is written: then those
        whose margin is positive.

        Args:
            model: images [B, ...] → logits [B, K], in evaluation mode.
            images: [B, ...] in [0, 1], B ≥ 1; not to be modified.
            labels: the true classes, int64 [B].
            threat: norm and ε.

        Returns:
            bool [B]: True where no x' in ball ∩ box is misclassified, x' = x included; the
            arithmetic's rounding must be allowed for. False where that is not known.
        """
        margins = self.margins(model, images, labels, threat)
        if margins is None:
            raise TypeError(
                f"{type(self).__name__} is a certificate without a method `certify`; write one"
            )
        return margins > 0

    def margins(
        self,
        model: Callable[[Tensor], Tensor],
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
    ) -> Tensor | None:
        """Lower bounds on min over j ≠ y of z_y − z_j in ball ∩ box, float64 [B], for a certificate
        that has such: an evaluation stores them for each image. They decide then, not `certify`.

        Args: as `certify`.
        """
        return None

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
        return self.proved(model, images, labels, threat).certified

    def proved(
        self,
        model: Callable[[Tensor], Tensor],
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
    ) -> Proved:
        """The same with the margins, where there are such.

        Raises: as `__call__`.
        """
        validate_images(images)
        validate_labels(labels, len(images))
        self.validate(images, threat)
        if not len(images):
            return Proved(
                certified=torch.zeros(0, dtype=torch.bool, device=images.device),
                margins=torch.zeros(0, dtype=torch.float64, device=images.device),
            )
        with untouched(model), torch.no_grad():
            margins = self.margins(model, images, labels, threat)
            found = margins > 0 if margins is not None else None
            if found is None:
                found = self.certify(model, images, labels, threat)
        name = type(self).__name__
        return Proved(certified=_one_bool_each(found, len(images), name), margins=margins)


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
