"""What an attack gets to see of a model, and what libraries need besides.

Shapes: B examples; images [B, ...], labels int64 [B], logits [B, K].
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from hardball.attacks.result import Classifier
from hardball.errors import MissingExtra, NoGradient, Unsupported
from hardball.threats import Generator, ThreatModel
from hardball.validation import validate_logits


def extra(module: str, what: str) -> Any:
    """A module of the extra `attacks`.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(
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
        self.classes = 0
        """K, where it is known already."""

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
            logits = validate_logits(self.model(self.original(images)), len(images)).detach()
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
            logits = validate_logits(guarded.model(point), len(point))
        if not logits.requires_grad:
            raise NoGradient(
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
        raise Unsupported(
            f"images of shape {list(shape)}; allowed is [C, H, W] or fewer dimensions"
        )
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
