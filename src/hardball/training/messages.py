"""The messages of a training that goes wrong: what happened, at which ε, what to try."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hardball.runs import COLLAPSED, FINISHED, NON_FINITE, STOPPED, Outcome
from hardball.training.curricula import Adaptive, Curriculum
from hardball.training.curricula.steering import State


def unchanged(text: str) -> str:
    """The words of adversarial training."""
    return text


def of_noise(text: str) -> str:
    """What is said of ε and attacks, said of σ and noise."""
    for word, instead in NOISE_WORDS.items():
        text = text.replace(word, instead)
    return text


NOISE_WORDS = {
    "ε": "σ",
    "--eps-max": "--noise",
    "--eps": "--noise",
    "adversarial loss": "loss under noise",
    "adv=": "noise=",
}


def collapse_message(
    eps: float,
    epoch: int,
    loss: float,
    floor: float,
    curriculum: Curriculum,
    *,
    bounds: bool = False,
) -> str:
    """Collapse: why, and the command to try instead.

    Args:
        bounds: the loss is one of bounds, which a slow ramp alone may not help in a deep network.
    """
    if bounds:
        cure = (
            "bounds of random weights say nothing: raise ε slowly from 0 (--curriculum iterative "
            "--ramp-epochs 20 --per step --may-stop false), and for a network of many layers add "
            "--model-args '{batch_norm: true}' --objective.init true --objective.regularise 0.5"
        )
    elif curriculum.may_stop:
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


def probe_message(outcome: Outcome) -> str:
    """What the probe at the end of a training found; of masked weights, what to do."""
    assert outcome.probe is not None
    eps = f"{outcome.eps:g}"
    found = f"probe of {outcome.probe['n']} held-out images at ε={eps}: {outcome.withstood}"
    if not outcome.masked:
        return found
    return (
        f"{found}: masked, so the accuracy under the training attack means nothing here; evaluate the "
        "weights (hardball evaluate RUN --protocol checklist), or look for the largest ε that is "
        f"learned: hardball train --curriculum adaptive --eps {eps}"
    )


def search_outcome(
    state: State, curriculum: Adaptive, ladder: Sequence[Mapping[str, Any]]
) -> tuple[str, str]:
    """How an adaptive curriculum ended: status and message."""
    asked = f"asked for up to ε={curriculum.eps_max:g}"
    if state.learned is None:
        status = NON_FINITE if state.how == "non-finite" else COLLAPSED
        why = f"{state.how} at ε={state.trial:g}" if state.how else "the budget ended first"
        return status, (
            f"{asked}, learned nothing: {why}; start from weights of a smaller ε (hardball extend RUN), "
            "try a smaller learning rate or raise the budget"
        )
    probed = next((r["probe"] for r in ladder if r["eps"] == state.learned), None)
    said = f" (probe accuracy {probed['accuracy']:.1%})" if probed else ""
    learned = f"{asked}, learned ε={state.learned:g}{said} in {state.epochs} epochs"
    if state.learned >= curriculum.eps_max:
        return FINISHED, learned
    kept = f"the weights of ε={state.learned:g} are kept"
    if state.failed is None:
        return STOPPED, f"{learned}; the budget ended before anything failed: raise it; {kept}"
    failed = f"{learned}; it failed at ε={state.failed:g} by {state.how}"
    if state.how != "non-finite" and state.increment >= curriculum.least_increment:
        failed += ", and the budget ended before smaller increments were tried"
    return STOPPED, f"{failed}; {kept}"
