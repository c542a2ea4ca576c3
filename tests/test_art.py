"""ART's black boxes: judged in ball and box, and never let near anything else of the model."""

import logging
import random
import re
import sys
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hardball import ThreatModel, UserError
from hardball.attacks import ARTAttack
from hardball.attacks.art import KINDS
from hardball.losses import correct
from hardball.seeding import generators
from promises import check, logits_of

THREATS = [ThreatModel("linf", 0.1), ThreatModel("l2", 1.0)]
each_threat = pytest.mark.parametrize("threat", THREATS, ids=str)
each_kind = pytest.mark.parametrize("kind", KINDS)
SIDE = 12
LIMITS: dict[str, dict[str, Any]] = {
    "zoo": {"iterations": 15, "weight": 1e3},
    "hopskipjump": {"iterations": 3},
    "square": {"iterations": 40},
}


def limited(kind, **settings):
    return ARTAttack(kind=kind, **LIMITS[kind], **settings)


def problem(classes, *, seed=0, count=8, shape=(1, SIDE, SIDE)):
    """A random network of so many classes and images of it, the first two labelled wrong."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pixels = int(np.prod(shape))
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, 12), nn.ReLU(), nn.Linear(12, classes)
        ).eval()
        images = torch.rand(count, *shape)
    labels = logits_of(model, images).argmax(dim=1)
    labels[:2] = (labels[:2] + 1) % classes
    return model, images, labels


def check_black_box(found, model, images, labels, threat):
    check(found, model, images, labels, threat)
    assert found.backwards == 0


@each_kind
@each_threat
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_promises_hold_and_the_seed_decides(kind, threat, classes):
    model, images, labels = problem(classes, seed=classes)
    sources = generators(1, range(len(images)))
    found = limited(kind)(model, images, labels, threat, generator=sources)
    check_black_box(found, model, images, labels, threat)
    if classes == 10 and kind != "square":
        assert found.fooled.sum() > 2
    sources = generators(1, range(len(images)))
    again = limited(kind)(model, images, labels, threat, generator=sources)
    assert torch.equal(found.examples, again.examples)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", ["zoo", "hopskipjump"])
def test_of_a_linear_model_what_is_well_within_reach_falls_and_nothing_beyond(
    kind, norm, two_classes
):
    """The distance to the boundary is |w·x + b| / ‖w‖ in the dual norm."""
    draw = torch.Generator().manual_seed(2)
    weight = torch.randn(1, 6, 6, generator=draw)
    eps = {"linf": 0.1, "l2": 0.5}[norm]
    reach = eps * (weight.abs().sum() if norm == "linf" else weight.norm())
    images = 0.5 + 0.03 * torch.randn(8, 1, 6, 6, generator=draw)
    bias = -0.5 * float(weight.sum())
    share = torch.tensor([0.1, 0.2, 0.3, 0.4, 1.01, 1.1, 1.2, 1.3])
    score = (images * weight).flatten(1).sum(dim=1) + bias
    shift = (share * reach - score) / weight.square().sum()
    images = images + shift[:, None, None, None] * weight
    assert images.min() > 0
    assert images.max() < 1
    threat, labels = ThreatModel(norm, eps), torch.ones(8, dtype=torch.int64)
    settings: dict[str, dict[str, Any]] = {
        "zoo": {"iterations": 60, "weight": 1e3},
        "hopskipjump": {"iterations": 12},
    }
    attack = ARTAttack(kind=kind, **settings[kind])
    found = attack(two_classes(weight, bias), images, labels, threat)
    assert found.fooled.tolist() == [True] * 4 + [False] * 4


@pytest.mark.parametrize("kind", ["zoo", "hopskipjump"])
def test_an_image_does_not_depend_on_its_companions(kind):
    model, images, labels = problem(10)
    whole = limited(kind)(
        model, images, labels, THREATS[0], generator=generators(0, range(len(images)))
    )
    rows = torch.tensor([6, 2, 5])
    own = [generators(0, range(len(images)))[i] for i in rows]
    part = limited(kind)(model, images[rows], labels[rows], THREATS[0], generator=own)
    assert torch.equal(part.examples, whole.examples[rows])


def test_square_attacks_its_chunks_alone():
    model, images, labels = problem(10, count=14)
    images, labels = images[2:], labels[2:]
    sources = generators(0, range(len(images)))
    whole = limited("square", chunk=5)(model, images, labels, THREATS[0], generator=sources)
    for rows in (slice(0, 5), slice(5, 10), slice(10, 12)):
        sources = generators(0, range(len(images)))[rows]
        part = limited("square", chunk=5)(
            model, images[rows], labels[rows], THREATS[0], generator=sources
        )
        assert torch.equal(part.examples, whole.examples[rows])


@each_kind
def test_the_model_and_all_random_states_are_left_alone(kind, capfd, caplog):
    """Also batch norm in training mode; nothing is printed or logged."""
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(SIDE * SIDE, 10))
        images, labels = torch.rand(4, 1, SIDE, SIDE), torch.tensor([1, 2, 3, 4])
    model[2].eval()
    caplog.set_level(logging.DEBUG)
    level = logging.getLogger("art").level
    before = deepcopy(model.state_dict())
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
    limited(kind)(model, images, labels, THREATS[0])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [module.training for module in model] == [True, True, False]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), states[2], strict=True))  # noqa: NPY002
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert logging.getLogger("art").level == level


@each_kind
def test_small_batches_and_what_each_costs(kind):
    """None, only misclassified images, and one."""
    net, images, labels = problem(10)
    passed = 0

    def model(batch):
        nonlocal passed
        assert not torch.is_grad_enabled()
        assert batch.min() >= 0
        assert batch.max() <= 1
        passed += len(batch)
        return net(batch)

    for rows in (slice(0, 0), slice(0, 2), slice(4, 5), slice(1, 4)):
        passed = 0
        found = limited(kind)(model, images[rows], labels[rows], THREATS[0])
        assert found.forwards == passed
        assert found.examples.shape == images[rows].shape
        if rows == slice(0, 2):
            assert passed == 2


@each_kind
def test_each_example_may_have_its_own_eps(kind):
    model, images, labels = problem(10)
    threat = ThreatModel("linf", torch.tensor([0.0, 0.3]).repeat(4))
    found = limited(kind)(model, images, labels, threat)
    check_black_box(found, model, images, labels, threat)
    assert not found.fooled[2::2].any()
    assert found.fooled[3::2].any()


@pytest.mark.parametrize("shape", [(144,), (12, 12), (3, 12, 12)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@each_kind
def test_images_of_any_shape_and_precision(kind, shape, dtype):
    if kind == "square" and len(shape) == 1:
        return
    model, images, labels = problem(10, shape=shape, count=4)
    model, images = model.to(dtype), images.to(dtype)
    found = limited(kind)(model, images, labels, THREATS[0])
    assert found.examples.dtype == dtype
    assert found.examples.shape == images.shape
    assert torch.equal(found.fooled, ~correct(logits_of(model, found.examples), labels))


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 20, 22), (1, 28, 28)])
@each_threat
def test_square_runs_on_whatever_size_it_takes(shape, threat):
    model, images, labels = problem(10, shape=shape, count=4)
    try:
        found = ARTAttack(kind="square", iterations=30)(model, images, labels, threat)
    except UserError:
        assert shape == (1, 9, 9)
        assert threat.norm == "l2"
    else:
        check_black_box(found, model, images, labels, threat)


def test_zoo_works_on_black_images_and_in_every_norm():
    model, images, _ = problem(10, count=4)
    images[3] = 0.0
    labels = logits_of(model, images).argmax(dim=1)
    for norm, eps in {"linf": 0.1, "l2": 2.0, "l0": 30, "unbounded": 1.0}.items():
        threat = ThreatModel(norm, eps)
        found = ARTAttack(kind="zoo", iterations=2)(model, images, labels, threat)
        check_black_box(found, model, images, labels, threat)


@pytest.mark.parametrize("shape", [(1, 33, 33), (1, 34, 36)])
def test_zoo_works_on_images_larger_than_its_own(shape):
    model, images, labels = problem(10, shape=shape, count=3)
    found = ARTAttack(kind="zoo", iterations=1)(model, images, labels, THREATS[0])
    check_black_box(found, model, images, labels, THREATS[0])
    assert found.forwards > len(images)


def test_zoo_may_darken_a_pixel(two_classes):
    """On a model that only darkness fools."""
    images = torch.full((2, 1, 6, 6), 0.6)
    model = two_classes(torch.ones(1, 6, 6), -36 * 0.55)
    found = ARTAttack(kind="zoo", iterations=40, weight=1e3)(
        model, images, torch.tensor([1, 1]), ThreatModel("linf", 0.2)
    )
    assert found.fooled.all()
    assert (found.examples < images).any()


def test_hopskipjump_stands_where_no_start_is_misclassified():
    def model(images):
        return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)

    images, labels = torch.rand(2, 1, 6, 6), torch.tensor([0, 0])
    found = ARTAttack(kind="hopskipjump")(model, images, labels, THREATS[0])
    assert not found.fooled.any()
    assert torch.equal(found.examples, images)
    # the images before and after, and the starts tried: a few hundred
    assert found.forwards < 1000


@pytest.mark.timeout(60)
def test_hopskipjump_does_not_hang_on_a_model_that_changes_its_mind():
    """Wrong on the first sight of a start, right ever after: ART would halve its step for ever."""
    calls = 0

    def model(images):
        nonlocal calls
        calls += 1
        wrong = calls == 2
        return torch.tensor([[0.0, 1.0] if wrong else [1.0, 0.0]]).expand(len(images), 2)

    images, labels = torch.rand(1, 1, 6, 6), torch.tensor([0])
    found = ARTAttack(kind="hopskipjump")(model, images, labels, ThreatModel("linf", 0.01))
    assert calls > 50
    assert not found.fooled.any()


@pytest.mark.timeout(60)
def test_hopskipjump_under_pressure_of_randomness_claims_nothing_untrue():
    def model(images):
        noise = torch.randn(len(images), 2)
        return noise + torch.tensor([1.0, 0.0])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images, labels = torch.rand(3, 1, 6, 6), torch.zeros(3, dtype=torch.int64)
        found = ARTAttack(kind="hopskipjump", iterations=5)(model, images, labels, THREATS[0])
    assert THREATS[0].allows(found.examples, images).all()


@pytest.mark.parametrize("kind", ["zoo", "hopskipjump"])
def test_queries_are_limited_for_each_image(kind):
    net, images, labels = problem(10)
    images, labels = images[2:], labels[2:]
    free = ARTAttack(kind=kind, iterations=8)(net, images, labels, ThreatModel("linf", 1e-3))
    found = ARTAttack(kind=kind, queries=700)(net, images, labels, ThreatModel("linf", 1e-3))
    assert free.forwards > len(images) * 702
    # and one pass before and one after
    assert 200 * len(images) < found.forwards <= len(images) * 702


def test_costs_order_the_attacks():
    costs = {kind: ARTAttack(kind=kind).cost for kind in KINDS}
    assert costs["square"] < costs["zoo"] < costs["hopskipjump"]
    assert ARTAttack(kind="hopskipjump", queries=600).cost == 200
    assert ARTAttack(kind="zoo", searches=3).cost == pytest.approx(3 * costs["zoo"], abs=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "boundary"}, "unknown kind 'boundary'; there are: hopskipjump, square, zoo"),
        ({"iterations": 0}, "iterations=0; allowed is 1 or more"),
        ({"searches": 0}, "searches=0; allowed is 1 or more"),
        ({"chunk": 0}, "chunk=0; allowed is 1 or more"),
        ({"kind": "zoo", "queries": 0}, "queries=0; allowed is 1 or more"),
        ({"weight": 0.0}, "weight=0.0; allowed is a positive number"),
        ({"queries": 50}, "queries=50 for square, which makes 3 in an iteration; use iterations"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=re.escape(message)):
        ARTAttack(**settings)


@pytest.mark.parametrize(
    ("kind", "threat", "message"),
    [
        ("square", ThreatModel("l0", 3), "square in the norm l0; allowed are linf, l2: use PGD"),
        (
            "hopskipjump",
            ThreatModel("l0", 3),
            "hopskipjump in the norm l0; allowed are linf, l2, unbounded: use PGD",
        ),
        ("square", THREATS[0], "square in linf on images of 4×4, which is too small"),
        ("square", THREATS[1], "square in l2 on images of 4×4, which is too small"),
    ],
)
def test_what_an_attack_cannot_do_is_refused(kind, threat, message):
    model, images, labels = problem(2, shape=(1, 4, 4))
    with pytest.raises(UserError, match=re.escape(message)):
        ARTAttack(kind=kind)(model, images, labels, threat)


@each_kind
def test_without_the_package_the_cure_is_named(kind, monkeypatch):
    model, images, labels = problem(2)
    monkeypatch.setitem(sys.modules, "art.attacks.evasion", None)
    with pytest.raises(
        UserError, match=rf"{kind} needs the extra: pip install 'hardball\[attacks\]'"
    ):
        ARTAttack(kind=kind)(model, images, labels, THREATS[0])
