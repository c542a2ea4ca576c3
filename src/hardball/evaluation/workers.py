"""Tasks of an evaluation done here, or in several processes at once: the answers are the same."""

import os
import pickle
import signal
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_context, set_forkserver_preload
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from hardball.attacks import Classifier
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.evaluation import tasks
from hardball.evaluation.tasks import Task, TaskResult
from hardball.perf import keep_memory

SHOWN = (UserWarning, RuntimeWarning)
"""Warnings of a worker that are repeated here; the others are for programmers."""


def preload() -> None:
    """Workers of this program will start faster: what they need is imported once for all of them.
    (Every forkserver process of the program is made so: for a program that is ours.)"""
    set_forkserver_preload([__name__])


def check_processes(processes: int) -> None:
    """See that there is a core for each.

    Raises:
        UserError: less than one, or more than cores (two are always allowed).
    """
    if processes < 1:
        raise UserError(f"`processes={processes}`; allowed is 1 or more")
    most = max(2, os.cpu_count() or 1)
    if processes > most:
        raise UserError(
            f"`processes={processes}` on {os.cpu_count()} cores; allowed is one process per core: "
            f"up to {most}"
        )


class Pool:
    """Does tasks, in this process or in several others.

    Args:
        model: in the mode it shall be called in.
        data: the examples that the tasks refer to.
        batch_size: images at a time.
        processes: 1 for this one alone; else so many others, started when there are tasks for them.
            Each gets the model once, and with each task its share of the processor's cores.

    Raises:
        UserError: less than one process, more than cores, or several with data that is not on the CPU.
    """

    def __init__(self, model: Classifier, data: Dataset, batch_size: int, processes: int) -> None:
        check_processes(processes)
        if processes > 1 and data.images.device.type != "cpu":
            raise UserError(
                f"`processes={processes}` on {data.images.device}; one process drives a GPU: use "
                "`processes=1`, or `device=cpu`"
            )
        self.model, self.data, self.batch_size = model, data, batch_size
        self.processes = processes
        self._workers: list[_Worker] = []

    def do(self, work: Sequence[Task]) -> Iterator[TaskResult]:
        """Do tasks, in any order; yields what each found as it comes.

        Raises:
            UserError: a model or an attack that cannot be sent to another process.
        """
        if self.processes == 1:
            keep_memory()
            for task in work:
                yield tasks.attempt(self.model, self.data, task, self.batch_size)
            return
        if not work:
            return
        wanted = range(len(self._workers), min(self.processes, len(work)))
        if wanted:
            payload = _packed((self.model, self.data, self.batch_size))
            new = [_Worker() for _ in wanted]
            self._workers.extend(new)
            for worker in new:  # all of them are starting while the first one listens
                worker.send(payload)
        try:
            yield from _shared(work, self._workers)
        except BaseException:
            # the others are in the middle of tasks that nobody waits for any more
            self.close()
            raise

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()


def _packed(content: object) -> bytes:
    try:
        return pickle.dumps(content)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"a model or an attack that cannot be sent to another process ({error}); define its class "
            "at the top of a module, or use `processes=1`"
        ) from error


class _Worker:
    """A process that does one task at a time.

    Everything goes through its pipe as plain bytes: shared memory, which torch would use for
    tensors, is scarce in containers.
    """

    def __init__(self) -> None:
        # as fresh a process as "spawn" makes, but libraries may be imported once for all of them
        context = get_context("forkserver")
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs,))
        self.process.start()
        theirs.close()

    def begin(self, task: Task, threads: int) -> None:
        self.send(_packed((task, threads)))

    def send(self, content: bytes) -> None:
        with suppress(BrokenPipeError):  # it has ended: `result` says so
            self.pipe.send_bytes(content)

    def result(self) -> TaskResult:
        """What it found.

        Raises:
            UserError: it has ended; or what the task raised there.
        """
        try:
            found, noted = pickle.loads(self.pipe.recv_bytes())
        except (EOFError, ConnectionResetError) as error:
            self.process.join()
            raise UserError(
                f"a process of the evaluation ended with code {self.process.exitcode}, perhaps for "
                "lack of memory; use fewer `processes` or a smaller `batch_size`: what was found is kept"
            ) from error
        for message in noted:
            warnings.warn(message, stacklevel=2)
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, TaskResult)
        return found

    def end(self) -> None:
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def _shared(work: Sequence[Task], workers: Sequence[_Worker]) -> Iterator[TaskResult]:
    """All tasks. Those that are too few for all workers wait until none is busy, and share the cores
    that the others leave idle: large batches that an attack may not divide are often one too many."""
    even = len(work) - len(work) % len(workers)
    for part in (work[:even], work[even:]):
        if part:
            yield from _in_turn(part, workers[: len(part)])


def _in_turn(work: Sequence[Task], workers: Sequence[_Worker]) -> Iterator[TaskResult]:
    """Each worker gets the next task when it has done one."""
    threads = max(1, (os.cpu_count() or 1) // len(workers))
    left = list(reversed(work))
    busy: dict[Any, _Worker] = {}
    for worker in workers:
        worker.begin(left.pop(), threads)
        busy[worker.pipe] = worker
    while busy:
        for pipe in wait(list(busy)):
            worker = busy.pop(pipe)
            found = worker.result()
            if left:
                worker.begin(left.pop(), threads)
                busy[pipe] = worker
            yield found


def _serve(pipe: "Connection[Any, Any]") -> None:
    """A worker's life: tasks until the pipe is closed, also by the other's sudden death."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started this
    keep_memory()
    with suppress(EOFError, BrokenPipeError):
        model, data, batch_size = pickle.loads(pipe.recv_bytes())
        while True:
            task, threads = pickle.loads(pipe.recv_bytes())
            torch.set_num_threads(threads)
            found: TaskResult | Exception
            with warnings.catch_warnings(record=True) as noted:
                try:
                    found = tasks.attempt(model, data, task, batch_size)
                except UserError as error:
                    found = error
                except Exception:
                    found = RuntimeError(
                        f"in a process of the evaluation:\n{traceback.format_exc()}"
                    )
            shown = [str(note.message) for note in noted if issubclass(note.category, SHOWN)]
            pipe.send_bytes(pickle.dumps((found, shown)))
