"""`hardball verify`."""

from pathlib import Path

from hardball.cli.terminal import answered, printable, terminal
from hardball.errors import as_flags
from hardball.report.tables import findings_table
from hardball.verification import Verification
from hardball.verification import verify as recheck


def verify(
    run: Path,
    *,
    data: str | None = None,
    data_root: Path | None = None,
    model: str | None = None,
    trust_model_code: bool = False,
    batch_size: int = 256,
    bare: bool = False,
    challenge: int = 0,
    seed: int | None = None,
) -> int:
    """Re-check every witness of an evaluation against weights and data, trusting nothing else.

    Exit code 1 if anything does not hold.

    Args:
        run: a run, or a weights file, that was evaluated.
        data: the data set, where it is loaded by code of your own (package.module:function).
        data_root: where the data is, if neither where the run has it nor where it was evaluated.
        model: the network, where it is code of your own (package.module:Class).
        trust_model_code: let the evaluation name code outside hardball, which is then imported and
            called.
        batch_size: images at a time.
        bare: ask the network again in a fresh process that imports nothing of the evaluation.
        challenge: attack so many images that are said to be robust, drawn by chance, anew.
        seed: of that chance; by default one that nobody can know before.
    """
    found = recheck(
        run,
        data=data,
        data_root=data_root,
        model=model,
        trust=trust_model_code,
        batch_size=batch_size,
        bare=bare,
        challenge=challenge,
        seed=seed,
    )
    remarks = [as_flags(remark) for remark in found.remarks]
    if not answered({**found.as_json(), "run": run.name, "remarks": remarks}):
        _show(found, run.name, remarks)
    return 0 if found.holds else 1


def _show(found: Verification, name: str, remarks: list[str]) -> None:
    console = terminal()
    rows = [(finding.what, finding.found, finding.holds) for finding in found.findings]
    console.print(findings_table(rows, title=printable(name)))
    console.print(printable(found.sentence), highlight=False)
    for remark in remarks:
        console.print(printable(remark), highlight=False)
