"""Does the model give one answer to one image, however it is asked? A model that looks at the batch, or
at whether gradients are taken, can show attacks another face than the count of what they left.

Shapes: P points (images and what broke them), K classes; logits [P, K].
"""

from collections.abc import Callable

import torch
from torch import Tensor

from hardball.evaluation.checks.context import Context
from hardball.evaluation.checks.detectors import NOISE, ROUNDING
from hardball.evaluation.checks.result import Finding
from hardball.evaluation.forward import half_precision
from hardball.isolation import untouched
from hardball.validation import validate_logits

ALONE = 40
"""Points that are asked about one at a time."""


def companions(context: Context) -> Finding:
    """Points alone, in one batch, and in a batch of black images."""
    points = _points(context)[:ALONE]
    with torch.no_grad():
        together = _ask(context, points)
        each = torch.split(points, 1)
        alone = torch.cat([_ask(context, one) for one in each])
        among = [_ask(context, torch.cat([*[torch.zeros_like(one)] * 3, one]))[3:] for one in each]
    return _agree(context, together, [alone, torch.cat(among)], forwards=6 * len(points))


def gradient_mode(context: Context) -> Finding:
    """The same points without gradients, with them, and in inference mode."""
    points = _points(context)
    with torch.no_grad():
        without = _ask(context, points)
    with torch.enable_grad():
        taken = _ask(context, points, lambda part: part.clone().requires_grad_(True))
    with torch.inference_mode():
        inferred = _ask(context, points, torch.clone)
    return _agree(context, without, [taken, inferred.clone()], forwards=3 * len(points))


def _points(context: Context) -> Tensor:
    """Images that are classified right, and what broke them."""
    rows = context.images_right(context.budget.images)
    images, _ = context.tensors(rows)
    broken = rows[context.evaluation.broken_at[rows].isfinite()]
    witnesses = context.evaluation.witnesses
    finds = witnesses[broken.to(witnesses.device)].to(images)
    # turn about, so that a part of them has both
    pairs = min(len(images), len(finds))
    mixed = torch.stack([images[:pairs], finds[:pairs]], dim=1).flatten(0, 1)
    return torch.cat([mixed, images[pairs:], finds[pairs:]])


def _ask(
    context: Context, points: Tensor, prepared: Callable[[Tensor], Tensor] = lambda part: part
) -> Tensor:
    with untouched(context.model):
        found = [
            validate_logits(context.model(prepared(part)), len(part)).detach().double().cpu()
            for part in torch.split(points, context.batch_size)
        ]
    return torch.cat(found)


def _agree(context: Context, first: Tensor, others: list[Tensor], *, forwards: int) -> Finding:
    """No logit differs by more than rounding can make it."""
    half = half_precision(context.model)
    allowed = NOISE if half is None else max(NOISE, ROUNDING * torch.finfo(half).eps)
    scale = first.abs().amax().clamp(min=torch.finfo(torch.float64).tiny)
    differ = torch.zeros(len(first), dtype=torch.bool)
    for other in others:
        # two NaN are the same answer
        change = torch.where(first.isnan() & other.isnan(), 0.0, (first - other).abs() / scale)
        differ |= ((change > allowed) | change.isnan()).any(dim=1)
    count = int(differ.sum())
    return Finding(
        passed=count == 0,
        measured={"count": count, "points": len(first)},
        found=f"{count} of {len(first)}",
        limit="0",
        threshold=f"no logit changes by more than {allowed:g} of the largest",
        forwards=forwards,
    )
