"""Does the model give one answer to one image, however it is asked? A model that looks at the batch, or
at whether gradients are taken, can show attacks another face than the count of what they left.

Shapes: P points (images, points around them, and what broke them), K classes; logits [P, K].
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hardball.attacks import Classifier
from hardball.evaluation.checks.context import Context
from hardball.evaluation.checks.detectors import NOISE, ROUNDING, starts
from hardball.evaluation.checks.result import Finding, counted
from hardball.evaluation.forward import half_precision
from hardball.isolation import untouched
from hardball.validation import validate_logits

ALONE = 60
"""Points that are asked about one at a time."""


def companions(context: Context) -> Finding:
    """Points alone, in one batch, and in a batch of black images."""
    points = asked_about(context, ALONE // 3)
    with torch.no_grad():
        together = ask(context, context.model, points)
        each = torch.split(points, 1)
        alone = torch.cat([ask(context, context.model, one) for one in each])
        dark = [torch.cat([*[torch.zeros_like(one)] * 3, one]) for one in each]
        among = [ask(context, context.model, batch)[3:] for batch in dark]
    return agree(context, together, [alone, torch.cat(among)], forwards=6 * len(points))


def gradient_mode(context: Context) -> Finding:
    """The same points without gradients, with them, and in inference mode."""
    points = asked_about(context)
    with torch.no_grad():
        without = ask(context, context.model, points)
    with torch.enable_grad():
        taken = ask(context, context.model, points, lambda part: part.clone().requires_grad_(True))
    with torch.inference_mode():
        inferred = ask(context, context.model, points, torch.clone)
    return agree(context, without, [taken, inferred.clone()], forwards=3 * len(points))


def asked_about(context: Context, count: int | None = None) -> Tensor:
    """Up to `count` of each kind (None: all): images that are classified right, a random point of the
    ball around each (where an answer from memory is another one than the network's), and what broke
    images. In turn, so that a part of them has all kinds."""
    rows = context.images_right(count)
    images, _ = context.tensors(rows)
    kinds = [images, starts(context, rows), context.finds(count)[1]]
    shortest = min(map(len, kinds))
    mixed = torch.stack([kind[:shortest] for kind in kinds], dim=1).flatten(0, 1)
    return torch.cat([mixed, *(kind[shortest:] for kind in kinds)])


def ask(
    context: Context,
    model: Classifier,
    points: Tensor,
    prepared: Callable[[Tensor], Tensor] = lambda part: part,
) -> Tensor:
    """Logits float64 [P, K] of a model, on the CPU."""
    with untouched(model):
        found = [
            validate_logits(model(prepared(part)), len(part)).detach().double().cpu()
            for part in torch.split(points, context.batch_size)
        ]
    return torch.cat(found)


def agree(context: Context, first: Tensor, others: list[Tensor], *, forwards: int) -> Finding:
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


def confirmed(context: Context) -> Finding:
    """Finds that attacks report and a forward pass of its own does not confirm: the model shows attacks
    another face than it shows the count of what they left, and the count is of the other face."""
    scores = [score for score in context.evaluation.scores if score.eps <= context.eps]
    # each of them is of another image, those of two attacks may be of the same
    count = max([score.unconfirmed for score in scores] + [int(context.unconfirmed.sum())])
    total = sum(score.unconfirmed for score in scores)
    found = counted(count, len(context.data), beside={"in_all": total})
    words = f"{count} images broken for an attack are right in the pass that counts"
    return found if found.passed else replace(found, doubt=words)
