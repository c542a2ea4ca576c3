"""What goes to the terminal: names that a stranger gave are text there, never commands to it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console


def terminal() -> Console:
    """Square brackets are brackets, and colons colons."""
    return Console(markup=False, emoji=False)


def printable(text: str) -> str:
    """The text with what a terminal would obey (escape sequences, control characters) written out."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text
    )


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str, int], Callable[[], object]]]:
    """A bar for each part of what is computed, on a terminal: see `commands.pictures.Show`."""
    from rich.progress import Progress

    with Progress(console=console, disable=not console.is_terminal, transient=True) as bars:

        def show(what: str, steps: int) -> Callable[[], object]:
            task = bars.add_task(what, total=steps)
            return lambda: bars.advance(task)

        yield show
