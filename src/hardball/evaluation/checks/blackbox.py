"""Checks 8 and 10 to 12: attacks that see the model's answers alone, or another model's gradients.

An attack that knows less should not find more. An image counts when one of these breaks it and no
attack that climbs the model's own gradient did, in the evaluation or in the checks before.
"""

from dataclasses import replace

from hardball.attacks import PGD, ARTAttack, Attack, BruteForce, Transfer
from hardball.evaluation.checks.context import Context, NotApplicable, Origin
from hardball.evaluation.checks.limits import MASKED_POINTS, MASKED_SHARE, masked_beyond
from hardball.evaluation.checks.result import Finding, counted

PAPER_SAMPLES, PAPER_IMAGES = 10**8, 128


def unseen(context: Context, name: str, attack: Attack, count: int, **more: float) -> Finding:
    """How many images the attack breaks and no gradient attack did, of those drawn until `count` were
    left to attack."""
    rows, drawn = context.images_claimed(count)
    tried = context.attempt(name, attack, rows)
    beyond_claim = int(tried.broken.sum())
    new = tried.broken & ~context.climbed[rows]
    finding = counted(
        int(new.sum()),
        drawn,
        forwards=tried.forwards,
        backwards=tried.backwards,
        beside={
            "beyond_claim": beyond_claim,
            "attacked": len(rows),
            "seconds": tried.seconds,
            **more,
        },
    )
    return replace(finding, found=f"{finding.found} ({beyond_claim})")


def brute_force(context: Context) -> Finding:
    """Random ±ε in every pixel; and how long the paper's number of samples would take."""
    budget = context.budget
    attack = BruteForce(samples=budget.samples, corners=context.threat.norm != "l0")
    found = unseen(context, "brute-force", attack, budget.sample_images, samples=budget.samples)
    seconds, run = found.measured["seconds"], found.forwards
    hours = PAPER_SAMPLES * PAPER_IMAGES * seconds / max(run, 1) / 3600
    more = {"run": float(run), "hours_for_the_papers": hours}
    return replace(
        found,
        measured=found.measured | more,
        note=f"{run:,} samples were run; the paper's {PAPER_SAMPLES:.0e} on each of {PAPER_IMAGES} "
        f"images would take {hours:,.0f} hours at this speed",
    )


def zoo(context: Context) -> Finding:
    """Finite differences of the logits."""
    budget = context.budget
    attack = ARTAttack(kind="zoo", iterations=budget.zoo_iterations, weight=1e3)
    return unseen(context, "zoo", attack, budget.zoo_images)


def decisions(context: Context) -> Finding:
    """HopSkipJump, which sees the predicted class and nothing else."""
    if context.threat.norm == "l0":
        raise NotApplicable("HopSkipJump knows linf, l2 and unbounded, not l0")
    attack = ARTAttack(kind="hopskipjump", queries=context.budget.hop_queries)
    return unseen(context, "hopskipjump", attack, context.budget.hop_images)


def transfer(context: Context) -> Finding:
    """Examples made on another network."""
    if context.source is None:
        raise NotApplicable("there is no source to transfer from")
    return _transferred(context, "transfer", context.source)


def semi_black_box(context: Context) -> Finding:
    """Examples made on the network whose weights this one started from."""
    if context.origin is None:
        raise NotApplicable("this network was trained from random weights")
    return _transferred(context, "transfer-origin", context.origin)


def _transferred(context: Context, name: str, source: Origin) -> Finding:
    network = source.network()
    if context.is_this(network):
        raise NotApplicable("the source is this network itself")
    attack = Transfer(source=network, attack=PGD(steps=context.budget.transfer_steps, keep="last"))
    return unseen(context, name, attack, context.budget.images)


def black_box_wins(context: Context) -> Finding:
    """All images that some black box breaks and no gradient attack did, the evaluation's included."""
    missed = int((context.blind & ~context.climbed & ~context.claimed).sum())
    n = len(context.data)
    claimed = context.accuracy(context.claimed).value
    limit = masked_beyond(claimed)
    found = counted(missed, n, limit, beside={"claimed": claimed})
    rule = (
        f" ({MASKED_POINTS:.0%} of all images or {MASKED_SHARE:.0%} of those that the claim leaves, "
        "whichever is less)"
    )
    return replace(found, threshold=limit.words(n) + rule)
