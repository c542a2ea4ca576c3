"""The loss in weight space and in input space, with numbers for what the pictures show."""

from hardball.landscape.convexity import barrier, chord_violation, convexity_violation
from hardball.landscape.curvature import top_eigenvalue
from hardball.landscape.inputs import InputPlane, input_plane, largest_step, sudden_jump
from hardball.landscape.loss import AdversarialLoss
from hardball.landscape.weights import (
    Plane,
    Segment,
    Weights,
    between,
    filter_normalised,
    plane,
    segment,
    weights_of,
)

__all__ = [
    "AdversarialLoss",
    "InputPlane",
    "Plane",
    "Segment",
    "Weights",
    "barrier",
    "between",
    "chord_violation",
    "convexity_violation",
    "filter_normalised",
    "input_plane",
    "largest_step",
    "plane",
    "segment",
    "sudden_jump",
    "top_eigenvalue",
    "weights_of",
]
