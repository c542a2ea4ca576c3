"""Where a training runs, how fast, and what it keeps beside its weights."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hardball.errors import UserError, unknown
from hardball.training.distributed import end_at_exit

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PRECISIONS = ("32-true", "tf32", "bf16-mixed")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and how fast to train, what to keep and what to look at: a run may be resumed with another.

    Example:
        >>> hb.Machine(devices=2, accelerator="cpu").precision
        '32-true'
    """

    accelerator: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""
    devices: int = 1
    """Processes, one per device; on the CPU each gets its share of the cores."""
    num_nodes: int = 1
    """Machines (start the same command on each with torchrun or a cluster's launcher)."""
    strategy: str = "auto"
    """Lightning Fabric's strategy; auto takes ddp for several processes."""
    precision: str = "32-true"
    """32-true, tf32 (float32 whose matrix products round to 10 bits, on GPUs that can) or
    bf16-mixed."""
    compile: bool = False
    """Compile the attack's passes into one captured graph (CUDA graphs on a GPU; on a CPU this needs
    a C++ compiler and is seldom faster)."""
    save_minutes: float = 5.0
    """Minutes between resume points inside an epoch (one is also made after each epoch)."""
    keep_every: int | None = None
    """Keep the weights of every so many epochs too, in the run's folder epochs/."""
    final_probe: int | None = None
    """Held-out images on which the finished weights are tried under stronger attacks, which tells
    masking (0: none; by default up to 100, as many as 2% of the training's cost pay for)."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        for field in ("devices", "num_nodes", "keep_every"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise UserError(f"{field}={value}; allowed is 1 or more")
        if self.final_probe is not None and self.final_probe < 0:
            raise UserError(f"final_probe={self.final_probe}; allowed is 0 or more")
        if not self.save_minutes >= 0:
            raise UserError(f"save_minutes={self.save_minutes}; allowed is 0 or more")


def launch(machine: Machine) -> "Fabric":
    """Fabric for the machine's devices, started (with several processes, on each of them).

    Raises:
        UserError: the machine has no such device, or fewer cores than processes are asked for.
    """
    if machine.accelerator == "cpu" and machine.devices > max(2, os.cpu_count() or 1):
        raise UserError(
            f"`devices={machine.devices}` on {os.cpu_count()} cores; allowed is one process per core"
        )
    if machine.num_nodes > 1:
        address = os.environ.get("MASTER_ADDR", "this one: MASTER_ADDR is not set")
        warnings.warn(
            f"waiting until the same command runs on {machine.num_nodes} machines; the first is "
            f"{address}",
            stacklevel=2,
        )
    # a second to import: not for what trains nothing
    from lightning_fabric import Fabric

    strategy = machine.strategy
    if strategy == "auto" and machine.devices * machine.num_nodes > 1:
        strategy = "ddp"
    try:
        with _quiet():
            fabric = Fabric(
                accelerator=machine.accelerator,
                devices=machine.devices,
                num_nodes=machine.num_nodes,
                strategy=strategy,
                precision="32-true" if machine.precision == "tf32" else machine.precision,  # type: ignore[arg-type]
            )
            end_at_exit(fabric)
            fabric.launch()
    except (ValueError, RuntimeError, ImportError) as error:
        asked = (
            f"accelerator={machine.accelerator}, devices={machine.devices}, "
            f"strategy={machine.strategy}"
        )
        raise UserError(
            f"{asked}: {str(error).splitlines()[0]} Name what this machine has: `accelerator=cpu`"
        ) from error
    return fabric


@contextmanager
def matrix_products(precision: str) -> Iterator[None]:
    """PyTorch's global choice for float32 products on a GPU, set for `tf32` and put back."""
    before = torch.get_float32_matmul_precision()
    if precision == "tf32":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Fabric's announcements are left out, its warnings stay."""
    logger = logging.getLogger("lightning_fabric")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
