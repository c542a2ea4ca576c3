"""What the tests of the checks share: a budget for tiny models, and a context for them."""

import warnings
from dataclasses import replace

import torch

from hardball import PGD, ThreatModel, evaluate
from hardball.evaluation.checks.budget import BUDGETS
from hardball.evaluation.checks.context import Context, Origin
from hardball.evaluation.execution import Execution
from hardball.evaluation.protocols import CLAIM
from hardball.evaluation.sanity import Doubt

SMALL = replace(
    BUDGETS["quick"],
    images=20,
    restarts=3,
    restart_images=6,
    long_steps=300,
    long_images=6,
    radius_steps=10,
    targeted_steps=10,
    targeted_images=6,
    samples=256,
    sample_images=6,
    distortion_steps=10,
    distortion_images=10,
    zoo_iterations=10,
    zoo_images=4,
    hop_queries=1000,
    hop_images=3,
    transfer_steps=20,
    small_steps=60,
    small_images=6,
    raw_steps=60,
    raw_images=6,
    planted_images=10,
)
LINF = ThreatModel("linf", 0.1)

WEAK = PGD(steps=1, step_size=1e-3, random_start=False)
"""Finds nothing, so whatever any other attack breaks is news."""


def measured(model, data, threat=LINF, attacks=None, **more):
    """An evaluation; the claim's attack alone, unless others are given."""
    with warnings.catch_warnings(action="ignore", category=Doubt):
        how = {
            "eps": threat.eps,
            "norm": threat.norm,
            "attacks": attacks or {CLAIM: PGD(steps=200)},
        }
        return evaluate(model, data, **(how | more))


def context(model, data, threat=LINF, claim=None, budget=SMALL, batch_size=128, **more):
    """A context after an evaluation by the claim's attack."""
    found = measured(model, data, threat, {CLAIM: claim or PGD(steps=50)})
    execution = Execution(model, data, batch_size=batch_size)
    return Context(execution, threat, found, claim=CLAIM, budget=budget, **more)


def origin(model, name="other"):
    return Origin(name=name, model=model)


def first(data, count):
    return data.rows(slice(0, count))


def grey(data, count=20):
    """Images of class 0 of 2, all alike: whatever a model makes of one, it makes of all."""
    return replace(
        data,
        images=torch.full((count, 1, 8, 8), 0.5),
        labels=torch.zeros(count, dtype=torch.int64),
        classes=2,
    )


def along_first_pixel(margin):
    """A model whose margin is a function of how far the first pixel has moved from grey."""

    def model(images):
        loss = margin(images[:, 0, 0, 0] - 0.5)
        return torch.stack([-loss, 0 * loss], dim=1) + 0 * images.flatten(1).sum(1, keepdim=True)

    return model
