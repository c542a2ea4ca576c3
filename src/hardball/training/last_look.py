"""A last look at a training that has ended: do its weights withstand more than the attack they know?

Validation asks with the training attack, which a network can learn to hide from (masking). The probe
of the adaptive curriculum asks with others.
"""

import math
from dataclasses import replace

from hardball.data import Dataset
from hardball.seeding import derive
from hardball.threats import ThreatModel
from hardball.training.curricula.adaptive import ABOVE_CHANCE, MASKED
from hardball.training.curricula.steering import Probe
from hardball.training.probe import SEED, ProbePlan, probe
from hardball.training.update import Update

MOST = 100
"""Images, unless a number is asked for …"""
SHARE = 0.02
"""… and as many as this share of the training's cost pays for …"""
LEAST = 20
"""… but none where that is fewer: they would say nothing."""


def last_look(
    asked: int | None, update: Update, held: Dataset, threat: ThreatModel, *, passes: float
) -> Probe | None:
    """Probe the weights in the model. All processes call this.

    Args:
        asked: images; None for `MOST`, or fewer where the training was short.
        held: the validation part.
        passes: what the training took, in passes of one image forward and backward.

    Returns:
        What the probe found; None if there was no image to ask.
    """
    settings, eps = update.settings, float(threat.eps)
    if eps == 0 or settings.objective.noisy:
        return None
    one = ProbePlan(images=1, steps=None, restarts=1)
    each = one.cost(settings.attack, eps, settings.norm, len(held))
    affordable = min(MOST, len(held), int(SHARE * passes / each))
    images = asked if asked is not None else affordable * (affordable >= LEAST)
    if images == 0:
        return None
    seed = derive(settings.seed, 0, 0, SEED)
    return probe(replace(one, images=images), update, held, threat, seed=seed)


def is_masked(found: Probe, chance: float) -> bool:
    """Under the training attack the network has learned something, and the probe takes it away.

    Args:
        chance: accuracy of the best constant prediction. On few images it is exceeded by luck: what
            counts is two standard deviations above it, and `ABOVE_CHANCE` at least.
    """
    luck = 2 * math.sqrt(chance * (1 - chance) / found.n)
    learned = found.trained >= chance + max(ABOVE_CHANCE, luck)
    return learned and found.hides(MASKED, chance)
