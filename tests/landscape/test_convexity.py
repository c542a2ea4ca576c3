"""The numbers beside a segment, against closed forms and against all triples."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardball import UserError
from hardball.landscape import barrier, chord_violation, convexity_violation

ALPHA = np.linspace(0, 1, 201)


@pytest.mark.parametrize("end", [-2.0, 0.0, 0.3])
def test_a_convex_function_has_no_violation(end: float) -> None:
    loss = 3 * (ALPHA - 0.4) ** 2 + end * ALPHA
    assert chord_violation(ALPHA, loss) == 0
    assert convexity_violation(ALPHA, loss) == pytest.approx(0, abs=1e-12)
    assert barrier(loss) == 0


def test_a_concave_parabola_rises_a_quarter_above_its_chord() -> None:
    loss = ALPHA * (1 - ALPHA)
    assert chord_violation(ALPHA, loss) == pytest.approx(0.25)
    assert convexity_violation(ALPHA, loss) == pytest.approx(0.25)
    assert barrier(loss) == pytest.approx(0.25)


def test_two_wells_are_parted_by_their_barrier() -> None:
    # wells of depth 0 at the ends, the top of height 1 between them
    loss = (1 - (2 * ALPHA - 1) ** 2) ** 2
    assert barrier(loss) == pytest.approx(1)
    assert chord_violation(ALPHA, loss) == pytest.approx(1)


def test_a_barrier_counts_from_the_higher_end() -> None:
    loss = np.interp(ALPHA, [0, 0.5, 1], [2.0, 3.0, 0.0])
    assert barrier(loss) == pytest.approx(1)
    assert chord_violation(ALPHA, loss) == pytest.approx(2)


def test_a_wave_below_its_chord_is_seen_by_the_triples_alone() -> None:
    # two wells inside a bowl: the chord from end to end lies above everything
    loss = 20 * (ALPHA - 0.5) ** 2 + np.cos(6 * np.pi * ALPHA)
    assert chord_violation(ALPHA, loss) == 0
    assert barrier(loss) == 0
    assert convexity_violation(ALPHA, loss) > 0.4


@given(
    st.lists(st.floats(-5, 5), min_size=2, max_size=9),
    st.lists(st.floats(0.01, 3), min_size=9, max_size=9),
)
def test_the_envelope_gives_what_all_triples_give(loss: list[float], gaps: list[float]) -> None:
    places = np.cumsum(gaps[: len(loss)])
    rises = [
        loss[j]
        - ((places[k] - places[j]) * loss[i] + (places[j] - places[i]) * loss[k])
        / (places[k] - places[i])
        for i, j, k in combinations(range(len(loss)), 3)
    ]
    found = convexity_violation(places, loss)
    assert found == pytest.approx(max([0.0, *rises]), abs=1e-9)
    assert found >= chord_violation(places, loss) - 1e-9


@pytest.mark.parametrize(("alpha", "loss"), [([0], [1]), ([0, 1], [1]), ([0, 0], [1, 2])])
def test_what_is_no_sampled_function_is_refused(alpha: list[float], loss: list[float]) -> None:
    with pytest.raises(UserError, match="increasing places"):
        chord_violation(alpha, loss)
