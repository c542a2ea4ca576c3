"""Named attacks and named sets of them."""

import re
from collections.abc import Mapping, Sequence
from functools import partial

from hardball import names
from hardball.attacks import (
    AUTOATTACK,
    PGD,
    Attack,
    BehindFront,
    CornerSearch,
    DecayingPGD,
    SquareBehindFront,
    Targeted,
    fgsm,
)
from hardball.errors import UserError, unknown

ATTACKS: dict[str, Attack] = {
    "fgsm": fgsm(),
    "pgd-20": PGD(steps=20),
    "pgd-100": PGD(steps=100),
    "pgd-100-x10": PGD(steps=100, restarts=10),
    "pgd-200": PGD(steps=200),
    "pgd-200-x5": PGD(steps=200, restarts=5),
    "pgd-margin-100": PGD(steps=100, loss="margin"),
    "pgd-margin-100-x5": PGD(steps=100, loss="margin", restarts=5),
    "targeted-pgd-20": Targeted(attack=PGD(steps=20)),
    # the paper's test attacks: 200 signed steps of fixed size, one start
    "paper-mnist": PGD(steps=200, step_size=0.005),
    "paper-cifar10": PGD(steps=200, step_size=2 / 255),
    # apgd-ce, apgd-t, fab-t and square, as in its standard version
    **AUTOATTACK,
    # without gradients, among the corners of the ball; each image has random numbers of its own
    "corner-search": CornerSearch(),
    # on the network behind a front, in the box that is reachable there
    "front-pgd-200": BehindFront(attack=PGD(steps=200)),
    # steps from one end of each interval to the other at first
    "front-pgd-decay-20-x5": BehindFront(attack=DecayingPGD(steps=20, restarts=5, leap=True)),
    "front-pgd-margin-100-x5": BehindFront(attack=PGD(steps=100, loss="margin", restarts=5)),
    "front-targeted-pgd-20": BehindFront(attack=Targeted(attack=PGD(steps=20))),
    "front-square": SquareBehindFront(),
}
"""name → attack. Without a step size, each step is 2.5·ε/steps. Any other PGD has a name, too: `pgd`."""

_PGD = re.compile(
    r"(?P<front>front-)?(?P<targeted>targeted-)?pgd(?P<loss>-margin|-dlr)?(?P<direction>-signed|-raw|-l2)?"
    r"(?P<decay>-decay)?-(?P<steps>[1-9][0-9]{0,6})(-x(?P<restarts>[1-9][0-9]{0,3}))?(@(?P<size>[0-9.e+-]+))?"
)


def pgd(name: str) -> Attack | None:
    """PGD by its name: [front-][targeted-]pgd[-LOSS][-DIRECTION][-decay]-STEPS[-xRESTARTS][@STEP_SIZE].

    front- is the attack on the network behind a front (`BehindFront`), LOSS margin or dlr, DIRECTION
    signed, raw or l2 (see `PGD`), STEP_SIZE in pixel units (a factor on the gradient for raw); with
    decay steps fall linearly to 0, from 2ε or, with a step size, from twice that (`DecayingPGD`):
    pgd-2000, pgd-1000@0.01, pgd-raw-2000@5e4, targeted-pgd-100-x5, front-pgd-decay-20-x5.

    Returns:
        The attack; None if the name is not of this form.

    Raises:
        UserError: a step size that is no positive number.
    """
    found = _PGD.fullmatch(name)
    if found is None:
        return None
    try:
        size = None if found["size"] is None else float(found["size"])
    except ValueError:
        raise UserError(
            f"attack {name!r}: step size {found['size']!r}; write a number, as in pgd-1000@0.01"
        ) from None
    kind = partial(DecayingPGD, leap=True) if found["decay"] else PGD
    plain = kind(
        steps=int(found["steps"]),
        step_size=size,
        restarts=int(found["restarts"] or 1),
        loss=(found["loss"] or "-cross_entropy")[1:],
        direction=(found["direction"] or "-steepest")[1:],
    )
    attack = Targeted(attack=plain) if found["targeted"] else plain
    return BehindFront(attack=attack) if found["front"] else attack


CLAIM = "pgd-200"
"""The paper's measure, one start, 200 signed steps (α = 0.005 at ε = 0.4): what is claimed without a
checklist."""

CHECKLIST = "checklist"
"""The protocol that is followed by the checklist."""

PROTOCOLS: dict[str, tuple[str, ...]] = {
    "quick": ("pgd-20",),
    "paper": ("paper-mnist",),
    "paper-cifar10": ("paper-cifar10",),
    "strong": ("pgd-20", "targeted-pgd-20", "pgd-margin-100", "pgd-100-x10"),
    "autoattack": (CLAIM, "targeted-pgd-20", "pgd-margin-100-x5", *AUTOATTACK),
}
PROTOCOLS[CHECKLIST] = PROTOCOLS["autoattack"]
"""name → names of attacks. `paper` is the MNIST attack of arXiv 2003.13370; `autoattack` is its PGD
(the claim), PGD on two other losses and the standard version of AutoAttack; `checklist` is the same,
followed by the checklist."""


def named(wanted: Sequence[str]) -> Mapping[str, Attack]:
    """The attacks of these names: keys of `ATTACKS`, any PGD (see `pgd`), or "package.module:Name" of
    your own.

    Raises:
        UserError: a name that does not exist, or that is no attack.
    """
    for name in wanted:
        if name in PROTOCOLS and name not in ATTACKS:
            raise UserError(
                f"attack {name!r} is a protocol, a set of attacks; use `protocol={name}`"
            )
    return {name: pgd(name) or names.instance("attack", name, ATTACKS, Attack) for name in wanted}


def protocol(name: str) -> Mapping[str, Attack]:
    """The attacks of a protocol.

    Raises:
        UserError: a name that does not exist.
    """
    if name not in PROTOCOLS:
        if name in ATTACKS or pgd(name):
            raise UserError(f"protocol {name!r} is an attack; use `attacks={name}`")
        raise unknown("protocol", name, PROTOCOLS)
    return named(PROTOCOLS[name])


quick = protocol("quick")
paper = protocol("paper")
strong = protocol("strong")
autoattack = protocol("autoattack")
