"""`hardball theory gaussian | bernoulli | limits | hardness`: closed forms as tables."""

from hardball.cli.terminal import terminal
from hardball.commands import theory
from hardball.commands.theory import BernoulliConfig, GaussianConfig, HardnessConfig, LimitsConfig
from hardball.report import theory_tables


def gaussian(config: GaussianConfig) -> int:
    """Optimal robust error of two Gaussian classes, and of the Bayes rule under the same attack."""
    terminal().print(theory_tables.gaussian_table(theory.gaussian(config)))
    return 0


def bernoulli(config: BernoulliConfig) -> int:
    """Bayes and optimal ℓ0 error of two Bernoulli classes; the defaults give the paper's Figure 12."""
    terminal().print(theory_tables.bernoulli_table(theory.bernoulli(config)))
    return 0


def limits(config: LimitsConfig) -> int:
    """The largest number of flips at which two Bernoulli classes can be told apart, by k and t."""
    terminal().print(theory_tables.limits_table(theory.limits(config)))
    return 0


def hardness(config: HardnessConfig) -> int:
    """A random graph as points to classify: the optimum is a largest (distance-3) independent set."""
    terminal().print(theory_tables.hardness_table(theory.hardness(config)))
    return 0
