"""What an evaluation adds for a model with a front: the attacks that see behind it."""

from collections.abc import Mapping, Sequence

from hardball.attacks import (
    PGD,
    Attack,
    AutoAttackPart,
    BehindFront,
    Classifier,
    SquareBehindFront,
    Targeted,
)
from hardball.attacks.box import NORMS
from hardball.evaluation.protocols import ATTACKS
from hardball.fronts import bent_front_of

PREFIX = "front-"
"""Of the name of an attack that runs behind the front."""

LEAPING = "front-pgd-decay-20-x5"
"""The search with large steps: in the box behind a front, whose corners are far from each other, five
starts of it can break images that 200 small steps do not."""

FEWEST, MOST = 300, 5000
"""Queries of the search without gradients."""


def with_front(attacks: Mapping[str, Attack], model: Classifier, norm: str) -> dict[str, Attack]:
    """The attacks, and for a model with a front that is not affine: every PGD among them behind the
    front as well, one of large steps (`LEAPING`), and a search without gradients there, of as much
    effort as the dearest of them.

    In norms whose ball is no box nothing is added.
    """
    found = dict(attacks)
    if norm not in NORMS or bent_front_of(model) is None:
        return found
    for name, attack in attacks.items():
        if isinstance(attack, PGD | Targeted):
            found.setdefault(PREFIX + name, BehindFront(attack=attack))
    if not any(isinstance(attack, BehindFront) for attack in found.values()):
        found["front-pgd-200"] = ATTACKS["front-pgd-200"]
    found.setdefault(LEAPING, ATTACKS[LEAPING])
    if not any(isinstance(attack, SquareBehindFront) for attack in found.values()):
        dearest = max(attack.cost for attack in found.values() if isinstance(attack, BehindFront))
        whole = any(isinstance(attack, AutoAttackPart) for attack in attacks.values())
        queries = MOST if whole else min(MOST, max(FEWEST, 3 * dearest))
        found["front-square"] = SquareBehindFront(queries=queries)
    return found


def about_front(doubts: Sequence[str], model: Classifier, norm: str) -> list[str]:
    """The doubts without that about gradients that are zero in image space, where attacks behind the
    front do not need them."""
    if norm not in NORMS or bent_front_of(model) is None:
        return list(doubts)
    return [line for line in doubts if not line.startswith("AutoAttack flag: zero gradients")]
