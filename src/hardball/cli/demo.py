"""`hardball demo`."""

from pathlib import Path

from hardball.cli.terminal import answered, terminal
from hardball.commands.demo import demo as run_demo


def demo(*, out: Path = Path("demo"), seeds: list[int] | None = None, full: bool = False) -> int:
    """Direct training at a large ε fails, the curriculum succeeds: on embedded data, in minutes.

    Args:
        out: folder for the runs, demo.json, demo.png and report.html; continued if interrupted.
        seeds: repeat for each of these seeds; by default [0].
        full: train directly for as long as the curriculum, instead of stopping after 40 collapsed
            epochs.
    """
    answered(run_demo(out, [0] if seeds is None else seeds, terminal(), full=full))
    return 0
