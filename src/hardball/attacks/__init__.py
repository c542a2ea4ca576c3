"""Attacks: callables of (model, images, labels, threat) that return an `AttackResult`.

They take any callable that returns logits and own nothing of it.
"""

from hardball.attacks.autoattack import AUTOATTACK, AutoAttackPart, autoattack_flags
from hardball.attacks.pgd import PGD, fgsm
from hardball.attacks.result import Attack, AttackResult, Classifier
from hardball.attacks.targeted import Targeted

__all__ = [
    "AUTOATTACK",
    "PGD",
    "Attack",
    "AttackResult",
    "AutoAttackPart",
    "Classifier",
    "Targeted",
    "autoattack_flags",
    "fgsm",
]
