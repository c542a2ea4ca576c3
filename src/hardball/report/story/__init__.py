"""The story of one run or several, as sections of a page: from results alone."""

from hardball.report.blocks import Section
from hardball.report.story.accuracy import checked, measured
from hardball.report.story.details import details
from hardball.report.story.naming import Runs
from hardball.report.story.pictures import attacked, explained, landscapes
from hardball.report.story.training import curves, trained


def sections(runs: Runs, examples_command: str) -> list[Section]:
    """Every part of the page, those that are missing included.

    Args:
        runs: at least one.
        examples_command: what makes the adversarial examples.
    """
    return [
        trained(runs),
        curves(runs),
        measured(runs),
        checked(runs),
        attacked(runs, examples_command),
        landscapes(runs),
        explained(runs),
        details(runs),
    ]
