"""Brute force against exhaustive search, and what it promises."""

import re
from itertools import product

import pytest
import torch
from torch import nn

from hardball import ThreatModel, UserError
from hardball.attacks import BruteForce
from hardball.losses import correct, margin
from hardball.seeding import generators
from promises import logits_of

EPS = 0.2


def problem(classes, *, pixels=4, count=40, seed=0):
    """A random network on tiny images [count, 1, 2, pixels/2], the first three labelled wrong."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, 16), nn.Tanh(), nn.Linear(16, classes)
        )
        model[1].get_parameter("weight").data *= 4
        images = torch.rand(count, 1, 2, pixels // 2)
    labels = logits_of(model, images).argmax(dim=1)
    labels[:3] = (labels[:3] + 1) % classes
    return model, images, labels


def sources(count, seed=7):
    return generators(seed, range(count))


@pytest.mark.parametrize(
    "threat", [ThreatModel("linf", EPS), ThreatModel("unbounded", 1.0)], ids=str
)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_on_16_corners_it_is_exhaustive_search(threat, classes):
    """600 samples miss one of 16 corners with probability 10⁻¹⁷."""
    model, images, labels = problem(classes, seed=classes)
    found = BruteForce(samples=600)(model, images, labels, threat, generator=sources(len(images)))
    signs = torch.tensor(list(product([-1.0, 1.0], repeat=4))).reshape(16, 1, 1, 2, 2)
    corners = (images + threat.eps * signs).clamp(0, 1)
    logits = logits_of(model, corners.flatten(0, 1))
    loss = margin(logits, labels.repeat(16)).reshape(16, -1)
    clean = margin(logits_of(model, images), labels)
    fooled = (loss >= 0).any(dim=0) | (clean >= 0)
    assert (clean[3:] < 0).all()
    if threat.norm == "linf":
        assert 3 < fooled.sum() < len(images)
    assert torch.equal(found.fooled, fooled)
    stands = ~fooled
    worst = torch.maximum(loss.amax(dim=0), clean)
    torch.testing.assert_close(found.loss[stands], worst[stands])
    fell = fooled & (clean < 0)
    near = (found.examples - corners).abs().flatten(2).amax(dim=2)[:, fell].amin(dim=0)
    assert (near < 1e-6).all()
    assert torch.equal(found.fooled, ~correct(logits_of(model, found.examples), labels))


def test_every_pixel_moves_up_or_down_by_eps_and_is_clipped():
    seen = []

    def model(images):
        seen.append(images.clone())
        return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)

    image = torch.tensor([[[[0.5, 0.1, 0.95, 0.3]]]])
    label = torch.tensor([0])
    found = BruteForce(samples=1000)(model, image, label, ThreatModel("linf", EPS))
    assert not found.fooled.any()
    points = torch.cat(seen[1:])
    assert len(points) == 1000
    low, high = (image - EPS).clamp(0, 1), (image + EPS).clamp(0, 1)
    up, down = torch.isclose(points, high), torch.isclose(points, low)
    assert (up ^ down).all()
    share = up.double().mean(dim=0)
    # four standard deviations of 1,000 tosses
    assert ((share - 0.5).abs() < 4 * 0.5 / 1000**0.5).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l0", "unbounded"])
def test_samples_inside_the_ball_are_spread(norm):
    seen = []

    def model(images):
        seen.append(images.clone())
        return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)

    image = torch.full((2, 1, 2, 2), 0.5)
    eps = torch.tensor([1.0, 1.0]) if norm == "unbounded" else torch.tensor([0.1, 0.2])
    threat = ThreatModel(norm, eps * 10 if norm == "l0" else eps)
    BruteForce(samples=300, corners=False)(model, image, torch.tensor([0, 0]), threat)
    points = torch.cat(seen[1:])
    assert len(points) == 600
    largest = 0.0
    for rows in torch.cat(seen[1:]).split(1):
        size = float(threat.size(rows - image[:1]))
        assert size <= float(torch.as_tensor(threat.eps).max()) * (1 + 1e-5)
        largest = max(largest, size)
    assert largest > 0.4 * float(torch.as_tensor(threat.eps).max())
    assert len(points.flatten(1).unique(dim=0)) > 500


def test_corners_in_l2_have_length_eps():
    model, images, labels = problem(3, pixels=16)
    images = 0.4 + 0.2 * images
    labels = logits_of(model, images).argmax(dim=1)
    threat = ThreatModel("l2", EPS)
    found = BruteForce(samples=50)(model, images, labels, threat)
    moved = found.examples - images
    changed = moved.flatten(1).any(dim=1)
    assert changed.any()
    torch.testing.assert_close(
        moved[changed].abs(), torch.full_like(moved[changed], EPS / 4), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("corners", [True, False])
def test_an_example_does_not_depend_on_its_companions(corners):
    model, images, labels = problem(4)
    attack, threat = BruteForce(samples=300, corners=corners), ThreatModel("linf", EPS)
    whole = attack(model, images, labels, threat, generator=sources(len(images)))
    rows = torch.tensor([31, 5, 17, 2])
    own = [sources(len(images))[i] for i in rows]
    part = attack(model, images[rows], labels[rows], threat, generator=own)
    assert torch.equal(part.examples, whole.examples[rows])
    assert torch.equal(part.fooled, whole.fooled[rows])
    other = attack(model, images, labels, threat, generator=sources(len(images), seed=8))
    assert not torch.equal(other.examples, whole.examples)


def test_the_samples_run_are_counted_and_the_broken_are_left_alone():
    passed = 0

    def model(images):
        nonlocal passed
        passed += len(images)
        return torch.stack([images.flatten(1)[:, 0], torch.full((len(images),), 0.5)], dim=1)

    images = torch.full((3, 1, 2, 2), 0.9)
    images[1] = 0.55
    images[2] = 0.3
    found = BruteForce(samples=1000)(
        model, images, torch.zeros(3, dtype=torch.int64), ThreatModel("linf", 0.1)
    )
    # one stands, one falls in the first draw, one was wrong already
    assert found.fooled.tolist() == [False, True, True]
    assert found.forwards == passed == 3 + 1000 + 128
    assert found.backwards == 0


def test_each_example_may_have_its_own_eps():
    model, images, labels = problem(10)
    eps = torch.tensor([0.0, 0.4]).repeat(20)
    threat = ThreatModel("linf", eps)
    found = BruteForce(samples=200)(model, images, labels, threat)
    clean = ~correct(logits_of(model, images), labels)
    assert threat.allows(found.examples, images).all()
    assert torch.equal(found.fooled[::2], clean[::2])
    assert found.fooled[1::2].sum() > clean[1::2].sum()


@pytest.mark.parametrize("rows", [slice(0, 0), slice(0, 3), slice(4, 5)])
def test_small_batches(rows):
    """None, only misclassified images, and one; the random state is left alone."""
    model, images, labels = problem(2)
    state = torch.get_rng_state()
    found = BruteForce(samples=100)(model, images[rows], labels[rows], ThreatModel("linf", EPS))
    assert torch.equal(torch.get_rng_state(), state)
    assert found.examples.shape == images[rows].shape
    clean = ~correct(logits_of(model, images[rows]), labels[rows])
    assert (found.fooled >= clean).all()
    if clean.all():
        assert found.forwards == len(images[rows])


def test_an_output_that_is_no_number_is_an_error():
    def model(images):
        score = images.flatten(1).sum(dim=1)
        score = torch.where(score > 2.2, torch.nan, score)
        return torch.stack([score, torch.zeros_like(score)], dim=1)

    image = torch.full((1, 1, 2, 2), 0.5)
    found = BruteForce(samples=200)(
        model, image, torch.tensor([0]), ThreatModel("linf", 0.2), generator=sources(1)
    )
    assert found.fooled.all()
    assert logits_of(model, found.examples).isnan().any()


def test_bad_settings_are_refused():
    model, images, labels = problem(2)
    with pytest.raises(UserError, match=re.escape("samples=0; allowed is 1 or more")):
        BruteForce(samples=0)
    message = "corners=True in the norm l0, whose ball has none; use corners=False, or another norm"
    with pytest.raises(UserError, match=re.escape(message)):
        BruteForce(samples=10)(model, images, labels, ThreatModel("l0", 1))
    assert BruteForce(samples=3000).cost == 1000
