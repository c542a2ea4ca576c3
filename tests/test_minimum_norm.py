"""The smallest distortion against closed forms, and what holds for any attack."""

import math
import re
from copy import deepcopy
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hardball import PGD, Attack, ThreatModel, UserError
from hardball.attacks import AttackResult, AutoAttackPart, minimum_distortion
from hardball.attacks.result import judged
from hardball.losses import correct
from hardball.seeding import generators
from hardball.threats import GEOMETRIES

DUAL = {"linf": lambda w: w.abs().sum(), "l2": torch.linalg.vector_norm}
UPPER = {"linf": 0.1, "l2": 0.4}
STEPS = PGD(steps=3, random_start=False)
"""On a linear model as good as any number of steps."""


def linear_problem(two_classes, norm, *, seed, count=12):
    """A linear model that has grey on its boundary, and images of known distance from it, up to
    1.2·upper. Only those are kept whose way to the boundary is clear of the box."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(1, 4, 4, generator=draw, dtype=torch.float64)
    images = 0.5 + 0.03 * torch.randn(count, 1, 4, 4, generator=draw, dtype=torch.float64)
    labels = torch.randint(2, (count,), generator=draw)
    distance = 1.2 * UPPER[norm] * torch.rand(count, generator=draw, dtype=torch.float64)
    bias = -0.5 * float(weight.sum())
    wanted = (2 * labels - 1) * distance * DUAL[norm](weight)
    score = (images * weight).flatten(1).sum(dim=1) + bias
    shift = (wanted - score) / weight.square().sum()
    images = images + shift[:, None, None, None] * weight
    room = 1.2 * UPPER[norm] if norm == "linf" else 0.0
    clear = ((images >= room) & (images <= 1 - room)).flatten(1).all(dim=1)
    return two_classes(weight, bias), images[clear], labels[clear], distance[clear]


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), norm=st.sampled_from(["linf", "l2"]))
def test_of_a_linear_model_it_is_the_distance_in_the_dual_norm(two_classes, seed, norm):
    """ℓ∞: |w·x + b| / ‖w‖₁; ℓ2: |w·x + b| / ‖w‖₂; ∞ beyond `upper`."""
    model, images, labels, distance = linear_problem(two_classes, norm, seed=seed)
    assert len(images) > 3
    upper, tolerance = UPPER[norm], 1e-3
    found = minimum_distortion(
        model, images, labels, norm, attack=STEPS, upper=upper, tolerance=tolerance
    )
    within = distance <= upper
    assert found.radius[~within].isinf().all()
    radius, standing = found.radius[within], found.standing[within]
    assert (radius >= distance[within] - 1e-9).all()
    assert (radius <= distance[within] + tolerance).all()
    assert (standing <= distance[within] + 1e-9).all()
    assert (radius - standing <= tolerance).all()


@pytest.fixture
def problem(digits, digits_net):
    """(model, images, labels): 30 digits, a few of which the model gets wrong."""
    some = digits.rows(slice(40, 70))
    return deepcopy(digits_net), some.images, some.labels


@pytest.mark.parametrize(
    ("norm", "upper", "tolerance"), [("linf", 0.3, 0.01), ("l2", 2.0, 0.05), ("l0", 12, 1.0)]
)
def test_witnesses_lie_at_the_radius_and_the_curve_never_rises(problem, norm, upper, tolerance):
    model, images, labels = problem
    found = minimum_distortion(
        model, images, labels, norm, attack=PGD(steps=10), upper=upper, tolerance=tolerance
    )
    with torch.no_grad():
        wrong = ~correct(model(found.witnesses), labels)
        clean = ~correct(model(images), labels)
    broken = found.radius.isfinite()
    assert clean.any()
    assert broken.sum() > clean.sum()
    assert torch.equal(wrong, broken)
    assert torch.equal(found.radius == 0, clean)
    size = GEOMETRIES[norm].size(found.witnesses - images).double()
    torch.testing.assert_close(size[broken], found.radius[broken], rtol=1e-5, atol=1e-6)
    assert torch.equal(found.witnesses[~broken], images[~broken])
    assert (found.radius[broken] - found.standing[broken] <= tolerance).all()
    assert (found.standing <= found.radius).all()
    if norm == "l0":
        assert torch.equal(found.radius[broken], found.radius[broken].round())
    radii, accuracy = found.curve()
    assert radii == sorted(radii)
    assert accuracy == sorted(accuracy, reverse=True)
    assert accuracy[0] == pytest.approx(1 - clean.double().mean().item())
    assert accuracy[-1] == pytest.approx((~broken).double().mean().item())
    points = [upper * k / 50 for k in range(51)]
    between = found.accuracy(points)
    assert between == sorted(between, reverse=True)


def test_an_attack_at_one_eps_agrees_with_the_curve(problem):
    """What PGD leaves standing at ε is at most a bracket away from the curve there."""
    model, images, labels = problem
    attack, tolerance = PGD(steps=20, random_start=False), 0.004
    found = minimum_distortion(
        model, images, labels, "linf", attack=attack, upper=0.4, tolerance=tolerance
    )
    for eps in (0.05, 0.1, 0.2):
        left = ~attack(model, images, labels, ThreatModel("linf", eps)).fooled
        alone = left.double().mean().item()
        low, high = found.accuracy([eps + 2 * tolerance, eps - 2 * tolerance])
        assert low - 1 / len(images) <= alone <= high + 1 / len(images)


@pytest.mark.parametrize("attack", [PGD(steps=8, restarts=2), AutoAttackPart(iterations=5)])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_with_any_attack_and_number_of_classes(attack, classes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(classes)
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, classes))
        images = torch.rand(6, 1, 6, 6)
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    labels[0] = (labels[0] + 1) % classes
    found = minimum_distortion(
        model, images, labels, "linf", attack=attack, upper=0.5, tolerance=0.05
    )
    assert found.radius[0] == 0
    assert (found.radius[1:] > 0).all()
    assert found.radius[1:].isfinite().any()
    assert found.backwards > 0


def test_an_example_does_not_depend_on_its_companions(problem):
    model, images, labels = problem
    fixed: dict[str, Any] = {"attack": PGD(steps=5, restarts=2), "upper": 0.3, "tolerance": 0.02}
    whole = minimum_distortion(
        model, images, labels, "linf", generator=generators(0, range(30)), **fixed
    )
    in_parts = minimum_distortion(
        model, images, labels, "linf", generator=generators(0, range(30)), batch_size=7, **fixed
    )
    torch.testing.assert_close(whole.radius, in_parts.radius, rtol=0, atol=1e-6)
    rows = torch.tensor([22, 3, 9])
    own = [generators(0, range(30))[i] for i in rows]
    part = minimum_distortion(model, images[rows], labels[rows], "linf", generator=own, **fixed)
    torch.testing.assert_close(part.radius, whole.radius[rows], rtol=0, atol=1e-6)


class Claims:
    """An attack that claims everything and has broken nothing."""

    cost = 1

    def __call__(self, model, images, labels, threat, *, generator=None):
        return AttackResult(
            examples=images.clone(),
            loss=torch.zeros(len(images)),
            fooled=torch.ones(len(images), dtype=torch.bool),
            forwards=0,
            backwards=0,
        )


class Straight:
    """Moves straight to a fixed example, which lies 0.1 away, but only if ε is 0.19 or more."""

    cost = 1

    def __call__(self, model, images, labels, threat, *, generator=None):
        far = torch.as_tensor(threat.eps).reshape(-1, 1, 1, 1) >= 0.19
        return judged(model, images, labels, threat, images + 0.1 * far)


# Neither derives from Attack, which would judge what they claim.
CLAIMS, STRAIGHT = cast(Attack, Claims()), cast(Attack, Straight())


def test_claims_are_not_believed_and_a_near_example_shortens_the_search(two_classes):
    model = two_classes(torch.tensor([[[-1.0]]]), 0.55)
    images, labels = torch.tensor([[[[0.5]]]]), torch.tensor([1])
    fixed: dict[str, Any] = {"upper": 0.4, "tolerance": 0.001}
    claimed = minimum_distortion(model, images, labels, "linf", attack=CLAIMS, **fixed)
    assert claimed.radius.isinf().all()
    near = minimum_distortion(model, images, labels, "linf", attack=STRAIGHT, **fixed)
    # found at 0.4 and at distance 0.1; below that the attack fails, up to the tolerance
    assert near.radius.tolist() == pytest.approx([0.1])
    assert near.standing.tolist() == pytest.approx([0.1], abs=0.001)


def test_summaries(problem):
    model, images, labels = problem
    found = minimum_distortion(
        model, images, labels, "linf", attack=STEPS, upper=0.3, tolerance=0.01
    )
    ordered = sorted(found.radius.tolist())
    assert found.median == ordered[14]
    assert found.accuracy([found.median])[0] <= 0.5
    assert found.largest == ordered[-1]
    tight = minimum_distortion(
        model, images, labels, "linf", attack=STEPS, upper=0.01, tolerance=0.005
    )
    assert tight.median == math.inf
    assert tight.largest == math.inf
    message = "eps=0.02; allowed is up to upper=0.01, beyond which nothing was measured"
    with pytest.raises(UserError, match=re.escape(message)):
        tight.accuracy([0.0, 0.02])


def test_empty_and_all_wrong(problem):
    model, images, labels = problem
    fixed: dict[str, Any] = {"attack": PGD(steps=2), "upper": 0.3, "tolerance": 0.01}
    nothing = minimum_distortion(model, images[:0], labels[:0], "linf", **fixed)
    assert nothing.radius.shape == (0,)
    assert nothing.witnesses.shape == (0, 1, 8, 8)
    assert math.isnan(nothing.median)
    assert math.isnan(nothing.largest)
    with torch.no_grad():
        wrong = (model(images).argmax(dim=1) + 1) % 10
    found = minimum_distortion(model, images, wrong, "linf", **fixed)
    assert not found.radius.any()
    assert found.largest == 0
    assert found.backwards == 0
    assert found.curve() == ([0.0], [0.0])


@pytest.mark.parametrize(
    ("norm", "upper", "tolerance", "message"),
    [
        ("linf", 0.3, 0.3, "tolerance=0.3 with upper=0.3; allowed is 0 < tolerance < upper"),
        ("linf", 0.3, 0.0, "tolerance=0 with upper=0.3; allowed is 0 < tolerance < upper"),
        ("linf", 8.0, 0.1, "eps=8 for linf; allowed is"),
        ("l1", 8.0, 0.1, "unknown norm 'l1'; there are: l0, l2, linf, unbounded"),
        ("unbounded", 1.0, 0.1, "the norm unbounded has a single radius; allowed are linf, l2, l0"),
    ],
)
def test_bad_settings_are_refused(problem, norm, upper, tolerance, message):
    model, images, labels = problem
    with pytest.raises(UserError, match=re.escape(message)):
        minimum_distortion(
            model, images, labels, norm, attack=STEPS, upper=upper, tolerance=tolerance
        )
