"""`hardball verify`."""

from pathlib import Path

from rich.console import Console

from hardball.report.tables import findings_table
from hardball.verification import verify as recipe


def verify(
    run: Path,
    *,
    data_root: Path | None = None,
    model: str | None = None,
    batch_size: int = 256,
) -> int:
    """Re-check every witness of an evaluation against weights and data, trusting nothing else.

    Exit code 1 if anything does not hold.

    Args:
        run: a run, or a weights file, that was evaluated.
        data_root: where the data is, if not where the run had it.
        model: the network, where it is of your own code; what a file names is not run unasked.
        batch_size: images at a time.
    """
    found = recipe.verify(run, data_root=data_root, model=model, batch_size=batch_size)
    console = Console()
    rows = [(finding.what, finding.found, finding.holds) for finding in found.findings]
    console.print(findings_table(rows, title=run.name))
    console.print(found.sentence, highlight=False)
    return 0 if found.holds else 1
