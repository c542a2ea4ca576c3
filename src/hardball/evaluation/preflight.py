"""Which attacks can run on a model at all, asked before hours are spent; and why others could not."""

from collections.abc import Mapping

import torch

from hardball.attacks import Attack, Classifier
from hardball.data import Dataset
from hardball.errors import CannotRun, Contradiction, UserError
from hardball.evaluation.behind import with_front
from hardball.evaluation.forward import accepting, logits_of
from hardball.isolation import evaluating
from hardball.losses import correct
from hardball.threats import ThreatModel

FAILURES = (UserError, RuntimeError)
"""What a model may raise in the middle of an attack or a check: that one could not run, others may."""


def reason_of(error: Exception) -> str:
    """One line on why something could not run.

    Raises:
        Contradiction: that is what it was; it ends everything.
    """
    if isinstance(error, Contradiction):
        raise error
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    # an error of another process comes with its traceback, whose last line says what it was
    line = lines[-1] if any(one.startswith("Traceback") for one in lines) else lines[0]
    return line.strip()


def usable(
    attacks: Mapping[str, Attack], model: Classifier, data: Dataset, threat: ThreatModel
) -> tuple[dict[str, Attack], list[tuple[str, str]]]:
    """The attacks that run, and (name, reason) of those that do not: a missing package, a model without
    gradients, a norm that an attack does not know.

    The cheapest variant of each is tried on one image, the first classified correctly; where there is
    none, on no image.

    Raises:
        CannotRun: the reason, if none runs.
    """
    can: dict[str, Attack] = {}
    cannot: list[tuple[str, str]] = []
    asked = accepting(model, data.images.dtype)
    with evaluating(model):
        few = data.rows(slice(0, 256))
        right = correct(logits_of(asked, few, few.images, 256), few.labels.cpu())
        row = right.nonzero().flatten()[:1].to(few.images.device)
        images, labels = few.images[row], few.labels[row]
        for name, attack in with_front(attacks, model, threat.norm).items():
            try:
                attack.cheapest()(asked, images, labels, threat, generator=torch.Generator())
            except (CannotRun, RuntimeError) as error:
                cannot.append((name, reason_of(error)))
            else:
                can[name] = attack
    if not can:
        raise CannotRun(cannot[0][1])
    return can, cannot
