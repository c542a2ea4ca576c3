"""The active test: an adversarial example is planted, and the attack has to find one.

After Zimmermann, Brendel, Tramèr and Carlini, "Increasing confidence in adversarial robustness
evaluations" (2022): a network may resist because it is robust or because the attack is blind; where an
adversarial example is known to exist, only blindness remains.

Shapes: R images, P points around each, K classes; logits [R, P, K].
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hardball.attacks import Classifier
from hardball.evaluation.checks.context import Context, NotApplicable
from hardball.evaluation.checks.limits import Limit
from hardball.evaluation.checks.result import Finding, counted
from hardball.isolation import untouched
from hardball.seeding import generators
from hardball.threats import ThreatModel, gaussian
from hardball.validation import validate_logits

INNER = 200
"""Random points of the ball that must stay on the image's side."""

STILL = 1e-3
"""A logit that hardly moves among the inner points is taken to have this part of the mean variance."""

OUTER = 20
"""Points on the ball's surface, of which the most different one is planted."""

SPREAD = 8.0
"""Logit between the image and the planted point: enough to be decided, too little to saturate."""

MISSED = Limit(0.10)
"""Of the planted examples. MNIST networks of which AutoAttack took a tenth of the claim missed one in
twenty; one that lost three quarters of it, half."""


@dataclass(frozen=True, kw_only=True)
class Readout:
    """For each image a classifier of two classes on top of the model's logits: class 1 where
    weightᵀ·logits + bias > 0, which holds at the planted point and nowhere else that is known."""

    model: Classifier
    weight: Tensor
    """[R, K]."""
    bias: Tensor
    """[R]."""

    def __call__(self, images: Tensor) -> Tensor:
        """[R, ...], the images in their order → logits [R, 2]."""
        logits = validate_logits(self.model(images), len(images))
        score = (logits.double() * self.weight).sum(dim=1) + self.bias
        return torch.stack([-score / 2, score / 2], dim=1)


def planted(context: Context) -> Finding:
    """Around each image, a linear readout of the model's logits is made that calls the image and 200
    random points of the ball 0, and one point of the ball's surface 1. The claim's attack, made to
    look for a 1, has to find one: it need only climb what the random points did not reach.
    """
    if context.threat.norm == "l0":
        raise NotApplicable("in l0 PGD is a heuristic that misses planted examples of any network")
    rows = context.images_right(context.budget.planted_images)
    attack = replace(context.claim, keep="last", restarts=1)
    sought = missed = forwards = backwards = 0
    for batch in torch.split(rows, context.batch_size):
        made, possible = readouts(context, batch)
        forwards += len(batch) * (INNER + OUTER + 1)
        part = batch[possible]
        if not len(part):
            continue
        images, _ = context.tensors(part)
        zeros = torch.zeros(len(part), dtype=torch.int64, device=images.device)
        with untouched(context.model):
            found = attack(
                made,
                images,
                zeros,
                context.threat,
                generator=generators(context.seed, part.tolist(), 2),
            )
        sought += len(part)
        missed += int((~found.fooled).sum())
        forwards, backwards = forwards + found.forwards, backwards + found.backwards
    if not sought:
        raise NotApplicable("no logit moves inside the ball: nothing can be planted")
    return counted(missed, sought, MISSED, forwards=forwards, backwards=backwards)


def readouts(context: Context, rows: Tensor) -> tuple[Readout, Tensor]:
    """The readouts of those examples that one can be made for, and which these are, bool [R].

    The weight of a logit is how far the planted point lies from the mean of the inner points, in
    units of their variance; the bias lies half way between the planted point and the highest other.
    """
    images, _ = context.tensors(rows)
    inner = torch.cat([_around(context, images, rows, INNER, inside=True), images[:, None]], dim=1)
    outer = _around(context, images, rows, OUTER, inside=False)
    inner_logits, outer_logits = _logits(context, inner), _logits(context, outer)
    mean, variance = inner_logits.mean(dim=1), inner_logits.var(dim=1)
    typical = variance.mean(dim=1, keepdim=True)
    known = typical.squeeze(1) > 0
    floor = torch.where(typical > 0, STILL * typical, 1.0)
    away = (outer_logits - mean[:, None]) / torch.maximum(variance, floor)[:, None]
    distance = (away * (outer_logits - mean[:, None])).sum(dim=2)
    pick = distance.nan_to_num(-1.0).argmax(dim=1)
    place = torch.arange(len(rows), device=mean.device)
    weight = away[place, pick]
    highest = (inner_logits @ weight[:, :, None]).squeeze(2).amax(dim=1)
    score = (outer_logits[place, pick] * weight).sum(dim=1)
    at_image = (inner_logits[:, -1] * weight).sum(dim=1)
    known &= (score > highest) & score.isfinite()
    scale = SPREAD / (score - at_image)
    bias = -(score + highest) / 2 * scale
    made = Readout(model=context.model, weight=(weight * scale[:, None])[known], bias=bias[known])
    return made, known.cpu()


def _around(context: Context, images: Tensor, rows: Tensor, count: int, *, inside: bool) -> Tensor:
    """[R, count, ...]: random points of the ball, or of its surface."""
    threat: ThreatModel = context.threat
    sources = generators(context.seed, rows.tolist(), 3 if inside else 4)
    points = []
    for _ in range(count):
        if inside:
            points.append(threat.sample(images, sources))
        else:
            # far outside and back: a corner in ℓ∞, the sphere in ℓ2
            points.append(threat.project(images + gaussian(images, sources).sign(), images))
    return torch.stack(points, dim=1)


def _logits(context: Context, points: Tensor) -> Tensor:
    """float64 [R, P, K] of [R, P, ...]."""
    with torch.no_grad(), untouched(context.model):
        found = [
            context.model(part) for part in torch.split(points.flatten(0, 1), context.batch_size)
        ]
    return torch.cat(found).double().reshape(*points.shape[:2], -1)
