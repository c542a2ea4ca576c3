"""Targeted attacks."""

import re
from copy import deepcopy

import pytest
import torch

from hardball import PGD, Targeted, ThreatModel, UserError
from hardball.losses import LOSSES, correct
from hardball.seeding import generators
from hardball.threats import GEOMETRIES
from promises import logits_of

CLASSES = 10
RADII = {"linf": 0.08, "l2": 0.3, "l0": 2.0, "unbounded": 1.0}
THREATS = [ThreatModel(norm, RADII.get(norm, 0.1)) for norm in sorted(GEOMETRIES)]
each_threat = pytest.mark.parametrize("threat", THREATS, ids=str)


@pytest.fixture
def problem(digits, digits_net):
    """(model, images, labels): 40 digits, a few of which the model gets wrong."""
    some = digits.rows(slice(40, 80))
    return deepcopy(digits_net).double(), some.images.double(), some.labels


@each_threat
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("keep", ["worst", "last"])
def test_every_class_in_turn_is_the_worst_of_the_single_classes(problem, threat, loss, keep):
    """Brute force: each wrong class on every example, from the same starts, then the worst kept."""
    model, images, labels = problem
    # from the image itself, so that what fell before does not shift later draws
    inner = PGD(steps=5, loss=loss, keep=keep, random_start=False)
    found = Targeted(attack=inner)(model, images, labels, threat)
    clean = logits_of(model, images)
    fooled, worst = ~correct(clean, labels), LOSSES[loss](clean, labels).float()
    examples = images.clone()
    for turn in range(1, CLASSES):
        alone = inner(model, images, labels, threat, targets=(labels + turn) % CLASSES)
        better = ~fooled & (alone.fooled | (alone.loss > worst))
        examples[better], worst[better] = alone.examples[better], alone.loss[better]
        fooled |= alone.fooled
    assert fooled.any()
    assert torch.equal(found.fooled, fooled)
    torch.testing.assert_close(found.loss, worst, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.examples, examples, rtol=0, atol=1e-9)


@each_threat
def test_one_class_is_approached_and_its_own_examples_are_left(problem, threat):
    model, images, labels = problem
    target = 3
    found = Targeted(attack=PGD(steps=10, random_start=False, keep="last"), target=target)(
        model, images, labels, threat
    )
    clean = logits_of(model, images)
    own = labels == target
    assert own.any()
    assert torch.equal(found.examples[own], images[own])
    moved = (found.examples != images).flatten(1).any(dim=1)
    gain = (logits_of(model, found.examples).log_softmax(1) - clean.log_softmax(1))[:, target]
    assert (gain[moved] > 0).double().mean() > 0.9
    assert torch.equal(found.fooled, ~correct(logits_of(model, found.examples), labels))
    assert (found.fooled >= ~correct(clean, labels)).all()


def test_true_class_is_never_a_target_and_fooled_means_not_the_true_class(two_classes):
    """With two classes, "every wrong class" is the other one, and both losses agree."""
    model = two_classes(torch.tensor([1.0, -1.0]))
    images = torch.tensor([[0.6, 0.4], [0.4, 0.6], [0.9, 0.1]])
    labels = torch.tensor([1, 0, 1])
    found = Targeted(attack=PGD(steps=3, random_start=False))(
        model, images, labels, ThreatModel("linf", 0.15)
    )
    assert found.fooled.tolist() == [True, True, False]
    torch.testing.assert_close(found.examples[2], torch.tensor([0.75, 0.25]))


def test_cost_is_at_most_one_search_per_wrong_class(problem):
    model, images, labels = problem
    attack = Targeted(attack=PGD(steps=4, restarts=2))
    found = attack(
        model, images, labels, THREATS[0].at(2.0), generator=generators(0, range(len(images)))
    )
    searches = 2 * (CLASSES - 1) * len(images)
    assert found.backwards <= 4 * searches
    assert found.forwards <= 5 * searches + len(images)
    assert attack.cost == 4 * 2 * (CLASSES - 1)


def test_no_image_is_no_problem(problem):
    model, images, labels = problem
    found = Targeted(attack=PGD(steps=2))(model, images[:0], labels[:0], THREATS[0])
    assert found.examples.shape == (0, 1, 8, 8)
    assert (found.forwards, found.backwards) == (0, 0)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (10, "target 10; allowed is 0 … 9, or 'all'"),
        (-1, "target -1; allowed is 0 … 9, or 'all'"),
        ("every", "target 'every'; allowed is the number of a class, or 'all'"),
    ],
)
def test_a_target_that_is_no_class_is_refused(problem, target, message):
    model, images, labels = problem
    with pytest.raises(UserError, match=re.escape(message)):
        Targeted(attack=PGD(steps=2), target=target)(model, images, labels, THREATS[0])
