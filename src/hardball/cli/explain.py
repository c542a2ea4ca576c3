"""`hardball explain`: what networks look at, and what attacks do to it."""

from collections.abc import Sequence
from pathlib import Path

from hardball.cli.flags import about
from hardball.cli.parsing import Parser
from hardball.cli.terminal import answered, progress, terminal
from hardball.commands.explain import ExplainConfig
from hardball.commands.explain import explain as draw
from hardball.report import explain_tables


def explain(words: Sequence[str]) -> int:
    """Saliency and perturbations of runs side by side, and how interpretable they are.

    Measures the share on the foreground, the sparsity and the alignment with the image over n images;
    writes explain.json and explain.png.
    """
    parser = Parser("explain", "RUN ...", description=about(explain))
    parser.add_argument("runs", type=Path, nargs="+", help="one run or several")
    parser.add_class_arguments(ExplainConfig, None, skip={"runs"}, fail_untyped=False)
    values = parser.parsed(words)
    console = terminal()
    with progress(console) as show:
        found = draw(ExplainConfig(values.pop("runs"), **values), show)
    if answered(found):
        return 0
    console.print(explain_tables.explain_table(found))
    if len(found["runs"]) > 1:
        console.print(explain_tables.difference_table(found))
    return 0
