"""Drawings become images like those of the data."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hardball import load_dataset
from hardball.commands.drawing import as_image, extent


def stroke(height: int, width: int, top: int, left: int) -> Tensor:
    paper = torch.zeros(140, 140)
    paper[top : top + height, left : left + width] = 1
    return paper


@given(st.integers(10, 60), st.integers(10, 60), st.integers(0, 80), st.integers(0, 80))
def test_size_and_place_of_the_drawing_do_not_matter(
    height: int, width: int, top: int, left: int
) -> None:
    here, there = stroke(height, width, top, left), stroke(height, width, 0, 0)
    one, other = (as_image(paper, (28, 28), 20 / 28) for paper in (here, there))
    assert one is not None
    assert other is not None
    assert torch.equal(one, other)
    assert one.shape == (1, 28, 28)
    rows, columns = (one[0].sum(dim=1 - axis).nonzero() for axis in (0, 1))
    longer = max(int(each.max() - each.min()) + 1 for each in (rows, columns))
    assert longer == 20
    for axis in (0, 1):
        mass = one[0].sum(dim=1 - axis)
        centre = float((mass * torch.arange(28)).sum() / mass.sum())
        assert abs(centre - 13.5) <= 0.5


def test_an_image_drawn_large_comes_back(mnist_root: Path) -> None:
    test = load_dataset("mnist", mnist_root, "test")
    fills = extent(test.images[:500])
    assert fills == pytest.approx(20 / 28, abs=0.02)
    for image in test.images[:20]:
        large = image[0].repeat_interleave(10, 0).repeat_interleave(10, 1)
        found = as_image(large, (28, 28), fills)
        assert found is not None
        # up to a pixel of rounding in its place
        shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        apart = min(float((found.roll(by, (1, 2)) - image).abs().mean()) for by in shifts)
        assert apart < 0.05


def test_an_empty_drawing_is_none() -> None:
    assert as_image(torch.zeros(280, 280), (28, 28), 0.7) is None
    assert as_image(torch.full((280, 280), 0.1), (28, 28), 0.7) is None


def test_the_extent_of_known_figures() -> None:
    images = torch.zeros(3, 1, 10, 10)
    images[0, 0, 2:7, 4] = 1  # 5 high
    images[1, 0, 3, 1:4] = 1  # 3 wide
    assert extent(images) == pytest.approx(0.4)  # the empty one does not count
    assert extent(torch.zeros(2, 1, 4, 4)) == 1
