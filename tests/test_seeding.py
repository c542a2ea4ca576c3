"""Randomness as a function of the seed."""

import torch

from hardball.seeding import derive, seed_global_state


def test_the_global_state_is_that_of_torch_manual_seed() -> None:
    for seed in (0, 1, derive(3, 1, 4), 2**63 - 1):
        torch.manual_seed(seed)
        expected = torch.get_rng_state()
        torch.rand(3)
        seed_global_state(seed, torch.device("cpu"))
        assert torch.equal(torch.get_rng_state(), expected)
