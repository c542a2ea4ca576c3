"""`hardball explore`: networks to play with, on a page of this machine."""

from collections.abc import Sequence
from pathlib import Path

from hardball.cli.flags import about
from hardball.cli.parsing import Parser
from hardball.cli.terminal import terminal
from hardball.commands import explore_page
from hardball.commands.explore import ExploreConfig, explorer


def explore(words: Sequence[str]) -> int:
    """Draw or pick an image, attack it at any ε, and see what runs make of it: a page in the browser.

    The page is served on 127.0.0.1 only, and needs no internet. Ctrl-C ends it.
    """
    parser = Parser("explore", "RUN ...", description=about(explore), answers=False)
    parser.add_argument("runs", type=Path, nargs="+", help="one run or several, two at best")
    parser.add_class_arguments(ExploreConfig, None, skip={"runs"}, fail_untyped=False)
    values = parser.parsed(words)
    config = ExploreConfig(values.pop("runs"), **values)
    explore_page.require_gradio()
    port = explore_page.free_port(config.port)
    found = explorer(config)
    address = f"http://{explore_page.HOST}:{port}"
    terminal().print(
        f"open {address} in a browser; Ctrl-C ends it", soft_wrap=True, highlight=False
    )
    explore_page.serve(found, port)
    return 0
