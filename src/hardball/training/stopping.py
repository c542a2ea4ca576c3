"""Three ways a training goes wrong, each noticed from numbers that are there anyway.

*Non-finite*: a loss or gradient that is no number. *Collapse*: the loss is pinned at that of the
best constant prediction and one class is predicted. *Sudden increase*: the curriculum asked for
more than the network can learn. All are recorded outcomes; the last good weights are kept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from hardball.errors import UserError, unknown

PINNED = 0.05
"""Collapse: the loss lies within this share of the constant predictor's loss (or above it) …"""
ONE_CLASS = 0.9
"""… and on average this share of a batch is predicted as one class."""

WARM_UP = 50
"""Updates before a collapse is believed: every network starts at the constant predictor's loss."""


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """What ends a training early.

    Example:
        >>> hb.Stopping(on_collapse="continue").collapse_patience
        3
    """

    on_collapse: Literal["stop", "continue"] = "stop"
    """Stop when the loss stays pinned at that of a constant prediction, or go on regardless."""
    collapse_patience: int = 3
    """Collapsed epochs in a row after which on_collapse acts."""

    def __post_init__(self) -> None:
        if self.on_collapse not in ("stop", "continue"):
            raise unknown("on_collapse", self.on_collapse, ("stop", "continue"))
        if self.collapse_patience < 1:
            raise UserError(f"collapse_patience={self.collapse_patience}; allowed is 1 or more")


def constant_loss(labels: Tensor, classes: int) -> float:
    """The least cross entropy of a prediction that ignores its input: the entropy of the labels
    (ln classes where they are balanced)."""
    share = torch.bincount(labels, minlength=classes).double() / max(1, len(labels))
    return float(-torch.special.xlogy(share, share).sum())


def collapsed(loss: float, one_class: float, floor: float) -> bool:
    """True if the adversarial `loss` and the mean share `one_class` of a batch's most predicted
    class are those of a constant predictor, whose loss is `floor`.

    Both are needed: a healthy run at a hard ε may pass through the same loss with varied
    predictions, and a data set of almost one class is predicted so by a healthy network, below the
    floor.
    """
    return loss >= (1 - PINNED) * floor and one_class >= ONE_CLASS


def sudden_increase(losses: Sequence[float], classes: int) -> int | None:
    """The index of the last good epoch if the validation adversarial loss has jumped, else None.

    The written rule for the paper's "significant sudden increase" (its Figure 7). A growing ε makes
    the loss rise anyway, so what counts is a rise out of proportion: an epoch is high when its loss
    exceeds that of the epoch before by more than three times the largest change between neighbours
    among the five epochs before it, and by more than 2% of ln(classes). One high epoch may be
    noise; when the next one lies above the same limit too, the run stops, and the epoch before both
    is the last good one.
    """
    first = len(losses) - 2
    before = losses[max(0, first - 5) : first]
    if len(before) < 3:
        return None
    largest_change = max(abs(b - a) for a, b in pairwise(before))
    limit = before[-1] + max(0.02 * math.log(classes), 3 * largest_change)
    return first - 1 if min(losses[first:]) > limit else None


def good_before_increase(losses: Sequence[float], classes: int) -> bool:
    """False while the newest epoch is high in the sense above: its weights must wait for the next
    epoch's verdict before they may count as good."""
    return sudden_increase([*losses, math.inf], classes) is None
