"""The losses that attacks maximise, and what counts as classified right."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hardball import UserError
from hardball.losses import LOSSES, correct, cross_entropy, dlr, kl, margin


@st.composite
def problems(draw, *, fewest=3):
    """(logits [B, K], labels [B])."""
    shape = draw(st.integers(1, 4)), draw(st.integers(fewest, 6))
    # multiples of 1/8: ties occur, and differences are exact
    eighths = draw(arrays("int64", shape, elements=st.integers(-80, 80)))
    labels = draw(arrays("int64", shape[:1], elements=st.integers(0, shape[1] - 1)))
    return torch.from_numpy(eighths / 8), torch.from_numpy(labels)


def _cross_entropy(z, y):
    return np.logaddexp.reduce(z) - z[y]


def _margin(z, y):
    return max(np.delete(z, y)) - z[y]


def _dlr(z, y):
    first, _, third = sorted(z)[:-4:-1]
    return _margin(z, y) / (first - third + 1e-12)


BY_HAND = {"cross_entropy": _cross_entropy, "margin": _margin, "dlr": _dlr}


@pytest.mark.parametrize("name", LOSSES)
@given(problem=problems())
def test_losses_equal_their_formulas(name, problem):
    logits, labels = problem
    expected = [BY_HAND[name](z, y) for z, y in zip(logits.numpy(), labels.tolist(), strict=True)]
    np.testing.assert_allclose(LOSSES[name](logits, labels), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
@given(problem=problems(), drop=st.floats(0, 10), shift=st.floats(-100, 100))
def test_losses_rise_as_the_true_logit_falls_and_ignore_a_common_shift(name, problem, drop, shift):
    logits, labels = problem
    loss = LOSSES[name](logits, labels)
    lower = logits.scatter_add(1, labels[:, None], torch.full_like(logits[:, :1], -drop))
    assert (LOSSES[name](lower, labels) >= loss - 1e-9).all()
    torch.testing.assert_close(LOSSES[name](logits + shift, labels), loss, rtol=1e-9, atol=1e-9)


@given(problem=problems(fewest=2))
def test_right_means_strictly_largest(problem):
    logits, labels = problem
    expected = [
        all(z[y] > v for k, v in enumerate(z) if k != y)
        for z, y in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert correct(logits, labels).tolist() == expected
    assert (margin(logits, labels) < 0).tolist() == expected


@pytest.mark.parametrize(
    "logits",
    [[1.0, 1.0, 0.0], [float("nan"), 0.0, 0.0], [1.0, float("nan"), 0.0], [float("inf")] * 3],
)
def test_a_tie_or_a_nan_is_an_error(logits):
    assert not correct(torch.tensor([logits]), torch.tensor([0]))


@given(problem=problems(), scale=st.sampled_from([0.25, 4.0, 1024.0]))
def test_dlr_is_free_of_scale(problem, scale):
    logits, labels = problem
    top = logits.topk(3, dim=1).values
    assume((top[:, 0] > top[:, 2]).all())  # else it is 0/0, up to the 1e-12 that avoids it
    torch.testing.assert_close(dlr(logits * scale, labels), dlr(logits, labels))


def test_dlr_refuses_two_classes():
    with pytest.raises(UserError, match=r"2 classes.*3 or more.*margin"):
        dlr(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_cross_entropy_of_half_precision_still_tells_sure_predictions_apart(dtype):
    logits = torch.tensor([[12.0, 0.0], [14.0, 0.0]], dtype=dtype)
    losses = cross_entropy(logits, torch.zeros(2, dtype=torch.int64))
    torch.testing.assert_close(losses, torch.tensor([12.0, 14.0]).neg().exp().log1p())


@given(problem=problems(), other=problems())
def test_kl_is_a_divergence(problem, other):
    (p, _), (q, _) = problem, other
    rows, classes = min(len(p), len(q)), min(p.shape[1], q.shape[1])
    p, q = p[:rows, :classes], q[:rows, :classes]
    chance, reference = p.softmax(1), q.softmax(1)
    expected = (reference * (reference / chance).log()).sum(1)
    torch.testing.assert_close(kl(p, q), expected, rtol=1e-7, atol=1e-12)
    assert (kl(p, q) >= -1e-12).all()
    torch.testing.assert_close(kl(p, p), torch.zeros_like(expected))
