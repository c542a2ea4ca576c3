"""What can be known before any training: optimal robust classifiers, and the ε that data allows.

Arrays in, numbers out; no network is ever seen. `feasible` answers for real data, `gaussian` and
`bernoulli` in closed form, `finite` and `hardness` for small distributions.
"""

from hardball.theory.bernoulli import Bernoulli
from hardball.theory.feasible import (
    ClosestPair,
    ForcedError,
    closest_pair,
    conflicts,
    forced_error,
    forced_errors,
)
from hardball.theory.finite import FiniteDistribution, RobustOptimum, optimal_robust
from hardball.theory.gaussian import Gaussian, LinearRule
from hardball.theory.hardness import graph_distribution
from hardball.theory.threshold import Threshold, best_threshold

__all__ = [
    "Bernoulli",
    "ClosestPair",
    "FiniteDistribution",
    "ForcedError",
    "Gaussian",
    "LinearRule",
    "RobustOptimum",
    "Threshold",
    "best_threshold",
    "closest_pair",
    "conflicts",
    "forced_error",
    "forced_errors",
    "graph_distribution",
    "optimal_robust",
]
