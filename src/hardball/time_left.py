"""How long what is being done will take yet.

What is done is counted in units that cost about the same (passes of a network, images under one
attack). The rate is that of the latter half of the time so far: a machine that has become slower or
faster since is noticed, and a pause shorter than that is not taken for the end.
"""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

MARKS = 64
"""Moments that are remembered: half of them are forgotten when there are more."""


class TimeLeft:
    """Seconds left, from (moment, amount done) as work goes on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: list[tuple[float, float]] = []

    def at(self, done: float, total: float) -> float | None:
        """Seconds until `done` is `total`; None until something has been done.

        The first call says where the work begins: what was done before costs nothing now.
        """
        now = self._clock()
        if not self._marks or done != self._marks[-1][1]:
            self._marks.append((now, done))
        if len(self._marks) > MARKS:
            del self._marks[1::2]
        began, last = self._marks[0], self._marks[-1]
        middle = (began[0] + last[0]) / 2
        since = max((mark for mark in self._marks if mark[0] <= middle), key=lambda mark: mark[0])
        spent, amount = last[0] - since[0], last[1] - since[1]
        if spent <= 0 or amount <= 0:
            return None
        left = (total - last[1]) * spent / amount
        return max(0.0, left - (now - last[0]))


def words(seconds: float | None) -> str:
    """h:mm:ss."""
    if seconds is None:
        return "-:--:--"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class TimeLeftColumn(ProgressColumn):
    """The time left of a bar."""

    def __init__(self) -> None:
        super().__init__()
        self._estimates: dict[TaskID, TimeLeft] = {}

    def render(self, task: Task) -> Text:
        estimate = self._estimates.setdefault(task.id, TimeLeft(task.get_time))
        done = "-:--:--" if task.total is None else words(estimate.at(task.completed, task.total))
        return Text(done, style="progress.remaining")


class Bars(Progress):
    """Where they are not shown, nothing is written (before rich 15 their end is an empty line)."""

    def stop(self) -> None:
        if not self.disable:
            super().stop()


def bars(console: Console) -> Progress:
    """A bar for each part of the work with the time left, on a terminal only."""
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None if console.width < 60 else 40),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeLeftColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
