"""Attacks: callables of (model, images, labels, threat) that return an `AttackResult`.

They take any callable that returns logits and own nothing of it.
"""

from hardball.attacks.art import ARTAttack
from hardball.attacks.autoattack import AUTOATTACK, AutoAttackPart, autoattack_flags
from hardball.attacks.base import Attack
from hardball.attacks.box import BehindFront
from hardball.attacks.brute_force import BruteForce
from hardball.attacks.corners import CornerSearch, SquareBehindFront
from hardball.attacks.half import HalfPrecision, check_precision, in_precision
from hardball.attacks.minimum_norm import Distortion, minimum_distortion
from hardball.attacks.pgd import PGD, DecayingPGD, fgsm
from hardball.attacks.result import AttackResult, Classifier
from hardball.attacks.targeted import Targeted
from hardball.attacks.transfer import Transfer

__all__ = [
    "AUTOATTACK",
    "PGD",
    "ARTAttack",
    "Attack",
    "AttackResult",
    "AutoAttackPart",
    "BehindFront",
    "BruteForce",
    "Classifier",
    "CornerSearch",
    "DecayingPGD",
    "Distortion",
    "HalfPrecision",
    "SquareBehindFront",
    "Targeted",
    "Transfer",
    "autoattack_flags",
    "check_precision",
    "fgsm",
    "in_precision",
    "minimum_distortion",
]
