"""`hardball zoo`: trained networks that come with hardball."""

from pathlib import Path

from rich.table import Table

from hardball import zoo
from hardball.cli.terminal import answered, printable, terminal
from hardball.commands.zoo import AddConfig, TakeConfig, take
from hardball.commands.zoo import add as make


def show(folder: Path | None = None) -> int:
    """The networks of the zoo, with what was measured of them.

    Args:
        folder: where the entries are; by default those that come with hardball.
    """
    entries = [zoo.entry(name, folder) for name in zoo.listed(folder)]
    if answered({"entries": [one.config for one in entries]}):
        return 0
    table = Table(title="Trained networks", title_justify="left")
    for heading in ("name", "data", "ε", "clean", "under attack", "n"):
        table.add_column(
            heading,
            justify="left" if heading in ("name", "data") else "right",
            no_wrap=heading == "name",
            overflow="fold",
        )
    for one in entries:
        measured = one.config["measured"]
        left = ", ".join(f"{row['eps']:.4g}: {row['accuracy']:.1%}" for row in measured["robust"])
        row = (
            one.name,
            one.config["data"],
            f"{one.config['eps']:.4g}",
            f"{measured['clean']['accuracy']:.1%}",
            left,
            str(measured["n"]),
        )
        table.add_row(*map(printable, row))
    terminal().print(table if entries else "none yet: hardball zoo add RUN --name NAME")
    return 0


def load(asked: TakeConfig) -> int:
    """Check a network of the zoo, show its card, and copy its weights where asked for."""
    found = take(asked)
    if not answered(found.config):
        print(printable(found.card))
    return 0


def add(asked: AddConfig) -> int:
    """Make an entry of the zoo from a run and its evaluation: weights, config and model card."""
    found = make(asked)
    if not answered(found.config):
        print(printable(str(found.path)))
    return 0
