"""Attacks: callables of (model, images, labels, threat) that return an `AttackResult`.

They take any callable that returns logits and own nothing of it.
"""

from hardball.attacks.autoattack import AUTOATTACK, AutoAttackPart, autoattack_flags
from hardball.attacks.brute_force import BruteForce
from hardball.attacks.distortion import Distortion, minimum_distortion
from hardball.attacks.library import Library
from hardball.attacks.pgd import PGD, fgsm
from hardball.attacks.result import Attack, AttackResult, Classifier
from hardball.attacks.targeted import Targeted
from hardball.attacks.transfer import Transfer

__all__ = [
    "AUTOATTACK",
    "PGD",
    "Attack",
    "AttackResult",
    "AutoAttackPart",
    "BruteForce",
    "Classifier",
    "Distortion",
    "Library",
    "Targeted",
    "Transfer",
    "autoattack_flags",
    "fgsm",
    "minimum_distortion",
]
