"""What a model answers before it has been asked anything, to be compared with what it answers later.

Shapes: P points, K classes; points [P, C, H, W], logits [P, K].
"""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hardball.attacks import Classifier
from hardball.data import Dataset
from hardball.errors import CannotRun
from hardball.evaluation.forward import accepting, logits_of
from hardball.isolation import evaluating, untouched
from hardball.seeding import derive, generators
from hardball.threats import ThreatModel

SOME = 40
"""Images whose neighbourhood is asked about."""

PLACE = 9
"""Beside the seed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FirstAnswers:
    """Logits of a copy of the model, made before the model's first pass."""

    points: Tensor
    """Random points of the ball, then the images they are of: a model that repeats its answers near
    images that it has seen knows none of these yet."""
    logits: Tensor


def copied(model: nn.Module) -> nn.Module:
    """A copy of the module as it is now.

    Raises:
        CannotRun: it cannot be copied.
    """
    try:
        copy = deepcopy(model)
    except Exception as error:  # a model's own code may raise anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CannotRun(f"the model cannot be copied: {reason}; pass `fresh`") from error
    if copy is model:
        raise CannotRun("the model cannot be copied: its copy is the model itself; pass `fresh`")
    return copy


def first_answers(
    model: Classifier, data: Dataset, threat: ThreatModel, seed: int, batch_size: int
) -> FirstAnswers | str | None:
    """The answers of a copy, or why there are none; None of what is no module, which has no copy."""
    if not isinstance(model, nn.Module):
        return None
    draws = torch.Generator().manual_seed(derive(seed, PLACE))
    rows = torch.randperm(len(data), generator=draws)[:SOME]
    images = data.images[rows.to(data.images.device)]
    sources = generators(seed, rows.tolist(), PLACE)
    points = torch.cat([threat.sample(images, sources), images])
    try:
        copy = accepting(copied(model), data.images.dtype)
        with evaluating(copy), untouched(copy):
            logits = logits_of(copy, data, points, batch_size)
    except CannotRun as error:
        return str(error)
    return FirstAnswers(points=points, logits=logits)
