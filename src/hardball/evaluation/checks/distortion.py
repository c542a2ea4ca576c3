"""Check 9: how far must each image move?"""

import math

from torch import Tensor

from hardball.attacks import PGD, Classifier, minimum_distortion
from hardball.attacks.minimum_norm import Distortion
from hardball.evaluation.checks.context import Context, NotApplicable
from hardball.evaluation.checks.result import Finding
from hardball.perf import measuring
from hardball.seeding import generators

PARTS = 100
"""The bracket's final width is this part of ε."""

REACH = 4.0
"""Times ε: how far is looked, where the norm has no largest radius."""

NAME = "minimum-distortion"


def smallest_distortion(context: Context) -> Finding:
    """The median of the smallest distortions against the base's, the same attack for both.

    Each is an upper bound, by bisection. The distortion that breaks every image, which the paper
    compares, is reported too; but a single image decides it, and so it decides nothing here.
    """
    if context.base is None:
        raise NotApplicable("there is no base to compare with")
    base = context.base.network()
    if context.is_this(base):
        raise NotApplicable("the base is this network itself")
    if context.threat.norm == "unbounded":
        raise NotApplicable("the norm unbounded has a single radius")
    rows = context.drawn(context.budget.distortion_images)
    ours, theirs = (_measured(context, model, rows) for model in (context.model, base))
    broken = ours.radius <= context.eps
    context.note(NAME, rows[broken], ours.witnesses[broken].cpu(), ours.radius[broken], True)
    sizes = {
        "median": ours.median,
        "largest": ours.largest,
        "median_of_base": theirs.median,
        "largest_of_base": theirs.largest,
    }
    return Finding(
        passed=ours.median > theirs.median,
        measured={"images": len(rows)} | {k: v for k, v in sizes.items() if math.isfinite(v)},
        found=f"{ours.median:.2g}, all {ours.largest:.2g}",
        limit=f">{theirs.median:.2g}, all {theirs.largest:.2g}",
        threshold=f"the median of {len(rows)} images exceeds the base's",
        forwards=ours.forwards + theirs.forwards,
        backwards=ours.backwards + theirs.backwards,
    )


def _measured(context: Context, model: Classifier, rows: Tensor) -> Distortion:
    images, labels = context.tensors(rows)
    _, high = context.threat.geometry.radii
    whole = context.threat.norm == "l0"
    with measuring(model, images):
        return minimum_distortion(
            model,
            images,
            labels,
            context.threat.norm,
            attack=PGD(steps=context.budget.distortion_steps),
            upper=high if math.isfinite(high) else REACH * context.eps,
            tolerance=1.0 if whole else context.eps / PARTS,
            generator=generators(context.seed, rows.tolist(), 5),
            batch_size=context.batch_size,
        )
