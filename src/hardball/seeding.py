"""Randomness as a pure function of (seed, where we are), so that nothing about it needs saving.

A training step seeds itself from (seed, epoch, step); an evaluation seeds each example by its index.
"""

from collections.abc import Sequence

import numpy as np
import torch


def derive(seed: int, *path: int) -> int:
    """A 63-bit seed that differs for every `path` (numpy's SeedSequence mixes well)."""
    state = np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)
    return int(state[0]) >> 1


def generators(seed: int, indices: Sequence[int], *path: int) -> list[torch.Generator]:
    """One generator per example: what an example receives depends on its index alone, neither on
    the batch size nor on which other examples are still attacked."""
    return [torch.Generator().manual_seed(derive(seed, *path, i)) for i in indices]
