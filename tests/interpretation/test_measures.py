"""The measures against known values, against quantus, and their properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hardball.interpretation import (
    MEASURES,
    alignment,
    chance,
    foreground,
    foreground_share,
    gini,
    mean_of,
    paired_difference,
)

maps = arrays(np.float64, (1, 1, 4, 4), elements=st.floats(-10, 10).map(lambda x: round(x, 3)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1, 1, 1], 0.0),
        ([0.0, 0, 0, 7], 0.75),  # 1 − 1/d
        ([0.0, 0, -1, 1], 0.5),  # signs do not count
        ([1.0, 2, 3, 4], 0.25),
    ],
)
def test_gini_of_known_vectors(values: list[float], expected: float) -> None:
    assert gini(torch.tensor([values])).item() == pytest.approx(expected)


@given(maps)
def test_gini_is_half_the_relative_mean_difference(values: np.ndarray) -> None:
    """Σ_ij |a_i − a_j| / (2 d² mean): the other definition."""
    sizes = np.abs(values.ravel())
    assume(sizes.sum() > 0)
    expected = np.abs(sizes[:, None] - sizes[None]).sum() / (2 * len(sizes) ** 2 * sizes.mean())
    assert gini(torch.from_numpy(values)).item() == pytest.approx(expected, abs=1e-9)


@given(maps, st.floats(1e-30, 1e30), st.sampled_from(sorted(MEASURES)))
def test_no_measure_depends_on_scale_or_sign(values: np.ndarray, factor: float, name: str) -> None:
    assume(np.abs(values).sum() > 0)
    image = torch.rand(1, 1, 4, 4, dtype=torch.float64)
    mask = foreground(image, above=0.5)
    one = torch.from_numpy(values)
    first, second = (MEASURES[name](m, image, mask).item() for m in (one, -factor * one))
    assert second == pytest.approx(first, rel=1e-6, abs=1e-9)
    assert 0 <= first <= 1


@given(maps)
def test_the_shares_of_foreground_and_background_sum_to_one(values: np.ndarray) -> None:
    assume(np.abs(values).sum() > 0)
    mask = torch.rand(1, 1, 4, 4) > 0.5
    one = torch.from_numpy(values)
    both = foreground_share(one, mask) + foreground_share(one, ~mask)
    assert both.item() == pytest.approx(1)


def test_a_map_in_the_direction_of_the_image_is_aligned() -> None:
    images = torch.rand(3, 2, 4, 4)
    factors = torch.tensor([1.0, -3, 1e-30]).view(3, 1, 1, 1)
    torch.testing.assert_close(alignment(factors * images, images), torch.ones(3).double())
    even = torch.ones(1, 1, 2, 2)
    across = torch.tensor([[[[1.0, -1], [1, -1]]]])
    assert alignment(across, even).item() == 0


def test_a_map_of_zeros_is_undefined() -> None:
    nothing, images = torch.zeros(1, 1, 4, 4), torch.rand(1, 1, 4, 4)
    mask = foreground(images)
    assert all(measure(nothing, images, mask).isnan().all() for measure in MEASURES.values())


def test_agree_with_quantus() -> None:
    quantus = pytest.importorskip("quantus")
    values = torch.randn(5, 1, 8, 8)
    images = torch.rand(5, 1, 8, 8)
    mask = foreground(images, above=0.6)
    inputs = {
        "x_batch": images.numpy(),
        "y_batch": np.zeros(5, dtype=int),
        "a_batch": values.numpy(),
    }
    settings = {"abs": True, "normalise": False, "disable_warnings": True}
    sparse = quantus.Sparseness(**settings)(model=None, **inputs)
    np.testing.assert_allclose(gini(values).numpy(), sparse, atol=1e-5)
    mass = quantus.RelevanceMassAccuracy(**settings)(model=None, s_batch=mask.numpy(), **inputs)
    np.testing.assert_allclose(foreground_share(values, mask).numpy(), mass, atol=1e-5)


def test_chance_is_what_noise_gives() -> None:
    images = torch.rand(2000, 1, 6, 6)
    mask = foreground(images, above=0.7)
    noise = torch.randn(2000, 1, 6, 6)
    for name, level in chance(images, mask).items():
        values = MEASURES[name](noise, images, mask)
        # of 36 values Gini's is (d − 1)/d of that of infinitely many
        expected = level * (35 / 36 if name == "gini" else 1)
        assert (
            abs(float(values.mean()) - expected) < 5 * float(values.std()) / math.sqrt(2000) + 2e-3
        )


def test_the_foreground_and_its_surroundings() -> None:
    images = torch.zeros(1, 2, 5, 5)
    images[0, 1, 2, 2] = 0.3
    assert foreground(images).sum() == 2  # the pixel, in both channels
    assert foreground(images, above=0.3).sum() == 0
    assert foreground(images, grow=1)[0, 0].int().tolist()[1] == [0, 1, 1, 1, 0]
    assert foreground(images, grow=1).sum() == 18
    assert foreground(images, grow=9).all()


def test_a_mean_with_its_interval() -> None:
    found = mean_of(torch.tensor([1.0, 2, 3, math.nan]))
    assert (found.mean, found.n, found.undefined) == (2.0, 3, 1)
    # Student's t, 2 degrees of freedom: 4.3027 · 1/√3
    assert found.high - found.mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert mean_of(torch.tensor([math.nan])).as_json() == {
        "mean": None,
        "low": None,
        "high": None,
        "n": 0,
        "undefined": 1,
    }


def test_intervals_cover_the_true_mean_as_often_as_they_say() -> None:
    inside = 0
    for _ in range(400):
        found = mean_of(torch.rand(40))
        inside += found.low <= 0.5 <= found.high
    assert 0.91 < inside / 400 < 0.985  # 4 standard errors around 0.95


def test_pairs_cancel_what_images_have_in_common() -> None:
    common = 10 * torch.rand(100)
    one, other = common + 0.1 + 0.01 * torch.randn(100), common
    found = paired_difference(one, other)
    assert 0.09 < found.low < 0.1 < found.high < 0.11
    assert mean_of(one).low < mean_of(other).high  # which separate intervals do not show
