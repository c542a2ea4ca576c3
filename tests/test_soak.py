"""benchmarks/soak.py tells growth from none."""

import random

import soak


def test_a_line_that_rises_is_not_flat() -> None:
    assert not soak.trend([100.0 + 0.1 * n for n in range(100)])["flat"]


def test_warming_up_and_noise_are_flat() -> None:
    source = random.Random(0)
    assert soak.trend([50.0] * 10 + [100 + source.uniform(-0.2, 0.2) for _ in range(90)])["flat"]
    assert soak.trend([8.0] * 9)["flat"]
