"""Parts of pages that a command writes: they lie between two comments, the first of which is that
command.

    <!-- from here: python tools/claims.py --write demo -->
    ...
    <!-- to here -->
"""

import re
from collections.abc import Callable, Mapping

PART = re.compile(r"(<!-- from here: (python .+?) -->\n)(.*?)(<!-- to here -->)", re.DOTALL)


def commands(text: str) -> list[str]:
    """The commands that a page's parts name, in order."""
    return [found[2] for found in PART.finditer(text)]


def filled(text: str, makers: Mapping[str, Callable[[], str]]) -> str:
    """The page with its parts made anew.

    Args:
        text: of the page.
        makers: command → its part in Markdown; parts of other commands are left alone.
    """

    def made(found: re.Match[str]) -> str:
        start, command, old, end = found.groups()
        return f"{start}{makers[command]() if command in makers else old}{end}"

    return PART.sub(made, text)
