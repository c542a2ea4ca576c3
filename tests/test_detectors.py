"""Detectors of masking: each finds the failure planted for it, and none accuses a healthy model."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import contexts
from hardball import PGD, ThreatModel, evaluate, fgsm
from hardball.evaluation.checks import blackbox, detectors, planted
from hardball.evaluation.checks.budget import BUDGETS
from hardball.evaluation.checks.context import NotApplicable
from hardball.losses import correct, margin

BUDGET = replace(BUDGETS["quick"], images=40, planted_images=25, restart_images=20)
DETECTORS = {
    "vanishing": detectors.vanishing_gradients,
    "disagreement": detectors.disagreement,
    "saturated": detectors.saturated_outputs,
    "stochastic": detectors.stochastic_outputs,
    "rises": detectors.loss_rises,
    "turns back": detectors.turns_back,
    "step size": detectors.step_size,
    "planted": planted.planted,
    "claim": detectors.claim_falls,
    "black box": blackbox.black_box_wins,
}


class Wrapped(nn.Module):
    """before → net → after."""

    def __init__(self, net, before=lambda x: x, after=lambda z: z):
        super().__init__()
        self.net, self.before, self.after = net, before, after

    def forward(self, images):
        return self.after(self.net(self.before(images)))


class Rounded(torch.autograd.Function):
    """A staircase that passes the gradient on as if it were a slope."""

    @staticmethod
    def forward(ctx, images):
        return (images * 4).round() / 4

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def noise(images):
    return (images + 0.2 * torch.randn_like(images)).clamp(0, 1)


PLANTED = {
    # what defensive distillation amounts to
    "logits × 1000": (lambda net: Wrapped(net, after=lambda z: 1000 * z), {"saturated"}),
    "logits × 100": (lambda net: Wrapped(net, after=lambda z: 100 * z), {"saturated"}),
    "probabilities": (
        lambda net: Wrapped(net, after=lambda z: (100 * z).softmax(dim=1)),
        {"saturated"},
    ),
    "quantised input": (
        lambda net: Wrapped(net, before=lambda x: (x * 4).round() / 4),
        {"vanishing", "rises", "planted"},
    ),
    "quantised input, straight through": (
        lambda net: Wrapped(net, before=Rounded.apply),
        {"disagreement"},
    ),
    "quantised output": (
        lambda net: Wrapped(net, after=lambda z: z.round() + 0 * z),
        {"vanishing", "rises"},
    ),
    "quantised output, straight through": (
        lambda net: Wrapped(net, after=lambda z: Rounded.apply(2 * z)),
        {"disagreement"},
    ),
    "noise": (lambda net: Wrapped(net, before=noise), {"stochastic"}),
    "dropout left on": (
        lambda net: Wrapped(net, before=lambda x: nn.functional.dropout(x, 0.3)),
        {"stochastic"},
    ),
}


def context(model, data, eps=0.1, norm="linf", claim=None):
    return contexts.context(model, data, ThreatModel(norm, eps), claim or PGD(steps=40), BUDGET)


@pytest.fixture(scope="module")
def some(digits):
    return digits.rows(slice(0, 100))


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_healthy_model_is_not_accused(name, norm, robust_net, some):
    found = DETECTORS[name](context(robust_net, some, 0.1 if norm == "linf" else 0.5, norm))
    assert found.passed, found
    assert found.measured["count"] <= 0.5 * found.measured["images"]


@pytest.mark.parametrize("name", DETECTORS)
def test_neither_is_one_that_is_merely_weak(name, digits_net, some):
    found = DETECTORS[name](context(digits_net, some))
    assert found.passed, found


@pytest.mark.parametrize("planted_name", PLANTED)
def test_what_is_planted_is_found(planted_name, digits_net, some):
    make, expected = PLANTED[planted_name]
    subject = context(make(digits_net).eval(), some)
    for name in expected:
        found = DETECTORS[name](subject)
        assert not found.passed, (name, found)


def test_an_fgsm_trained_network_turns_back(fgsm_net, some):
    """Catastrophic overfitting: FGSM leaves more than it finds, PGD leaves nothing."""
    one = evaluate(fgsm_net, some, eps=0.5, attacks={"fgsm": fgsm()})
    many = evaluate(fgsm_net, some, eps=0.5, attacks={"pgd": PGD(steps=20)})
    assert one.worst[0.5].value > 0.25
    assert many.worst[0.5].value < 0.02
    found = detectors.turns_back(context(fgsm_net, some, 0.5))
    assert not found.passed
    assert found.measured["count"] > 0.1 * found.measured["images"]


# --- what stands behind the figures


def test_a_planted_example_exists_and_random_points_miss_it(robust_net, some):
    """The readout calls the planted point 1, and the image and every inner point 0."""
    subject = context(robust_net, some)
    rows = subject.images_right(20)
    made, possible = planted.readouts(subject, rows)
    images, _ = subject.tensors(rows[possible])
    assert len(images) >= 10
    zeros = torch.zeros(len(images), dtype=torch.int64)
    inner = planted._around(subject, images, rows[possible], 50, inside=True)
    outer = planted._around(subject, images, rows[possible], planted.OUTER, inside=False)
    with torch.no_grad():
        assert correct(made(images), zeros).all()
        assert all(correct(made(inner[:, k]), zeros).all() for k in range(50))
        some_outer = [~correct(made(outer[:, k]), zeros) for k in range(planted.OUTER)]
        assert torch.stack(some_outer).any(dim=0).all(), "what has to be found is there"
    for k in range(planted.OUTER):
        assert subject.threat.allows(outer[:, k], images).all()


def test_nothing_can_be_planted_where_no_logit_moves(some):
    def still(images):
        return torch.eye(10)[0] + 0 * images.flatten(1).sum(1, keepdim=True)

    zeros = replace(some, labels=torch.zeros(100, dtype=torch.int64))
    subject = context(still, zeros, claim=PGD(steps=1))
    with pytest.raises(NotApplicable, match="no logit moves"):
        planted.planted(subject)


def test_nothing_can_be_said_without_a_right_image(digits_net, some):
    wrong = replace(some, labels=(some.labels + 1) % 10)
    for name in ("vanishing", "saturated", "rises", "planted"):
        subject = context(digits_net, wrong.rows(~correct(digits_net(wrong.images), wrong.labels)))
        with pytest.raises(NotApplicable, match="is classified right"):
            DETECTORS[name](subject)


def test_saturation_counts_a_gap_that_float32_cannot_hold(some):
    """e⁻⁸⁷ is the smallest normal number: a gap of 80 passes, one of 95 does not."""

    def with_gap(gap):
        def model(images):
            truth = nn.functional.one_hot(some.labels[: len(images)], 10).float()
            return gap * truth + 0 * images.flatten(1).sum(1, keepdim=True)

        return detectors.saturated_outputs(context(model, some, claim=PGD(steps=1)))

    assert with_gap(80.0).passed
    assert not with_gap(95.0).passed
    assert with_gap(80.0).measured["largest_gap"] == pytest.approx(80)


def test_a_gap_that_half_precision_cannot_hold_is_smaller(some):
    def half(images):
        truth = nn.functional.one_hot(some.labels[: len(images)], 10).half()
        return 20 * truth + 0 * images.flatten(1).sum(1, keepdim=True).half()

    assert not detectors.saturated_outputs(context(half, some, claim=PGD(steps=1))).passed


def test_disagreement_is_exact_on_a_linear_model(two_classes, some):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1, 8, 8, generator=generator)
    model = two_classes(weight)
    with torch.no_grad():
        labels = (margin(model(some.images), torch.zeros(100, dtype=torch.int64)) > 0).long()
    two = replace(some, labels=labels, classes=2)
    assert detectors.disagreement(context(model, two)).measured["count"] == 0


def test_a_bump_in_the_way_of_small_steps_is_noticed(some):
    """The loss rises for 0.003, falls for 0.003 and rises for good: steps of 0.002 stay on the bump,
    steps of 0.008 do not see it."""

    def ridge(t):
        return (
            torch.where(t < 0.003, 10 * t, torch.where(t < 0.006, 0.06 - 10 * t, 50 * t - 0.3)) - 1
        )

    model = contexts.along_first_pixel(ridge)
    grey = contexts.grey(some, 40)
    small = PGD(steps=20, step_size=0.002, random_start=False)
    found = detectors.step_size(context(model, grey, claim=small))
    assert not found.passed
    assert (found.measured["larger"], found.measured["smaller"]) == (20, 0)
    large = replace(small, step_size=0.008)
    assert detectors.step_size(context(model, grey, claim=large)).passed


@pytest.mark.parametrize(
    ("fell", "passes"), [(0, True), (10, True), (40, True), (50, False), (80, False)]
)
def test_a_claim_of_which_more_than_half_falls_is_masked(fell, passes, some, digits_net):
    """Of 80 that the claim left: 50 prove more than half (one-sided), 40 do not."""
    subject = context(digits_net, some)
    subject.claimed = torch.arange(100) >= 80
    fallen = subject.claimed | (torch.arange(100) < fell)
    subject.evaluation = replace(
        subject.evaluation,
        broken_at=torch.full((100,), torch.inf).double().masked_fill(fallen, 0.1),
    )
    assert detectors.claim_falls(subject).passed == passes


def test_a_small_claim_that_falls_is_weak_and_not_masked(some, digits_net):
    """Five of five images fall, but five points of accuracy are few."""
    subject = context(digits_net, some)
    subject.claimed = torch.arange(100) >= 5
    subject.evaluation = replace(
        subject.evaluation, broken_at=torch.full((100,), 0.1, dtype=torch.float64)
    )
    assert detectors.claim_falls(subject).passed


@pytest.mark.parametrize(("missed", "passes"), [(0, True), (4, True), (10, True), (20, False)])
def test_what_a_black_box_alone_breaks_is_counted(missed, passes, some, digits_net):
    subject = context(digits_net, some)
    subject.claimed = torch.zeros(100, dtype=torch.bool)
    subject.climbed = subject.claimed.clone()
    subject.blind = torch.arange(100) < missed
    found = blackbox.black_box_wins(subject)
    assert (found.passed, found.measured["count"]) == (passes, missed)
    # what a gradient attack breaks too is not missed
    subject.climbed = subject.blind
    assert blackbox.black_box_wins(subject).measured["count"] == 0
