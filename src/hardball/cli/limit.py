"""`hardball limit`: the largest ε that a data set allows."""

from hardball.cli.terminal import answered, terminal
from hardball.commands.limit import LimitConfig, largest_eps
from hardball.report.tables import limit_table


def limit(config: LimitConfig) -> int:
    """The largest ε a data set allows, and the robust error it forces on any classifier beyond.

    Two images of different class whose ε-balls meet cannot both be robustly right. Prints the
    closest such pair and, for each ε, how many pairs conflict and the least error they force; in
    linf also the share of pixels that can be moved at all behind the best threshold (--front rounding).
    """
    found = largest_eps(config)
    if not answered(found):
        terminal().print(limit_table(found))
    return 0
