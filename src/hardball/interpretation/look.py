"""One image through one network, before and after one attack: what the explorer shows.

Shapes: C channels, H, W, K classes; the image is [C, H, W].
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardball.attacks import Attack
from hardball.interpretation.saliency import loss_gradient
from hardball.isolation import untouched
from hardball.losses import correct
from hardball.perf import measuring
from hardball.seeding import generators
from hardball.threats import ThreatModel
from hardball.validation import validate_images, validate_labels, validate_logits


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What one network sees in an image, and in the image that an attack made of it."""

    label: int
    """The class attacked: the true one, or the one predicted."""
    confidences: Tensor
    """softmax at the image, [K]."""
    attacked_confidences: Tensor
    """softmax at the attacked image, [K]."""
    attacked: Tensor
    """[C, H, W]"""
    perturbation: Tensor
    """attacked − image, [C, H, W]."""
    saliency: Tensor
    """The loss gradient at the image, [C, H, W]."""
    attacked_saliency: Tensor
    """The loss gradient at the attacked image, [C, H, W]."""
    wrong_before: bool
    """The image itself is misclassified (a tie counts); there is then nothing to attack."""
    fooled: bool
    """The attacked image is misclassified."""


def look(
    model: nn.Module,
    image: Tensor,
    attack: Attack,
    threat: ThreatModel,
    *,
    label: int | None = None,
    seed: int = 0,
) -> Look:
    """The image, attacked as in an evaluation; at ε = 0 it stays as it is.

    Args:
        model: images → logits; left as it was, measured in evaluation mode.
        image: [C, H, W] in [0, 1], on the model's device.
        label: the true class; by default the one predicted.
        seed: of the attack's random numbers.

    Raises:
        UserError: an image or label that is none.
        CannotRun: the attack cannot run on this model, norm or machine.
    """
    images = image[None]
    validate_images(images)
    with untouched(model), measuring(model, images):
        before = _logits(model, images)
        classes = len(before)
        target = int(before.argmax()) if label is None else label
        labels = torch.tensor([target], device=image.device)
        validate_labels(labels, 1, classes)
        if float(threat.eps) > 0:
            found = attack(model, images, labels, threat, generator=generators(seed, [0])).examples
        else:
            found = images
        after = _logits(model, found)
        saliency = [loss_gradient(model, each, labels)[0] for each in (images, found)]
    return Look(
        label=target,
        confidences=F.softmax(before, dim=0),
        attacked_confidences=F.softmax(after, dim=0),
        attacked=found[0],
        perturbation=(found - images)[0],
        saliency=saliency[0],
        attacked_saliency=saliency[1],
        wrong_before=not bool(correct(before[None], labels)),
        fooled=not bool(correct(after[None], labels)),
    )


@torch.no_grad()
def _logits(model: nn.Module, images: Tensor) -> Tensor:
    return validate_logits(model(images), 1)[0].float()
