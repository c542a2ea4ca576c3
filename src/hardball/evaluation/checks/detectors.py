"""Detectors of masking beyond the paper's list: looks at the model itself, not at one more attack.

Shapes: R images, K classes, P random points; images [R, C, H, W], logits [R, K], gradients like images.
"""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hardball.attacks import PGD
from hardball.errors import CannotRun, NoGradient
from hardball.evaluation.checks.context import Context
from hardball.evaluation.checks.limits import FEW, MASKED_POINTS, Limit, masked_beyond
from hardball.evaluation.checks.result import Finding, counted
from hardball.isolation import untouched
from hardball.losses import LOSSES, cross_entropy, margin
from hardball.seeding import derive, generators
from hardball.threats import per_example, uniform
from hardball.validation import validate_logits

SOME = Limit(0.05)
"""Five images of a hundred: odd ones exist in every data set."""

LOST = 0.5
"""Share of a gradient's coordinates that underflow before the gradient counts as vanished."""

NOISE = 1e-4
"""Of the largest logit: differences of two passes that rounding on any device stays well below."""

PROBABILITY = 1e-3
"""How far the rows' sums may be from 1 in half precision."""

CHANGE = 1e-3
"""How much a finite difference should change the logits, as a part of the largest: far above
rounding, far below the distance to the network's next kinks."""

ROUNDING = 50.0
"""The same in units of the logits' type's rounding, at least: matters in half precision."""

PULL = 0.05
"""How far a point is drawn from its place towards uniform noise: many pixels lie exactly on the box, and
equal neighbours are a kink of every max-pool."""

DISAGREES = 0.5
"""Relative difference between slope and finite difference at which they contradict each other."""

PATH = 10
"""Points between an image and the end of its FGSM step."""

RISING_STEPS = 20

HALF = Limit(0.5)
"""Of what the claim leaves."""


# --- the gradient


def slopes(context: Context, rows: Tensor, points: Tensor, loss: str) -> tuple[Tensor, Tensor]:
    """(loss [R], its gradient [R, ...]) of `points`, which belong to the examples `rows`; zero in a
    batch through which none flows.

    Raises:
        NoGradient: none flows through any.
    """
    labels = context.tensors(rows)[1]
    losses, gradients, flows = [], [], False
    for part in torch.split(torch.arange(len(rows)), context.batch_size):
        with untouched(context.model), torch.enable_grad():
            point = points[part].detach().requires_grad_(True)
            value = LOSSES[loss](validate_logits(context.model(point), len(point)), labels[part])
            gradient = None
            if value.requires_grad:
                (gradient,) = torch.autograd.grad(value.sum(), point, allow_unused=True)
        flows |= value.requires_grad
        losses.append(value.detach())
        gradients.append(torch.zeros_like(point) if gradient is None else gradient)
    if not flows:
        raise NoGradient("no gradient flows from the model's logits to its images")
    return torch.cat(losses), torch.cat(gradients)


def starts(context: Context, rows: Tensor) -> Tensor:
    """A random start for each example."""
    images, _ = context.tensors(rows)
    return context.threat.sample(images, generators(context.seed, rows.tolist(), 1))


def vanishing_gradients(context: Context) -> Finding:
    """The loss's gradient is zero, or most of it underflows, at the image or at a random start.

    "Most" has the scale of the network: a coordinate has underflowed when the cross entropy's gradient
    is 0 there (or subnormal) and the margin's is not; and where the margin's own gradient is 0
    everywhere, nothing is left to climb.

    A pass through which no gradient flows counts as one of zeros, if others have one.
    """
    rows = context.images_right()
    vanished = torch.zeros(len(rows), dtype=torch.bool)
    absent: NoGradient | None = None
    turns = (context.tensors(rows)[0], starts(context, rows))
    for points in turns:
        try:
            _, gradient = slopes(context, rows, points, "cross_entropy")
            _, scale = slopes(context, rows, points, "margin")
        except NoGradient as error:
            if absent is not None:
                raise
            absent = error
        else:
            vanished |= _vanished(gradient, scale).cpu()
    vanished |= absent is not None
    cost = 4 * len(rows)
    found = _of_right_and_remaining(context, rows, vanished, forwards=cost, backwards=cost)
    left, n = int(found.measured["remaining_count"]), int(found.measured["remaining"])
    if found.passed and left:
        words = f"the loss has no gradient to climb at {left} of the {n} remaining images"
        return replace(found, doubt=words)
    return found


def _of_right_and_remaining(
    context: Context, rows: Tensor, flags: Tensor, *, forwards: int = 0, backwards: int = 0
) -> Finding:
    """A count among the right images `rows`, and among those of them that remain after the attacks, of
    which the figure consists; the finding is of the ones that are worse."""
    left = context.remaining[rows]
    count, n = int((flags & left).sum()), int(left.sum())
    beside = {"remaining_count": count, "remaining": n}
    cost: dict[str, Any] = {"forwards": forwards, "backwards": backwards, "beside": beside}
    found = counted(int(flags.sum()), len(rows), SOME, **cost)
    if found.passed and SOME.exceeded(count, n):
        return replace(counted(count, n, SOME, **cost), found=f"{count} of {n} left")
    return found


def _vanished(gradient: Tensor, scale: Tensor) -> Tensor:
    tiny = torch.finfo(gradient.dtype).tiny
    there = scale.flatten(1) != 0
    lost = there & (gradient.flatten(1).abs() < tiny)
    return lost.sum(dim=1) >= LOST * there.sum(dim=1)


def disagreement(context: Context) -> Finding:
    """The margin's finite difference along its gradient's sign contradicts the gradient: the output is
    a staircase, or the gradient is not the function's.

    Measured near a random start, over a distance that should change the logits by a thousandth.
    """
    rows = context.images_right()
    points = starts(context, rows)
    noise = uniform(points, generators(context.seed, rows.tolist(), 2))
    points = (1 - PULL) * points + PULL * noise
    _, gradient = slopes(context, rows, points, "margin")
    logits = _logits(context, points)
    slope = gradient.double().abs().flatten(1).sum(dim=1)
    change = max(CHANGE, ROUNDING * torch.finfo(logits.dtype).eps)
    wanted = change * logits.double().abs().amax(dim=1)
    # no step is longer than half the box, however small the slope
    size = wanted / torch.maximum(slope, wanted).clamp(min=1e-300) / 2
    step = per_example(size, points).to(points) * gradient.sign()
    labels = context.tensors(rows)[1]
    ahead = margin(_logits(context, points + step), labels).double()
    behind = margin(_logits(context, points - step), labels).double()
    expected, found = 2 * size * slope, ahead - behind
    agree = (found - expected).abs() <= DISAGREES * torch.maximum(found.abs(), expected)
    n = len(rows)
    return _of_right_and_remaining(context, rows, ~agree.cpu(), forwards=4 * n, backwards=n)


def _logits(context: Context, images: Tensor) -> Tensor:
    with torch.no_grad(), untouched(context.model):
        parts = [
            validate_logits(context.model(part), len(part))
            for part in torch.split(images, context.batch_size)
        ]
    return torch.cat(parts)


# --- the outputs


def saturated_outputs(context: Context) -> Finding:
    """Outputs that blind the cross entropy: probabilities instead of logits, or logits so far apart that
    every other class's probability underflows (a gap of 87 in float32), and its gradient with it."""
    rows = context.images_right()
    images, labels = context.tensors(rows)
    logits = _logits(context, images)
    wide = logits.double()
    sums = bool(((wide.sum(dim=1) - 1).abs() < PROBABILITY).all()) and bool((wide >= 0).all())
    gap = -margin(wide, labels)
    far = gap > -math.log(torch.finfo(logits.dtype).tiny)
    zero = cross_entropy(logits, labels) == 0
    blind = torch.ones_like(far) if sums else far
    found = _of_right_and_remaining(context, rows, blind.cpu(), forwards=len(rows))
    more = {
        "probabilities": float(sums),
        "median_gap": float(gap.median()),
        "largest_gap": float(gap.max()),
        "loss_exactly_zero": int(zero.sum()),
    }
    return replace(found, measured=found.measured | more)


def stochastic_outputs(context: Context) -> Finding:
    """Two passes over the same images differ."""
    rows = torch.arange(len(context.data))
    images, _ = context.tensors(rows)
    passes = []
    for turn in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(derive(context.seed, turn))
            passes.append(_logits(context, images).double())
    one, other = passes
    scale = one.abs().amax().clamp(min=torch.finfo(torch.float64).tiny)
    # two NaN are the same answer
    change = torch.where(one.isnan() & other.isnan(), 0.0, (one - other).abs() / scale)
    differ = ((change > NOISE) | change.isnan()).any(dim=1)
    count = int(differ.sum())
    largest = float(change.nan_to_num(1.0).max())
    return Finding(
        passed=count == 0,
        measured={"count": count, "images": len(rows), "largest": largest},
        found=f"{count} of {len(rows)}",
        limit="0",
        threshold=f"no logit changes by more than {NOISE:g} of the largest",
        forwards=2 * len(rows),
    )


# --- the search


def loss_rises(context: Context) -> Finding:
    """The margin at the end of a PGD search, against its start, the image."""
    rows = context.images_right(context.budget.images)
    images, labels = context.tensors(rows)
    climb = PGD(steps=RISING_STEPS, random_start=False, keep="last")
    found = climb(context.model, images, labels, context.threat)
    before = margin(_logits(context, images), labels)
    after = margin(_logits(context, found.examples), labels)
    flat = int((~(after > before)).sum())
    forwards = found.forwards + 2 * len(rows)
    return counted(flat, len(rows), SOME, forwards=forwards, backwards=found.backwards)


def turns_back(context: Context) -> Finding:
    """An image is misclassified on the way of its FGSM step and right again at the end: the
    boundary was bent around the one point that training attacked (catastrophic overfitting; Kim et
    al. 2021, "Understanding catastrophic overfitting")."""
    rows = context.images_right()
    images, labels = context.tensors(rows)
    _, gradient = slopes(context, rows, images, "cross_entropy")
    step = context.threat.radius(images) * context.threat.steepest(gradient)
    on_the_way = torch.zeros(len(rows), dtype=torch.bool, device=images.device)
    for k in range(1, PATH + 1):
        point = context.threat.project(images + step * (k / PATH), images)
        wrong = ~(margin(_logits(context, point), labels) < 0)
        if k < PATH:
            on_the_way |= wrong
    back = int((on_the_way & ~wrong).sum())
    n = len(rows)
    return counted(back, n, FEW, forwards=(PATH + 1) * n, backwards=n)


def step_size(context: Context) -> Finding:
    """The claim's attack with steps four times larger, and with four times as many a quarter the size,
    breaks no more than it does."""
    budget, claim = context.budget, context.claim
    steps = claim.steps or 200
    size = claim.step_size or 2.5 * context.eps / steps
    rows, n = context.images_claimed(budget.restart_images)
    ways = {
        "larger": replace(claim, steps=steps, step_size=4 * size),
        "smaller": replace(claim, steps=4 * steps, step_size=size / 4),
    }
    tried = [
        context.attempt(f"{context.claim_name}-{name}-steps", attack, rows)
        for name, attack in ways.items()
    ]
    counts = {name: int(one.broken.sum()) for name, one in zip(ways, tried, strict=True)}
    limit = masked_beyond(len(rows) / n)
    return counted(
        max(counts.values()),
        n,
        limit,
        forwards=sum(one.forwards for one in tried),
        backwards=sum(one.backwards for one in tried),
        beside=counts,
    )


# --- all attacks together


def claim_falls(context: Context) -> Finding:
    """Stronger attacks of any kind break more than half of what the claim leaves, and that is more
    than ten points of accuracy: the claim was the attack's blindness, not the model's strength."""
    if context.claim_name is None:
        raise CannotRun("nothing is claimed: no PGD could run")
    broken = context.evaluation.broken_at <= context.eps
    lost, left = int((broken & ~context.claimed).sum()), int((~context.claimed).sum())
    n = len(context.data)
    passed = not (HALF.exceeded(lost, left) and Limit(MASKED_POINTS).exceeded(lost, n))
    return Finding(
        passed=passed,
        measured={"count": lost, "images": left},
        found=f"{lost} of {left}",
        limit=f"<{max(HALF.first(left), Limit(MASKED_POINTS).first(n))}",
        threshold=f"{HALF.words(left)}; or {Limit(MASKED_POINTS).words(n)}",
    )
