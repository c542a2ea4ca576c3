"""What people watch while a network trains: a live line, TensorBoard and metrics.csv."""

import csv
import errno
import io
import os
import threading
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from hardball import extras, storage
from hardball.runs import RunFolder
from hardball.time_left import Bars, TimeLeftColumn
from hardball.training.live import Attacked

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Row = dict[str, float]

SECONDS_BETWEEN_LINES = 4.0

WIDE = 100
"""Columns of a terminal on which the live line has all its parts."""


class Watcher:
    """Shows progress on `console` and records each epoch in the run's folder as events for TensorBoard,
    where that is installed.

    On a terminal there is a live line. Everywhere, epochs are printed as lines: the first, the last,
    and between them no more than one every few seconds, however short the epochs are.
    """

    def __init__(
        self,
        *,
        planned: float,
        folder: RunFolder | None,
        console: Console | None,
        first_epoch: int,
        words: Callable[[str], str],
    ) -> None:
        self._words = words
        self._console = console or Console(quiet=True)
        self._folder, self._first_epoch = folder, first_epoch
        self._events: SummaryWriter | None = None
        wide = self._console.width >= WIDE
        self._progress = Bars(
            TextColumn("{task.description}"),
            *([BarColumn()] if wide else []),
            TextColumn("{task.fields[state]}"),
            *([TimeElapsedColumn()] if wide else []),
            TextColumn("left"),
            TimeLeftColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("training", total=planned, state="")
        self._last = 0.0
        self._row: Row | None = None
        self._printed = -SECONDS_BETWEEN_LINES
        self._since: tuple[float, float] | None = None

    def __enter__(self) -> Self:
        self._hook, threading.excepthook = threading.excepthook, self._note
        if self._folder is not None and extras.installed("tensorboard"):
            try:
                self._events = _events(self._folder, self._first_epoch)
            except OSError as error:
                _without_events(error)
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
        self._print_epoch()
        self._record(lambda events: events.close())
        threading.excepthook = self._hook

    @property
    def due(self) -> bool:
        """True at most twice a second: reading a number off the device makes it wait."""
        return self._console.is_terminal and time.monotonic() - self._last > 0.5

    def step(
        self,
        *,
        done: float,
        sample_steps: int,
        epoch: int,
        eps: float,
        loss: float,
        accuracy: float,
    ) -> None:
        """Refresh the live line. `done` is in the unit of `planned`."""
        now = self._last = time.monotonic()
        self._since = self._since or (now, sample_steps)
        rate = (sample_steps - self._since[1]) / max(1e-9, now - self._since[0])
        state = f"ε={eps:.4g} loss={loss:.3f}"
        if self._console.width >= WIDE:
            state += f" adv={accuracy:.1%} {rate:,.0f} sample-steps/s"
        self._progress.update(
            self._task, completed=done, description=f"epoch {epoch + 1}", state=self._words(state)
        )

    def epoch(self, row: Row, attacked: Attacked | None = None) -> None:
        """Show and record a finished epoch, and a batch that was attacked in it."""
        self._row = row
        if time.monotonic() - self._printed > SECONDS_BETWEEN_LINES:
            self._print_epoch()
        self._record(lambda events: _add(events, row, attacked))

    def _record(self, act: Callable[["SummaryWriter"], object]) -> None:
        """Something with TensorBoard's events. Nothing depends on them: without them it goes on."""
        if self._events is None:
            return
        try:
            act(self._events)
        except OSError as error:
            self._events = None
            _without_events(error)

    def _note(self, raised: threading.ExceptHookArgs) -> None:
        """TensorBoard's thread prints a traceback of what `_record` then says in one line."""
        if not type(raised.thread).__module__.startswith("tensorboard."):
            self._hook(raised)

    def _print_epoch(self) -> None:
        """The newest epoch as one line."""
        row, self._row, self._printed = self._row, None, time.monotonic()
        if row is None:
            return
        line = (
            f"epoch {row['epoch']:.0f}  ε={row['eps']:.4g}  loss={row['adv_loss']:.3f}  "
            f"adv={row['adv_accuracy']:.1%}  validation: clean={row['val_accuracy']:.1%} "
            f"adv={row['val_adv_accuracy']:.1%} loss={row['val_adv_loss']:.3f}  "
            f"{row['sample_steps_per_second']:,.0f} sample-steps/s"
        )
        self._console.print(self._words(line), highlight=False, soft_wrap=True)

    def say(self, message: str) -> None:
        """One line for the person watching, after the epochs that it follows."""
        self._print_epoch()
        self._console.print(self._words(message), highlight=False, soft_wrap=True, markup=False)


def _without_events(error: OSError) -> None:
    reason = os.strerror(error.errno or errno.EIO)
    warnings.warn(
        f"cannot write events for TensorBoard: {reason}; the training goes on without them "
        "(metrics.csv has the same numbers)",
        stacklevel=3,
    )


def _add(events: "SummaryWriter", row: Row, attacked: "Attacked | None") -> None:
    for name, value in row.items():
        if name != "epoch":
            events.add_scalar(name, value, global_step=int(row["epoch"]))
    if attacked is not None:
        attacked.write(events, int(row["epoch"]))
    events.flush()


def _events(folder: RunFolder, first_epoch: int) -> "SummaryWriter":
    """TensorBoard's file in the run's folder; imported here, as nothing else needs TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder.path), purge_step=first_epoch)


def write_metrics(folder: RunFolder, history: list[Row]) -> None:
    """metrics.csv, whole: a resumed run leaves no epoch twice."""
    text = io.StringIO()
    # a column may begin after the first epoch: its fields before that are empty
    columns = dict.fromkeys(name for row in history for name in row)
    writer = csv.DictWriter(text, fieldnames=list(columns) or ["epoch"], restval="")
    writer.writeheader()
    writer.writerows(history)
    storage.write_beside_digest(folder.metrics_file, text.getvalue().encode())
