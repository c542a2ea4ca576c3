"""What other people's attacks get to see of a model, and how their answers are judged.

Shapes: B examples; images [B, ...], labels int64 [B], logits [B, K].
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from hardball.attacks.result import AttackResult, Classifier
from hardball.checks import check_logits
from hardball.errors import UserError
from hardball.losses import correct, margin
from hardball.threats import Generator, ThreatModel


def extra(module: str, what: str) -> Any:
    """A module of the extra `attacks`.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"{what} needs the extra: pip install 'hardball[attacks]' ({error})"
        ) from error


class Guarded:
    """A model as a library may call it: float32 images [B, C, H, W] in, float32 logits out.

    A library that calls `backward()` leaves no gradient in the model's parameters (or anywhere but
    in its images), one that writes into the logits writes into a copy, and every pass is counted.

    Args:
        like: images of the shape, type and place that the model takes.
        least: give at least this many logits: further ones lie 1 below the smallest, so the
            prediction stays and a difference-of-logits ratio, divided by the gap to the third and
            fourth largest, is defined (and rises with the margin).
    """

    def __init__(self, model: Classifier, like: Tensor, *, what: str, least: int = 2) -> None:
        self.model, self.least, self.what = model, least, what
        self.shape, self.dtype, self.device = like.shape[1:], like.dtype, like.device
        self.forwards = self.backwards = 0

    def images(self, images: Tensor) -> Tensor:
        """[B, ...] as the library sees them: contiguous float32 [B, C, H, W]."""
        return images.detach().float().contiguous().view(len(images), *four(self.shape))

    def original(self, images: Tensor) -> Tensor:
        """The library's images as the model takes them."""
        here = images.reshape(len(images), *self.shape)
        return here.to(device=self.device, dtype=self.dtype)

    def __call__(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        if torch.is_grad_enabled() and images.requires_grad:
            logits: Tensor = _InputOnly.apply(images, self)
        else:
            logits = check_logits(self.model(self.original(images)), len(images)).detach()
        logits = logits.to(torch.float32, copy=True)
        absent = self.least - logits.shape[1]
        if absent > 0:
            below = logits.amin(dim=1, keepdim=True) - 1
            logits = torch.cat([logits, below.expand(-1, absent)], dim=1)
        return logits


class _InputOnly(torch.autograd.Function):
    """Logits whose gradient flows to the images and to nothing else the model holds."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, guarded: Guarded) -> Tensor:
        with torch.enable_grad():
            point = guarded.original(images.detach()).requires_grad_(True)
            logits = check_logits(guarded.model(point), len(point))
        if not logits.requires_grad:
            raise UserError(
                f"no gradient flows from the model's logits to its images; {guarded.what} climbs "
                "one: remove no_grad, detach, argmax or rounding from the model, or attack it "
                "without gradients (square)"
            )
        ctx.point, ctx.logits, ctx.guarded, ctx.shape = point, logits, guarded, images.shape
        return logits.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.guarded.backwards += len(ctx.point)
        (gradient,) = torch.autograd.grad(
            ctx.logits, ctx.point, gradients[0].to(ctx.logits), allow_unused=True
        )
        found = torch.zeros_like(ctx.point) if gradient is None else gradient
        return found.reshape(ctx.shape).float(), None


def four(shape: torch.Size) -> tuple[int, int, int]:
    """(C, H, W) of images of any shape: what is missing is 1."""
    if len(shape) > 3:
        raise UserError(f"images of shape {list(shape)}; allowed is [C, H, W] or fewer dimensions")
    channels, height, width = (*(1,) * (3 - len(shape)), *shape)
    return channels, height, width


def seed_of(generator: Generator) -> int:
    """One number for a library that seeds itself. Of one generator per example, the first decides."""
    source = (
        generator if generator is None or isinstance(generator, torch.Generator) else generator[0]
    )
    device = "cpu" if source is None else source.device
    return int(torch.randint(2**31 - 1, (), generator=source, device=device))


def by_eps(threat: ThreatModel, rows: Tensor) -> Iterator[tuple[float, Tensor]]:
    """(ε, those of the rows that have it); ε = 0 moves nothing and is left out."""
    if not len(rows):
        return
    eps = torch.as_tensor(threat.eps)
    if not eps.dim():
        if float(eps):
            yield float(eps), rows
        return
    own = eps.to(rows.device)[rows]
    for value in sorted(set(own.tolist())):
        if value:
            yield value, rows[own == value]


def unattacked(model: Classifier, images: Tensor, labels: Tensor) -> tuple[AttackResult, int]:
    """The images themselves as a result with the margin as its loss, and the number of classes K
    (0 for an empty batch, which the model is not asked about)."""
    if not len(images):
        nothing = images.new_zeros(0, dtype=torch.float32)
        result = AttackResult(
            examples=images.detach().clone(),
            loss=nothing,
            fooled=nothing.bool(),
            forwards=0,
            backwards=0,
        )
        return result, 0
    logits = check_logits(model(images), len(images)).detach()
    result = AttackResult(
        examples=images.detach().clone(),
        loss=margin(logits, labels).float(),
        fooled=~correct(logits, labels),
        forwards=len(images),
        backwards=0,
    )
    return result, logits.shape[1]


def judged(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    candidates: Tensor,
    *,
    forwards: int = 0,
    backwards: int = 0,
) -> AttackResult:
    """What someone else proposes as adversarial examples, brought into ball and box first and then
    classified by a pass of its own: nothing that was claimed is believed. A proposal that is no number
    is replaced by the image.

    Args:
        forwards, backwards: what finding the candidates has cost.
    """
    known = candidates.isfinite().flatten(1).all(dim=1)
    proposed = torch.where(known.view(-1, *(1,) * (images.dim() - 1)), candidates, images)
    examples = threat.project(proposed.to(images), images).detach()
    result, _ = unattacked(model, examples, labels)
    return AttackResult(
        examples=result.examples,
        loss=result.loss,
        fooled=result.fooled,
        forwards=result.forwards + forwards,
        backwards=backwards,
    )
