"""Named attacks and named sets of them."""

from collections.abc import Mapping, Sequence

from hardball import names
from hardball.attacks import AUTOATTACK, PGD, Attack, Targeted, fgsm
from hardball.errors import unknown

ATTACKS: dict[str, Attack] = {
    "fgsm": fgsm(),
    "pgd-20": PGD(steps=20),
    "pgd-50-x5": PGD(steps=50, restarts=5),
    "pgd-100": PGD(steps=100),
    "pgd-100-x10": PGD(steps=100, restarts=10),
    "pgd-200": PGD(steps=200),
    "pgd-200-x5": PGD(steps=200, restarts=5),
    "pgd-margin-100": PGD(steps=100, loss="margin"),
    "pgd-margin-100-x5": PGD(steps=100, loss="margin", restarts=5),
    "targeted-pgd-20": Targeted(attack=PGD(steps=20)),
    "targeted-pgd-50": Targeted(attack=PGD(steps=50)),
    # the paper's test attacks: 200 signed steps of fixed size, one start
    "paper-mnist": PGD(steps=200, step_size=0.005),
    "paper-cifar10": PGD(steps=200, step_size=2 / 255),
    # apgd-ce, apgd-t, fab-t and square, as in its standard version
    **AUTOATTACK,
}
"""name → attack. Without a step size, each step is 2.5·ε/steps."""

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
    """The attacks of these names: keys of `ATTACKS`, or "package.module:Name" of your own.

    Raises:
        UserError: a name that does not exist, or that is no attack.
    """
    return {name: names.instance("attack", name, ATTACKS, Attack) for name in wanted}


def protocol(name: str) -> Mapping[str, Attack]:
    """The attacks of a protocol.

    Raises:
        UserError: a name that does not exist.
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return named(PROTOCOLS[name])


quick = protocol("quick")
paper = protocol("paper")
strong = protocol("strong")
autoattack = protocol("autoattack")
