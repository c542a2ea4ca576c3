"""`hardball reproduce`."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from hardball.cli.flags import about
from hardball.cli.parsing import Parser
from hardball.cli.terminal import answered, terminal
from hardball.commands.reproduce.config import ReproduceConfig
from hardball.commands.reproduce.remake import reproduce as remake
from hardball.commands.reproduce.trainings import Estimate, estimate
from hardball.errors import UserError
from hardball.reproduction import BUDGETS, RECIPES


def reproduce(words: Sequence[str]) -> int:
    """Remake the paper's tables and figures: trainings, measurements, pictures, and whether each claim
    shows.

    Shows the cost and asks before it starts. Killed or interrupted, it continues when the same command
    is given again.
    """
    parser = Parser("reproduce", "NAME ...", description=about(reproduce))
    parser.add_argument(
        "names", nargs="*", help="table1, fig1 … (--list shows them), or all, mnist, cifar"
    )
    parser.add_class_arguments(ReproduceConfig, None, skip={"names"})
    parser.add_argument("--list", action="store_true", help="show what there is, and end")
    parser.add_argument("--yes", action="store_true", help="start without a question")
    values = parser.parsed(words)
    listed, agreed = values.pop("list"), values.pop("yes")
    console = terminal()
    if listed:
        _show_all(console)
        return 0
    config = ReproduceConfig(values.pop("names"), **values)
    found = estimate(config)
    _show_cost(found, console)
    if found.due and not agreed and not _agreed(console):
        return 0
    answered(remake(config, console))
    console.print(f"\nresults: {config.out}", soft_wrap=True, highlight=False)
    return 0


def _show_all(console: Console) -> None:
    if answered(
        {
            name: {"shows": recipe.title, "paper": recipe.claim, "trainings": [*recipe.trainings]}
            for name, recipe in RECIPES.items()
        }
    ):
        return
    table = Table(title="What can be remade", title_justify="left")
    for heading in ("name", "shows", "the paper says", "trainings"):
        table.add_column(heading)
    for name, recipe in RECIPES.items():
        table.add_row(
            name,
            recipe.title,
            recipe.claim,
            ", ".join(recipe.trainings) or ("a sweep" if recipe.trains else "none"),
        )
    console.print(table)
    for budget in BUDGETS.values():
        console.print(f"--budget {budget.name}: {budget.about}", highlight=False)


def _show_cost(found: Estimate, console: Console) -> None:
    if not found.due:
        console.print("all trainings are there", highlight=False)
        return
    table = Table(
        title="To be trained, at the speed of this machine (measured now)", title_justify="left"
    )
    table.add_column("training")
    table.add_column("sample-steps", justify="right")
    table.add_column("minutes", justify="right")
    for one in found.due:
        table.add_row(one.name, f"{one.sample_steps:,}", f"{one.seconds / 60:.1f}")
    table.add_section()
    table.add_row("all", f"{found.sample_steps:,}", f"{found.seconds / 60:.1f}")
    console.print(table)


def _agreed(console: Console) -> bool:
    """Asks the person at the terminal."""
    if not console.is_terminal:
        raise UserError("no terminal to ask at whether to start; pass --yes")
    return console.input("Start? [y/N] ").strip().lower() in ("y", "yes")
