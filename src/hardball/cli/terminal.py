"""What goes to the terminal: names that a stranger gave are text there, never commands to it."""

from rich.console import Console


def terminal() -> Console:
    """Square brackets are brackets, and colons colons."""
    return Console(markup=False, emoji=False)


def printable(text: str) -> str:
    """The text with what a terminal would obey (escape sequences, control characters) written out."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text
    )
