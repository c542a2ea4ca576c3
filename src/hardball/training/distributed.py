"""What several processes must do alike: each of them a device's share of one training."""

import atexit
import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from subprocess import Popen, TimeoutExpired
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hardball.errors import LostProcess, UserError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def is_follower() -> bool:
    """True in all processes of a training but the first, which speaks for them."""
    return _has_group() and torch.distributed.get_rank() > 0


def _has_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


PATIENCE = 30.0
"""Seconds that the first process waits for those it started, before it ends them itself."""


def end_at_exit(fabric: "Fabric") -> None:
    """Call before a launch, so that a launch which fails half way is cleaned up as well.

    A process group that is there already belongs to the caller, who ends it.
    """
    if fabric.strategy.launcher is not None and not _has_group():
        atexit.register(_end, fabric)


def _end(fabric: "Fabric") -> None:
    """Nothing of a training goes on when the command is over.

    The group's threads may still be giving back the tensors of the last collective. One that needs
    the interpreter's lock while the interpreter ends is ended by it in the middle of a destructor,
    and C++ aborts the process: "terminate called without an active exception". Destroying the
    group joins them; a process that still waits in a collective gets an error instead.
    """
    if _has_group():
        torch.distributed.destroy_process_group()
        gc.collect()  # after an error only a cycle of frames still holds it
    started: list[Popen[bytes]] = getattr(fabric.strategy.launcher, "procs", [])
    with suppress(TimeoutExpired, KeyboardInterrupt):
        for process in started:
            process.wait(PATIENCE)
    for process in started:
        process.kill()  # does nothing to one that has ended


_LOST = re.compile(r"gloo|nccl|c10d|tcpstore|connection (closed|reset|refused)|broken pipe", re.I)
"""What torch says of another process that has gone, in many words of C++."""


@contextmanager
def noticing_loss(fabric: "Fabric", cure: str) -> Iterator[None]:
    """Say in one line that another process of the training has ended.

    Raises:
        LostProcess: one has; `cure` is the end of the message.
    """
    try:
        yield
    except RuntimeError as error:
        if fabric.world_size == 1 or not _LOST.search(str(error)):
            raise
        raise LostProcess(
            f"process {fabric.global_rank} of {fabric.world_size} has lost another process of this "
            f"training (it was killed, has run out of memory, or its machine is gone); {cure}"
        ) from error


def agree(fabric: "Fabric", *flags: bool) -> list[bool]:
    """True where it is true in any process, so that all of them take the same decision."""
    if fabric.world_size == 1:
        return list(flags)
    votes = torch.tensor(flags, dtype=torch.float32, device=fabric.device)
    total = fabric.all_reduce(votes, reduce_op="sum")
    assert isinstance(total, Tensor)
    return [bool(v) for v in total.tolist()]


def in_first(fabric: "Fabric", act: Callable[[], object]) -> None:
    """`act` in process 0 alone, e.g. write a file; the others wait for it.

    Raises:
        UserError: in every process, if `act` raises it in process 0: nobody is left waiting.
    """
    refused: UserError | None = None
    if fabric.is_global_zero:
        try:
            act()
        except UserError as error:
            refused = error
    said: str | None = fabric.broadcast(None if refused is None else str(refused))
    if said is not None:
        raise refused or UserError(said)
