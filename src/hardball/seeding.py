"""Randomness as a pure function of (seed, where we are), so that nothing about it needs saving.

A training step seeds itself from (seed, epoch, step); an evaluation seeds each example by its index.
"""

from collections.abc import Sequence
from hashlib import blake2b

import torch


def derive(seed: int, *path: int) -> int:
    """A 63-bit seed that differs for every `path`, of any length: (1,) is not (1, 0)."""
    place = ",".join(str(int(step)) for step in (seed, *path))
    return int.from_bytes(blake2b(place.encode(), digest_size=8).digest(), "big") >> 1


def generators(seed: int, indices: Sequence[int], *path: int) -> list[torch.Generator]:
    """One generator per example: what an example receives depends on its index alone, neither on
    the batch size nor on which other examples are still attacked."""
    return [torch.Generator().manual_seed(derive(seed, *path, i)) for i in indices]


def seed_global_state(seed: int, device: torch.device) -> None:
    """What `torch.manual_seed` does for the CPU and `device`, from whose global states dropout and the
    like draw. For each other kind of device that is not in use it keeps the seed with a stack trace,
    which takes longer than a small network's update."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)
