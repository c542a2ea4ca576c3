"""A process that waits for its turn in a speed comparison and says how long the turn took."""

import os
import subprocess
import sys
from collections.abc import Sequence


class Worker:
    """A Python script that reads what to do, a line at a time, and answers with the seconds."""

    def __init__(self, words: Sequence[str], *, threads: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )

    def ask(self, what: str) -> None:
        assert self.process.stdin is not None
        print(what, file=self.process.stdin, flush=True)

    def answer(self) -> float:
        assert self.process.stdout is not None
        return float(self.process.stdout.readline())

    def timed(self, what: str) -> float:
        self.ask(what)
        return self.answer()

    def stop(self) -> None:
        """Close its input, at which it ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)
