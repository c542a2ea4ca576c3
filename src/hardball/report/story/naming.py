"""How runs are named in commands."""

import shlex
from collections.abc import Sequence

from hardball.report.results import RunResults

Runs = Sequence[RunResults]


def quoted(run: RunResults) -> str:
    """The run's folder, as a word of a command."""
    return shlex.quote(str(run.path))


def paths(runs: Runs) -> str:
    """All of them."""
    return " ".join(quoted(run) for run in runs)


def listed(runs: Runs) -> str:
    """Their names, in a sentence."""
    names = [run.name for run in runs]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
