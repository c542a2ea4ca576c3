"""Checks 1 to 7 and those of section 3.3: attacks that climb a gradient, in other ways than the
protocol's.

Each compares with the *reference*: the pointwise worst of the protocol's attacks that climb a gradient.
An image counts when the other way breaks it and the reference did not.
"""

import math
from dataclasses import replace
from itertools import pairwise

from torch import Tensor

from hardball.attacks import PGD, Attack, Targeted, fgsm
from hardball.errors import CannotRun
from hardball.evaluation.checks.context import Context, NotApplicable
from hardball.evaluation.checks.detectors import slopes
from hardball.evaluation.checks.limits import FEW, Limit
from hardball.evaluation.checks.result import Finding, counted
from hardball.threats import Unbounded

RADII = (0.25, 0.5, 0.75, 1.0, 1.5)
"""Of ε, for check 6."""


def beyond(
    context: Context, name: str, attack: Attack, count: int, limit: Limit = FEW, **more: float
) -> Finding:
    """How many images the attack breaks and the reference did not, of those drawn until `count` were
    left to attack."""
    rows, drawn = context.images_claimed(count)
    tried = context.attempt(name, attack, rows)
    beyond_claim = int(tried.broken.sum())
    new = tried.broken & ~context.reference[rows]
    finding = counted(
        int(new.sum()),
        drawn,
        limit,
        forwards=tried.forwards,
        backwards=tried.backwards,
        beside={"beyond_claim": beyond_claim, "attacked": len(rows), **more},
    )
    return replace(finding, found=f"{finding.found} ({beyond_claim})")


def one_step(context: Context) -> Finding:
    """FGSM breaks what PGD does not."""
    return beyond(context, "fgsm", fgsm(), context.budget.images)


def unbounded(context: Context) -> Finding:
    """Without bounds, every image can be turned into another class."""
    if context.threat.norm == "unbounded":
        raise NotApplicable("the threat is unbounded already")
    rows = context.images_right(context.budget.images)
    tried = context.attempt("pgd-200-unbounded", PGD(steps=200), rows, Unbounded())
    left = int((~tried.broken).sum())
    return Finding(
        passed=left == 0,
        measured={"count": left, "images": len(rows)},
        found=f"{left} of {len(rows)} left",
        limit="0",
        threshold="no image is left",
        forwards=tried.forwards,
        backwards=tried.backwards,
    )


def random_start(context: Context) -> Finding:
    """PGD from the image itself, against PGD from a random start."""
    drawn = context.drawn(context.budget.images)
    rows = context.right_among(drawn)
    fixed = replace(context.claim, random_start=False, restarts=1)
    tried = context.attempt(f"{context.claim_name}-no-start", fixed, rows)
    with_start = int(context.claimed[rows].sum())
    without = int(tried.broken.sum())
    return counted(
        abs(with_start - without),
        len(drawn),
        forwards=tried.forwards,
        backwards=tried.backwards,
        beside={"with_start": with_start, "without_start": without},
    )


def restarts(context: Context) -> Finding:
    """Ten random starts."""
    budget = context.budget
    attack = PGD(steps=200, restarts=budget.restarts)
    return beyond(context, f"pgd-200-x{budget.restarts}", attack, budget.restart_images)


def many_steps(context: Context) -> Finding:
    """2000 steps of the same size as the claim's."""
    steps = context.budget.long_steps
    size = context.claim.step_size or 2.5 * context.eps / (context.claim.steps or 200)
    attack = PGD(steps=steps, step_size=size)
    return beyond(context, f"pgd-{steps}", attack, context.budget.long_images)


def monotone(context: Context) -> Finding:
    """Accuracy at several ε, each measured on its own, may not rise with ε."""
    low, high = context.threat.geometry.radii
    if low == high:
        raise NotApplicable(f"the norm {context.threat.norm} has a single radius")
    drawn = context.drawn(context.budget.images)
    rows, n = context.right_among(drawn), len(drawn)
    steps = context.budget.radius_steps
    radii = sorted({min(high, _whole(context, context.eps * share)) for share in RADII})
    radii = [eps for eps in radii if eps > 0]
    tried = [
        context.attempt(f"pgd-{steps}-radius", PGD(steps=steps), rows, context.threat.at(eps))
        for eps in radii
    ]
    remaining = [int((~one.broken).sum()) for one in tried]
    rise = max((larger - smaller for smaller, larger in pairwise(remaining)), default=0)
    finding = counted(
        max(0, rise),
        n,
        forwards=sum(one.forwards for one in tried),
        backwards=sum(one.backwards for one in tried),
        beside={f"eps={eps:.4g}": left / n for eps, left in zip(radii, remaining, strict=True)},
    )
    return replace(finding, found=f"rises {max(0, rise)} of {n}")


def _whole(context: Context, eps: float) -> float:
    return float(math.floor(eps)) if context.threat.norm == "l0" else eps


def targeted(context: Context) -> Finding:
    """PGD towards every wrong class in turn."""
    steps = context.budget.targeted_steps
    attack = Targeted(attack=PGD(steps=steps))
    return beyond(context, f"targeted-pgd-{steps}", attack, context.budget.targeted_images)


def small_steps(context: Context) -> Finding:
    """Many more and smaller steps: 1000 of ε/50."""
    if context.threat.norm == "l0":
        raise NotApplicable("in l0 a coordinate's move has no bound to take a part of")
    steps = context.budget.small_steps
    attack = PGD(steps=steps, step_size=context.eps / 50)
    return beyond(context, f"pgd-{steps}-small", attack, context.budget.small_images)


def raw_gradient(context: Context) -> Finding:
    """Steps along the gradient itself, neither signed nor normalised."""
    steps, count = context.budget.raw_steps, context.budget.raw_images
    factor = raw_factor(context, context.images_claimed(count)[0])
    attack = PGD(steps=steps, step_size=factor, direction="raw")
    return beyond(context, f"pgd-{steps}-raw", attack, count, factor=factor)


def raw_factor(context: Context, rows: Tensor) -> float:
    """α with which nine images of ten move by ε or more in their largest coordinate at first.

    The paper's 50,000 was made for one network; gradients of confident ones are far smaller still.

    Raises:
        NotApplicable: no image left.
        CannotRun: every gradient is zero, or there is none.
    """
    if not len(rows):
        raise NotApplicable("the claim's attack broke every image")
    _, gradient = slopes(context, rows, context.tensors(rows)[0], "cross_entropy")
    top = gradient.double().flatten(1).abs().amax(dim=1)
    low = float(top[top > 0].quantile(0.1)) if bool((top > 0).any()) else 0.0
    size = context.eps if context.threat.norm == "linf" else 1.0
    if not low or not math.isfinite(size / low):
        raise CannotRun("every gradient is zero; no factor makes it move an image")
    return size / low


def euclidean(context: Context) -> Finding:
    """Steps of the other kind: along the gradient at unit ℓ2 length (in ℓ2: along its sign)."""
    side = math.sqrt(context.data.images[0].numel())
    direction, stretch = ("signed", 1 / side) if context.threat.norm == "l2" else ("l2", side)
    if context.threat.norm not in ("linf", "l2"):
        raise NotApplicable(f"compares steps for linf and l2, not {context.threat.norm}")
    attack = PGD(steps=200, step_size=2.5 * context.eps * stretch / 200, direction=direction)
    return beyond(context, f"pgd-200-{direction}-steps", attack, context.budget.images)
