"""Does the model answer from what it has seen? One that remembers earlier passes can be honest while
it is looked at, and answer later, or near images that it knows, as it likes.

Shapes: P points; logits [P, K].
"""

from contextlib import suppress

import torch
from torch import Tensor, nn

from hardball.attacks import PGD
from hardball.errors import CannotRun, NoGradient
from hardball.evaluation.checks import consistency
from hardball.evaluation.checks.context import Context, NotApplicable
from hardball.evaluation.checks.detectors import RISING_STEPS, starts
from hardball.evaluation.checks.result import Finding
from hardball.evaluation.checks.state import differing, state_of
from hardball.evaluation.first import FirstAnswers
from hardball.evaluation.forward import accepting
from hardball.isolation import evaluating, untouched
from hardball.seeding import generators
from hardball.threats import uniform


def fresh_copy(context: Context) -> Finding:
    """The model built anew, with no earlier pass, gives the same logits.

    It is asked about attacked images first (random points of the ball, where a search ends, what broke
    images), and about the images as they are only then. Where it cannot be built anew, the answers count
    that a copy gave before the evaluation's first pass: to random points, then to images.
    """
    first = context.evaluation.first
    if context.fresh is not None:
        points = _attacked_first(context)
        other = context.fresh()
        if isinstance(other, nn.Module):
            other = accepting(other, context.data.images.dtype)
        with torch.no_grad(), evaluating(other):
            answers = consistency.ask(context, other, points)
    elif isinstance(first, FirstAnswers):
        points, answers = first.points, first.logits.double()
    elif first is None:
        raise NotApplicable("there is no copy of a model that is no torch.nn.Module; pass `fresh`")
    else:
        raise CannotRun(first)
    with torch.no_grad():
        known = consistency.ask(context, context.model, points)
    return consistency.agree(context, known, [answers], forwards=2 * len(points))


def _attacked_first(context: Context) -> Tensor:
    """What the copy is asked about, in this order."""
    rows = context.images_right(context.budget.images)
    images, labels = context.tensors(rows)
    attacked = [starts(context, rows)]
    with suppress(NoGradient, RuntimeError):  # then random points must do
        search = PGD(steps=RISING_STEPS, keep="last")
        draws = generators(context.seed, rows.tolist(), 8)
        attacked.append(
            search(context.model, images, labels, context.threat, generator=draws).examples
        )
    attacked.append(context.finds(context.budget.images)[1])
    return torch.cat([*attacked, images])


def unchanged(context: Context) -> Finding:
    """A pass over images changes nothing that the model keeps: no buffer, no attribute, no variable of
    its functions and modules. The pass is over images that it knows, and over noise, which it has not
    seen."""
    if not isinstance(context.model, nn.Module):
        raise NotApplicable("the model is no torch.nn.Module, whose attributes could be compared")
    rows = context.images_right(context.budget.images)
    images, _ = context.tensors(rows)
    noise = uniform(images, generators(context.seed, rows.tolist(), 7))
    points = torch.cat([images, starts(context, rows), noise])
    with untouched(context.model), torch.no_grad():
        before = state_of(context.model)
        for part in torch.split(points, context.batch_size):
            context.model(part)
        changed = differing(before, state_of(context.model))
    return Finding(
        passed=not changed,
        measured={"count": len(changed), "places": len(before)},
        found=f"{len(changed)} changed",
        limit="0",
        threshold="nothing changes in a pass",
        note=f"changed: {', '.join(changed[:5])}" if changed else "",
        forwards=len(points),
    )
