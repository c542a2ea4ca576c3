"""Each check fails where it should, lowers the accuracy with what it breaks, and says where it has no
object."""

import pytest
import torch

from contexts import WEAK, along_first_pixel, context, grey, origin
from hardball import ThreatModel
from hardball.evaluation.checks import blackbox, distortion, whitebox
from hardball.evaluation.checks.budget import BUDGETS, budget
from hardball.evaluation.checks.context import NotApplicable
from hardball.evaluation.protocols import CLAIM
from hardball.losses import correct


@pytest.fixture(scope="module")
def some(digits):
    return digits.rows(slice(0, 40))


STRONGER = {
    "fgsm": whitebox.one_step,
    "restarts": whitebox.restarts,
    "many steps": whitebox.many_steps,
    "targeted": whitebox.targeted,
    "small steps": whitebox.small_steps,
    "raw": whitebox.raw_gradient,
    "euclidean": whitebox.euclidean,
    "brute force": blackbox.brute_force,
    "zoo": blackbox.zoo,
    "decisions": blackbox.decisions,
    "transfer": blackbox.transfer,
    "origin": blackbox.semi_black_box,
}


@pytest.mark.parametrize("name", STRONGER)
def test_what_a_weak_claim_missed_is_found(name, digits_net, robust_net, some):
    """And lowers the accuracy, and leaves a witness."""
    threat = ThreatModel("linf", 0.4)
    subject = context(digits_net, some, threat, WEAK, source=origin(robust_net))
    subject.origin = subject.source
    before = subject.evaluation.worst[0.4].right
    found = STRONGER[name](subject)
    assert not found.passed, found
    count = int(found.measured["count"])
    assert subject.evaluation.worst[0.4].right <= before - count
    by = subject.evaluation.broken_by
    rows = torch.tensor([i for i, who in enumerate(by) if who not in ("", "none", CLAIM)])
    assert len(rows) >= count
    witnesses, images = subject.evaluation.witnesses[rows], some.images[rows]
    assert threat.allows(witnesses, images).all()
    with torch.no_grad():
        assert not correct(digits_net(witnesses), some.labels[rows]).any()


def test_a_start_that_decides_is_noticed(some):
    """Flat at the image itself, so without a random start nothing moves."""
    flat = along_first_pixel(lambda t: -1 + 40 * (t.abs() - 0.001).clamp(min=0))
    found = whitebox.random_start(context(flat, grey(some)))
    assert (found.measured["with_start"], found.measured["without_start"]) == (20, 0)
    assert not found.passed


def test_an_unbounded_attack_that_leaves_something_is_noticed(some):
    never = along_first_pixel(lambda t: -1 + 0.1 * t)
    found = whitebox.unbounded(context(never, grey(some)))
    assert not found.passed
    assert found.measured["count"] == 20


def test_accuracy_that_rises_with_the_radius_is_noticed(some):
    """Misclassified in one narrow band that small steps walk into and large steps jump."""

    def band(t):
        return -1 + t + 2 * ((t > 0.01) & (t < 0.013)).float()

    found = whitebox.monotone(context(along_first_pixel(band), grey(some)))
    assert not found.passed
    assert found.measured["eps=0.025"] < found.measured["eps=0.1"]


@pytest.mark.parametrize("norm", ["linf", "l2", "l0"])
def test_distortions_are_compared_with_the_bases(norm, robust_net, digits_net, some):
    threat = ThreatModel(norm, {"linf": 0.1, "l2": 0.5, "l0": 3.0}[norm])
    good = distortion.smallest_distortion(
        context(robust_net, some, threat, base=origin(digits_net))
    )
    bad = distortion.smallest_distortion(context(digits_net, some, threat, base=origin(robust_net)))
    assert good.measured["median"] == bad.measured["median_of_base"]
    if norm == "linf":  # which the robust one was trained in
        assert good.passed
        assert not bad.passed


def test_a_radius_that_breaks_no_image_is_kept_out_of_json(some):
    never = along_first_pixel(lambda t: -1 + 0.1 * t)
    data = grey(some)
    same = along_first_pixel(lambda t: -1 + 0.1 * t)
    found = distortion.smallest_distortion(context(never, data, base=origin(same)))
    assert not found.passed
    assert "median" not in found.measured


def test_what_has_no_object_does_not_apply(robust_net, some):
    subject = context(robust_net, some)
    for run_check, why in (
        (blackbox.transfer, "no source"),
        (blackbox.semi_black_box, "random weights"),
        (distortion.smallest_distortion, "no base"),
    ):
        with pytest.raises(NotApplicable, match=why):
            run_check(subject)
    itself = context(robust_net, some, source=origin(robust_net), base=origin(robust_net))
    for run_check in (blackbox.transfer, distortion.smallest_distortion):
        with pytest.raises(NotApplicable, match="this network itself"):
            run_check(itself)
    unbounded = context(robust_net, some, ThreatModel("unbounded", 1.0))
    for run_check in (whitebox.unbounded, whitebox.monotone, whitebox.euclidean):
        with pytest.raises(NotApplicable):
            run_check(unbounded)


@pytest.mark.parametrize("name", ["quick", "standard", "full"])
def test_budgets_grow(name):
    if name != "quick":
        smaller = BUDGETS["quick" if name == "standard" else "standard"]
        for field, value in vars(budget(name)).items():
            if field != "name":
                assert value >= getattr(smaller, field), field
