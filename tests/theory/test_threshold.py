"""The best threshold of a data set, against a search over a fine grid and on planted images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardball import UserError
from hardball.theory import best_threshold

eighths = st.lists(st.integers(0, 255).map(lambda k: k / 255), min_size=1, max_size=30)


def shares(pixels, eps, threshold):
    """(fixed below, fixed above) by definition: neither end of the ball crosses the threshold."""
    below = np.mean([x + eps <= threshold for x in pixels])
    above = np.mean([x - eps > threshold for x in pixels])
    return below, above


def test_planted_images_have_the_shares_that_were_planted():
    """70% black, 20% white, 10% grey: at 0.4 only the grey can be moved, at any threshold in between."""
    images = np.array([0.0] * 70 + [1.0] * 20 + [0.5] * 10).reshape(10, 1, 10)
    found = best_threshold(images, 0.4)
    assert found.threshold == 0.5
    assert (found.below, found.above, found.movable) == pytest.approx((0.7, 0.2, 0.1))


def test_where_a_front_cannot_help():
    """Grey values spread evenly: at 0.4 eight pixels of ten can be moved at the best threshold."""
    found = best_threshold(np.linspace(0, 1, 100_001), 0.4)
    assert found.movable == pytest.approx(0.8, abs=2e-3)
    assert found.threshold == pytest.approx(0.5, abs=2e-3)


@given(pixels=eighths, eps=st.sampled_from([0.0, 0.05, 0.123, 0.301, 0.45]))
def test_no_threshold_of_a_fine_grid_fixes_more_on_the_rarer_side(pixels, eps):
    found = best_threshold(np.array(pixels), eps)
    assert 0 < found.threshold < 1
    assert (found.below, found.above) == pytest.approx(shares(pixels, eps, found.threshold))
    rarer = max(min(shares(pixels, eps, t)) for t in np.linspace(0.001, 0.999, 400))
    assert min(found.below, found.above) >= rarer - 1e-12


def test_what_is_no_image_is_refused():
    with pytest.raises(UserError, match=r"pixels in \[0, 1\]"):
        best_threshold(np.array([3.0]), 0.1)
    with pytest.raises(UserError, match=r"`eps=2`; allowed is a number in \[0, 1\]"):
        best_threshold(np.array([0.5]), 2)
