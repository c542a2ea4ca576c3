"""`hardball theory gaussian | bernoulli | limits | hardness`: closed forms as tables."""

from hardball.cli.terminal import answered, terminal
from hardball.commands import theory
from hardball.commands.theory import BernoulliConfig, GaussianConfig, HardnessConfig, LimitsConfig
from hardball.report import theory_tables


def gaussian(config: GaussianConfig) -> int:
    """Optimal robust error of two Gaussian classes, and of the Bayes rule under the same attack."""
    found = theory.gaussian(config)
    if not answered(found):
        terminal().print(theory_tables.gaussian_table(found))
    return 0


def bernoulli(config: BernoulliConfig) -> int:
    """Bayes and optimal ℓ0 error of two Bernoulli classes; the defaults give the paper's Figure 12."""
    found = theory.bernoulli(config)
    if not answered(found):
        terminal().print(theory_tables.bernoulli_table(found))
    return 0


def limits(config: LimitsConfig) -> int:
    """The largest number of flips at which two Bernoulli classes can be told apart, by k and t."""
    found = theory.limits(config)
    if not answered(found):
        terminal().print(theory_tables.limits_table(found))
    return 0


def hardness(config: HardnessConfig) -> int:
    """A random graph as points to classify: the optimum is a largest (distance-3) independent set."""
    found = theory.hardness(config)
    if not answered(found):
        terminal().print(theory_tables.hardness_table(found))
    return 0
