"""The messages of a training that goes wrong: what happened, at which ε, what to try."""

import math

from hardball.training.curricula import Curriculum


def collapse_message(
    eps: float, epoch: int, loss: float, floor: float, curriculum: Curriculum
) -> str:
    """Collapse: why, and the command to try instead."""
    if curriculum.may_stop:
        cure = (
            "use a smaller increment, or extend from the last good weights: "
            "hardball extend RUN --eps E"
        )
    else:
        cure = (
            f"raise ε slowly instead: hardball train --curriculum iterative --eps {eps:g}, or "
            f"start from weights of a smaller ε: hardball extend RUN --eps {eps:g}"
        )
    return (
        f"collapse at ε={eps:g} in epoch {epoch}: the loss is pinned at {loss:.3f}, that of a "
        f"constant prediction ({floor:.3f}), and one class is predicted; {cure}"
    )


def increase_message(target: float, kept: float, before: float, now: float) -> str:
    """A sudden increase: how far the curriculum came."""
    return (
        f"asked for ε={target:g}, learned up to ε={kept:g}: beyond it the validation adversarial "
        f"loss jumps from {before:.3f} to {now:.3f}; the weights of ε={kept:g} are kept"
    )


def non_finite_message(eps: float, epoch: int, lr: float) -> str:
    """A loss or gradient that is no number."""
    smaller = 10 ** math.floor(math.log10(lr) - 0.5)
    return (
        f"non-finite loss or gradient at ε={eps:g} in epoch {epoch}; stopped before the update, "
        f"the last good weights are kept; try a smaller learning rate, e.g. lr={smaller:g}"
    )
