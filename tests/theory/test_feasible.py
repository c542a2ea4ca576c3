"""Closest pairs, conflicts and forced errors against scipy, enumeration and known answers."""

import itertools
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from hardball.errors import UserError
from hardball.theory import closest_pair, conflicts, forced_error, forced_errors
from hardball.theory.arguments import exact
from hardball.theory.distances import NORMS, labelled_points
from hardball.theory.vertex_cover import Cover, check_cover

KINDS = ["bytes", "digits", "float32", "float64"]


def cloud(
    kind: str, count: int, width: int, classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points with many ties and some duplicates, and labels of at least two classes."""
    rng = np.random.default_rng(seed)
    step = {"bytes": 255, "digits": 16}.get(kind, 7)
    images = rng.integers(0, min(step, 9) + 1, size=(count, width)) / step
    if kind == "bytes":
        images = rng.choice([0, 1, 51, 102, 255], size=(count, width)) / 255
    images[rng.integers(count, size=count // 3)] = images[0]
    labels = rng.integers(0, classes, size=count)
    labels[:2] = [0, 1]
    return images.astype(np.float64 if kind == "float64" else np.float32), labels


def reference(images: np.ndarray, norm: str) -> np.ndarray:
    wide = images.astype(np.float64)
    for scale in (16, 255):  # what float32 has rounded
        if np.allclose(wide * scale, np.rint(wide * scale), atol=1e-4):
            wide = np.rint(wide * scale) / scale
    if norm == "l0":
        return cdist(wide, wide, "hamming") * wide.shape[1]
    return cdist(wide, wide, {"linf": "chebyshev", "l2": "euclidean"}[norm])


CLOUDS = st.tuples(
    st.sampled_from(KINDS), st.integers(2, 40), st.sampled_from([1, 3, 64, 65, 150]),
    st.integers(2, 4), st.integers(0, 10**6),
)  # fmt: skip


def test_pytorch_keeps_its_number_of_threads() -> None:
    images, labels = cloud("bytes", 20, 64, 2, 0)
    before = torch.get_num_threads()
    closest_pair(images, labels, "linf")
    assert torch.get_num_threads() == before


@settings(deadline=None, max_examples=40)
@given(CLOUDS, st.sampled_from(sorted(NORMS)))
def test_closest_pair_is_scipys(shape, norm):
    images, labels = cloud(*shape)
    table = reference(images, norm)
    table[labels[:, None] == labels] = np.inf
    found = closest_pair(images, labels, norm)
    assert found.distance == pytest.approx(table.min(), rel=1e-6, abs=1e-9)
    assert table[found.first, found.second] == pytest.approx(table.min(), rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(CLOUDS, st.sampled_from(sorted(NORMS)), st.integers(0, 20))
def test_conflicts_are_scipys_ties_included(shape, norm, rank):
    """ε is half of a distance that occurs, so the comparison is decided by a tie."""
    images, labels = cloud(*shape)
    table = np.triu(reference(images, norm))
    different = np.triu(labels[:, None] != labels)
    occurring = np.unique(table[different])
    eps = occurring[min(rank, len(occurring) - 1)] / 2
    if norm == "l0":
        eps = np.ceil(eps)
    pairs, lengths = conflicts(images, labels, norm, eps=eps)
    expected = np.argwhere(different & (table <= 2 * eps + 1e-6))
    assert sorted(map(tuple, pairs)) == sorted(map(tuple, expected))
    assert lengths == pytest.approx(table[tuple(pairs.T)], rel=1e-5, abs=1e-7)
    assert (np.diff(lengths) >= 0).all()


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(KINDS), st.integers(2, 6), st.integers(2, 3), st.integers(0, 10**6),
    st.sampled_from(sorted(NORMS)),
)  # fmt: skip
def test_forced_error_equals_trying_every_set_of_images(kind, count, classes, seed, norm):
    images, labels = cloud(kind, count, 3, classes, seed)
    radii = [0, 1, 2] if norm == "l0" else [0, 0.1, 0.2, 0.35, 0.5]
    for found in forced_errors(images, labels, norm, eps=radii):
        pairs, _ = conflicts(images, labels, norm, eps=found.eps)
        least = next(
            size
            for size in range(count)
            for wrong in itertools.combinations(range(count), size)
            if np.isin(pairs, wrong).any(axis=1).all()
        )
        assert found.lower == found.upper == len(found.wrong) == least
        assert found.conflicts == len(pairs)
        assert np.isin(pairs, found.wrong).any(axis=1).all()


@settings(deadline=None, max_examples=40)
@given(CLOUDS, st.sampled_from(sorted(NORMS)))
def test_forced_error_is_monotone_and_never_above_the_constant_rule(shape, norm):
    images, labels = cloud(*shape)
    eps = list(range(0, 80, 5)) if norm == "l0" else np.linspace(0, 1.2, 9).tolist()
    found = forced_errors(images, labels, norm, eps=eps)
    assert all(f.exact for f in found)
    assert [f.upper for f in found] == sorted(f.upper for f in found)
    assert found[-1].upper <= len(labels) - np.bincount(labels).max()


def test_two_classes_carry_a_certificate_anyone_can_check():
    rng = np.random.default_rng(0)
    images, labels = rng.random((300, 2)), rng.integers(0, 2, size=300)
    found = forced_error(images, labels, "l2", eps=0.02)
    pairs, _ = conflicts(images, labels, "l2", eps=0.02)
    assert found.proof == "matching"
    cover = Cover(found.wrong, found.lower, found.matching, found.weights)
    assert check_cover(cover, 300, pairs)
    assert found.weights.sum() == len(found.wrong) == found.lower > 10


def test_too_many_conflicts_leave_a_count_and_bounds():
    rng = np.random.default_rng(0)
    images, labels = rng.random((400, 3)), rng.integers(0, 2, size=400)
    eps = [0.02, 0.05, 0.2, 0.45]
    full = forced_errors(images, labels, eps=eps)
    few = forced_errors(images, labels, eps=eps, most=full[1].conflicts)
    assert [f.conflicts for f in few] == [f.conflicts for f in full]
    assert [f.exact for f in few[:2]] == [True, True]
    for bounded, solved in zip(few[2:], full[2:], strict=True):
        assert bounded.lower <= solved.lower
        assert bounded.upper >= solved.upper
        pairs, _ = conflicts(images, labels, eps=bounded.eps)
        assert np.isin(pairs, bounded.wrong).any(axis=1).all()
        assert np.unique(bounded.matching).size == bounded.matching.size == 2 * bounded.lower


def test_duplicates_with_different_labels_conflict_at_0():
    images = np.array([[0.5, 0.1], [0.5, 0.1], [0.9, 0.1], [0.5, 0.1]])
    found = forced_error(images, [0, 1, 1, 2], eps=0)
    assert (found.conflicts, found.upper, found.proof) == (3, 2, "matching")
    assert closest_pair(images, [0, 1, 1, 2]).distance == 0


@pytest.mark.parametrize(
    ("eps", "levels", "meets"),
    [(0.1, 51, True), (0.1, 52, False), (0.3, 153, True), (0.3, 154, False), (0.35, 178, True),
     (8 / 255, 16, True), (8 / 255, 17, False), (15.5 / 255, 31, True), (0.15, 76, True)],
)  # fmt: skip
def test_ties_between_bytes_are_exact(eps, levels, meets):
    images = np.array([[100], [100 + levels]], dtype=np.float32) / np.float32(255)
    if levels > 155:
        images = np.array([[0], [levels]], dtype=np.float32) / np.float32(255)
    assert len(conflicts(images, [0, 1], eps=eps)[0]) == meets
    assert len(conflicts(images, [0, 1], "l2", eps=eps)[0]) == meets


@given(st.integers(0, 10_000), st.integers(1, 10_000))
def test_a_float_is_read_as_the_fraction_it_came_from(numerator, denominator):
    assert exact(numerator / denominator) == Fraction(numerator, denominator)


def test_bytes_and_digits_are_recognised_and_floats_left_alone():
    bytes_ = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
    labels = np.arange(256) % 2
    assert labelled_points(bytes_, labels).scale == 255
    assert labelled_points(bytes_, labels).values.dtype == np.uint8
    assert labelled_points(np.arange(17)[:, None] / 16, np.arange(17) % 2).scale == 16
    assert labelled_points(bytes_ + np.float32(1e-4), labels).values.dtype == np.float32


def test_l0_counts_features_of_floats_and_needs_whole_radii():
    images = np.array([[0.1, 0.2, 0.3], [0.1, 0.25, 0.35], [0.7, 0.8, 0.9]])
    found = closest_pair(images, [0, 1, 1], "l0")
    assert (found.first, found.second, found.distance, found.limit) == (0, 1, 2.0, 1.0)
    assert forced_error(images, [0, 1, 1], "l0", eps=0).upper == 0
    assert forced_error(images, [0, 1, 1], "l0", eps=1).conflicts == 1
    assert forced_error(images, [0, 1, 1], "l0", eps=2).conflicts == 2


def test_tensors_and_image_shapes_give_the_same_answer():
    images, labels = cloud("bytes", 30, 12, 3, 5)
    tensor = torch.tensor(images.reshape(30, 3, 2, 2), requires_grad=True)
    assert closest_pair(tensor, torch.tensor(labels)) == closest_pair(images, labels)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda x, y: closest_pair(x, y, "l3"), "'l3'"),
        (lambda x, y: closest_pair(x * np.nan, y), "NaN"),
        (lambda x, y: closest_pair(x, y[:-1]), r"\(3,\)"),
        (lambda x, y: closest_pair(x, y * 0), "two classes"),
        (lambda x, y: closest_pair(x, y + 0.5), "fractions"),
        (lambda x, y: closest_pair(x.astype(np.uint8), y), "uint8"),
        (lambda x, y: closest_pair(torch.zeros(4, 2, dtype=torch.uint8), y), "uint8"),
        (lambda x, y: closest_pair(x[:0], y[:0]), r"\(0, 2\)"),
        (lambda x, y: closest_pair(x.astype(complex), y), "complex128"),
        (lambda x, y: forced_error(x, y, eps=-0.1), "eps=-0.1"),
        (lambda x, y: forced_error(x, y, eps=np.inf), "eps=inf"),
        (lambda x, y: forced_error(x, y, "l0", eps=1.5), "eps=1.5"),
        (lambda x, y: forced_errors(x, y, eps=[]), "at least one radius"),
        (lambda x, y: conflicts(x, y, eps=1, most=1), "most=1"),
    ],
)
def test_bad_input_names_the_value(call, word):
    images = np.array([[0.0, 0.0], [0.1, 0.1], [0.5, 0.5], [1.0, 1.0]])
    with pytest.raises(UserError, match=word) as caught:
        call(images, np.array([0, 1, 0, 1]))
    assert "\n" not in str(caught.value)


def mnist(name: str) -> tuple[np.ndarray, np.ndarray]:
    root = Path(os.environ.get("HARDBALL_DATA", Path(__file__).parents[3] / "shared" / "data"))
    raw = root / "MNIST" / "raw"
    if not raw.is_dir():
        pytest.skip(f"MNIST: no {raw}; set HARDBALL_DATA")
    images = np.fromfile(raw / f"{name}-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 784)
    return images, np.fromfile(raw / f"{name}-labels-idx1-ubyte", np.uint8)[8:].astype(np.int64)


@pytest.mark.parametrize("norm", sorted(NORMS))
def test_mnist_test_images_agree_with_scipy(norm):
    images, labels = (part[:1500] for part in mnist("t10k"))
    table = reference(images / 255, norm)
    table[labels[:, None] == labels] = np.inf
    assert closest_pair(images / 255, labels, norm).distance == pytest.approx(table.min())


def test_mnist_at_eps_one_half_leaves_only_the_largest_class():
    images, labels = mnist("t10k")
    found = forced_error(images / 255, labels, eps=0.5)
    assert found.proof == "every pair conflicts"
    assert found.upper == len(labels) - np.bincount(labels).max()
    assert found.conflicts == sum(
        a * c for a, c in itertools.combinations(np.bincount(labels).tolist(), 2)
    )
