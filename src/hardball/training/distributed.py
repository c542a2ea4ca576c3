"""What several processes must do alike: each of them a device's share of one training."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hardball.errors import UserError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def is_follower() -> bool:
    """True in all processes of a training but the first, which speaks for them."""
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_rank() > 0
    )


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
