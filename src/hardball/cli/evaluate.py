"""`hardball evaluate`."""

import sys
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal

from rich.console import Console
from rich.progress import Progress

from hardball.commands.checklist import check, refuse_missing
from hardball.commands.evaluate import measure
from hardball.commands.require import Requirement
from hardball.errors import UserError
from hardball.evaluation.checks.verdict import Verdict
from hardball.evaluation.protocols import CHECKLIST
from hardball.evaluation.workers import preload
from hardball.report.tables import evaluation_table


def evaluate(
    run: Path,
    *,
    eps: float | list[float] | None = None,
    protocol: str = "quick",
    attacks: str | list[str] | None = None,
    n: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    processes: int = 1,
    data: str | None = None,
    data_root: Path | None = None,
    split: Literal["test", "train"] = "test",
    model: str | None = None,
    model_args: dict[str, Any] | None = None,
    norm: str | None = None,
    require: str | None = None,
    budget: Literal["quick", "standard", "full"] | None = None,
    source: Path | None = None,
    base: Path | None = None,
    device: str = "auto",
) -> int:
    """Measure clean and robust accuracy of a run; prints the table and writes evaluation.json.

    Killed or interrupted, it continues when the same command is given again.

    Args:
        run: a run, or a weights file (then name --data and --model).
        eps: the ε to measure at, one or several, e.g. '[0.3, 0.4]'; by default the one trained for.
        protocol: a named set of attacks: quick, paper, paper-cifar10, strong, autoattack; checklist
            is autoattack, the checks of docs/evaluation.md and a verdict.
        attacks: attacks by name instead, e.g. pgd-100 or '[pgd-100, targeted-pgd-20]'.
        n: number of test images, from the first; all by default.
        seed: of the attacks' random starts.
        batch_size: images at a time; changes the speed, not the answer.
        processes: how many work at once, on the CPU; changes the speed, not the answer.
        data: data set, if not the run's own.
        data_root: where the data is, if not where the run had it.
        split: the part of the data.
        model: model of a weights file.
        model_args: its arguments.
        norm: linf, l2, l0 or unbounded; the run's own by default.
        require: accuracy that must be left at an ε, as EPS:ACC, e.g. 0.4:0.90, or several, e.g.
            0.3:0.95,0.4:0.9. Exit code 1 if one is missed.
        budget: effort of the checklist: quick, standard (default) or full.
        source: another run, to transfer attacks from (checklist).
        base: the run whose smallest distortions are to be surpassed (checklist); by default the one
            that this run was extended from.
        device: auto, cpu or cuda.
    """
    console = Console()
    wanted = attacks is None and protocol == CHECKLIST
    _only_for_the_checklist(wanted, budget=budget, source=source, base=base)
    refuse_missing(source, base)
    required = [] if require is None else Requirement.parse(require)

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    if processes > 1:
        preload()
    try:
        with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
            found = measure(
                run,
                eps=[eps] if isinstance(eps, float) else eps,
                attacks=[attacks] if isinstance(attacks, str) else attacks,
                protocol=protocol,
                n=n,
                seed=seed,
                batch_size=batch_size,
                processes=processes,
                data=data,
                data_root=data_root,
                split=split,
                model=model,
                model_args=model_args,
                norm=norm,
                require=required,
                device=device,
                progress=progress,
                say=say,
            )
            console.print(evaluation_table(found.evaluation, title=run.name))
            verdict: Verdict | None = None
            if wanted:
                checked, found = check(
                    found,
                    run,
                    budget=budget or "standard",
                    source=source,
                    base=base,
                    batch_size=batch_size,
                    progress=progress,
                    say=say,
                )
                verdict = checked.verdict
    except KeyboardInterrupt:
        print("hardball: interrupted; the same command continues it", file=sys.stderr)
        return 130
    for requirement in required:
        say(requirement.told(found.evaluation))
    if verdict is not None:
        say("\n".join(wrap(verdict.sentence, 80)))
    return 0 if found.meets and not (verdict and verdict.exit_code) else 1


def _only_for_the_checklist(wanted: bool, **flags: object) -> None:
    for name, value in flags.items():
        if value is not None and not wanted:
            raise UserError(f"{name}={value} without --protocol checklist, which alone uses it")
