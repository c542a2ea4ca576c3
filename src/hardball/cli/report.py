"""`hardball report RUN ...`: one page on one run or several."""

from collections.abc import Sequence
from pathlib import Path

from hardball.cli.flags import about
from hardball.cli.parsing import Parser
from hardball.cli.terminal import answered, printable, terminal
from hardball.commands.report import ReportConfig
from hardball.commands.report import report as make_page


def report(words: Sequence[str]) -> int:
    """One self-contained HTML page that tells the story of one run or several.

    Prints where it is, its parts, and the command that makes each part that is missing.
    """
    parser = Parser("report", "RUN ...", description=about(report))
    parser.add_argument("runs", type=Path, nargs="+", help="one run or several")
    parser.add_class_arguments(ReportConfig, None, skip={"runs", "extra"}, fail_untyped=False)
    parser.add_argument(
        "--with",
        type=Path | list[Path],
        help="results of hardball theory and hardball limit to show as well: their JSON and PNG files, or "
        "folders of them",
    )
    values = parser.parsed(words)
    extra = values.pop("with")
    extra = [] if extra is None else extra if isinstance(extra, list) else [extra]
    found = make_page(ReportConfig(values.pop("runs"), extra=extra, **values))
    if answered(found.as_json()):
        return 0
    console = terminal()

    def say(line: str) -> None:
        console.print(printable(line), soft_wrap=True, highlight=False)

    say(str(found.place))
    for section in found.sections:
        say(f"  {section.title}" + ": missing" * section.empty)
        for missing in section.missing:
            say(f"    {missing.what} " + "; ".join(missing.commands))
    return 0
