"""What a network keeps between passes, which images are looked at, and attacks that end in an error."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hostile
from contexts import SMALL, WEAK, context, measured
from hardball import PGD, Dataset, LInf, UserError, build
from hardball.evaluation.checks import checklist as module
from hardball.evaluation.checks import consistency, detectors, memory
from hardball.evaluation.checks.budget import BUDGETS
from hardball.evaluation.checks.checklist import checklist
from hardball.evaluation.checks.context import Context, NotApplicable
from hardball.evaluation.checks.registry import TABLE
from hardball.evaluation.checks.result import Finding
from hardball.evaluation.checks.state import differing, state_of
from hardball.evaluation.checks.verdict import Verdict
from hardball.evaluation.protocols import CLAIM


@pytest.fixture
def some(digits: Dataset) -> Dataset:
    return digits.rows(slice(0, 100))


# --- what is kept


class Slotted:
    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Held:
    def __init__(self) -> None:
        self.inner = {"numbers": [torch.zeros(2)]}


TOLD: list[int] = []
"""A variable of this module."""


class Keeps(nn.Module):
    """Keeps things in every place that a module has."""

    buffer: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        self.register_buffer("buffer", torch.zeros(3))
        self.number, self.words, self.table = 0, ["a"], {(1, "b"): 2}
        self.members, self.slotted, self.held = {1}, Slotted(), Held()
        inside = [0]

        def closed(by: int = 1, into: list[int] = [], /, **_: int) -> list[int]:  # noqa: B006
            into.append(by)
            return inside

        self.closed, self.part = closed, partial(closed, 1)
        self.cached = lru_cache(lambda number: number)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.net(images)
        return found


CHANGES: dict[str, Callable[[Keeps], Any]] = {
    "a buffer": lambda m: m.buffer.add_(1),
    "a parameter": lambda m: m.net[1].get_parameter("weight").data.mul_(2),
    "a number": lambda m: setattr(m, "number", 1),
    "a new attribute": lambda m: setattr(m, "other", None),
    "a list": lambda m: m.words.append("b"),
    "a table": lambda m: m.table.update({(1, "b"): 3}),
    "a set": lambda m: m.members.add(2),
    "slots": lambda m: setattr(m.slotted, "count", 1),
    "a tensor in a list in a table of an object": lambda m: m.held.inner["numbers"][0].add_(1),
    "a closure": lambda m: m.closed().append(1),
    "a default": lambda m: m.closed(),
    "a partial's default": lambda m: m.part(),
    "a cache": lambda m: m.cached(3),
    "a deeper module": lambda m: setattr(m.net[1], "seen", 3),
    "a variable of the file": lambda m: TOLD.append(1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_in_any_place_is_seen(name: str) -> None:
    model = Keeps()
    before = state_of(model)
    assert differing(before, state_of(model)) == []
    CHANGES[name](model)
    assert differing(before, state_of(model)) != []


@pytest.mark.parametrize("name", ["digits_cnn", "resnet18"])
def test_an_honest_network_keeps_nothing(name: str) -> None:
    model = build(name, (3, 16, 16), 10).eval()
    before = state_of(model)
    assert len(before) > 10
    with torch.no_grad():
        model(torch.rand(2, 3, 16, 16))
    assert differing(before, state_of(model)) == []
    model.train()(torch.rand(2, 3, 16, 16))
    changed = {place for place in differing(before, state_of(model)) if "training" not in place}
    assert bool(changed) == (name == "resnet18"), "its statistics, in training mode"


class Counts(hostile.Wrapped):
    passes = 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(images)


def test_a_network_that_counts_is_changed_and_left_alone(
    digits_net: nn.Module, some: Dataset
) -> None:
    found = memory.unchanged(context(Counts(digits_net), some))
    assert (found.passed, found.note) == (False, "changed: model.passes")
    assert memory.unchanged(context(digits_net, some)).passed
    with pytest.raises(NotApplicable):
        memory.unchanged(context(digits_net.__call__, some))


def test_another_network_is_no_copy(
    digits_net: nn.Module, robust_net: nn.Module, some: Dataset
) -> None:
    assert not memory.fresh_copy(context(digits_net, some, fresh=lambda: robust_net)).passed
    assert memory.fresh_copy(context(digits_net, some, fresh=lambda: digits_net)).passed


# --- finds that are not confirmed


def test_finds_that_are_not_confirmed_stand_in_the_sentence(
    digits_net: nn.Module, some: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = hostile.HonestToGradients(digits_net, some).eval()
    verdict = _judged(model, some, monkeypatch, "O")
    assert verdict.word == "masked"
    assert "images broken for an attack are right in the pass that counts" in verdict.sentence
    assert _judged(digits_net, some, monkeypatch, "O").word != "masked"


@pytest.mark.parametrize(("count", "passes"), [(0, True), (5, True), (6, False), (80, False)])
def test_a_few_finds_may_fail_to_be_confirmed(
    count: int, passes: bool, digits_net: nn.Module, some: Dataset
) -> None:
    subject = context(digits_net, some)
    scores = [replace(score, unconfirmed=count) for score in subject.evaluation.scores]
    subject.evaluation = replace(subject.evaluation, scores=scores)
    found = consistency.confirmed(subject)
    assert (found.passed, found.measured["count"]) == (passes, count)


def _judged(
    model: nn.Module, data: Dataset, monkeypatch: pytest.MonkeyPatch, numbers: str
) -> Verdict:
    """By some checks alone."""
    monkeypatch.setitem(BUDGETS, "quick", SMALL)
    monkeypatch.setattr(module, "TABLE", [row for row in TABLE if row.number in numbers])
    threat = LInf(0.3)
    found = measured(model, data, threat, {CLAIM: PGD(steps=20)})
    return checklist(model, data, threat, found, budget="quick").verdict


# --- which images are looked at


def test_images_are_drawn_from_all_by_the_seed(digits_net: nn.Module, digits: Dataset) -> None:
    subject = context(digits_net, digits, claim=WEAK)
    drawn = subject.drawn(40)
    assert len(drawn.unique()) == 40
    assert int(drawn.max()) > 200
    assert torch.equal(drawn, context(digits_net, digits, claim=WEAK).drawn(40))
    assert torch.equal(subject.drawn(10**6), torch.arange(len(digits)))


def test_those_that_remain_are_preferred(digits_net: nn.Module, some: Dataset) -> None:
    subject = context(digits_net, some, claim=WEAK)
    subject.remaining = torch.arange(100) >= 90
    subject.right = torch.arange(100) >= 20
    subject.claimed = torch.arange(100) < 30
    assert subject.images_right(10).tolist() == list(range(90, 100))
    assert set(subject.images_right(15).tolist()) > set(range(90, 100))
    assert subject.images_right().tolist() == list(range(20, 100))
    # the share is one of the images drawn, whatever part of them is attacked
    rows, drawn = subject.images_claimed(5)
    assert len(rows) == 5
    assert set(rows.tolist()) < set(range(90, 100))
    order = subject._order[:drawn]
    assert int((order >= 90).sum()) == 5
    assert int(order[-1]) >= 90
    rows, drawn = subject.images_claimed(20)
    assert drawn == 100
    assert set(rows.tolist()) > set(range(90, 100))
    assert int(rows.min()) >= 30


@pytest.mark.parametrize(
    "look",
    [
        detectors.vanishing_gradients,
        detectors.disagreement,
        detectors.saturated_outputs,
        detectors.turns_back,
    ],
)
def test_what_costs_little_looks_at_every_image(
    look: Callable[[Context], Finding], digits_net: nn.Module, digits: Dataset
) -> None:
    subject = context(digits_net, digits, claim=WEAK)
    assert look(subject).measured["images"] == int(subject.right.sum()) > 300


def test_ways_of_asking_and_noise_look_at_every_image(
    digits_net: nn.Module, digits: Dataset
) -> None:
    subject = context(digits_net, digits, claim=WEAK)
    assert detectors.stochastic_outputs(subject).measured["images"] == len(digits)
    assert consistency.gradient_mode(subject).measured["points"] >= 2 * int(subject.right.sum())


def test_a_few_remaining_images_without_a_gradient_forbid_trust(
    digits_net: nn.Module, some: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of a hundred are too few to fail, and enough to doubt."""
    blind = hostile.BlindBeyond(digits_net, some, 97).eval()
    verdict = _judged(blind, some, monkeypatch, "A")
    assert verdict.word in ("masked", "undecided"), verdict.sentence
    assert _judged(digits_net, some, monkeypatch, "A").word == "trustworthy"
    subject = context(blind, some, LInf(0.01), WEAK)
    found = detectors.vanishing_gradients(subject)
    assert found.passed
    assert found.doubt.startswith("the loss has no gradient to climb at 3 of the ")


def test_blind_images_among_those_that_remain_are_masking(
    digits_net: nn.Module, some: Dataset
) -> None:
    """Three of all are few; three of the four that remain are not."""
    subject = context(hostile.BlindBeyond(digits_net, some, 97).eval(), some, LInf(0.3))
    subject.remaining = torch.arange(100) >= 96
    found = detectors.vanishing_gradients(subject)
    assert not found.passed
    assert found.found == f"3 of {int((subject.right & subject.remaining).sum())} left"


# --- attacks that end in an error


def test_an_attack_that_ends_in_an_error_is_named_where_that_is_asked_for(
    digits_net: nn.Module, some: Dataset
) -> None:
    attacks = {"pgd": PGD(steps=60), "one": PGD(steps=1)}
    met: dict[str, str] = {}
    found = measured(
        hostile.DetachedAtTimes(digits_net, 40), some, attacks=attacks, unable=met.setdefault
    )
    assert list(met) == ["pgd"]
    assert "no gradient flows" in met["pgd"]
    assert [score.attack for score in found.scores] == ["one", "pgd"]
    with pytest.raises(UserError, match="no gradient flows"):
        measured(hostile.DetachedAtTimes(digits_net, 40), some, attacks=attacks)


def test_a_network_that_ends_in_an_error_on_images_costs_a_line(some: Dataset) -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("out of order\nand so on")

    message = (
        r"the model ends in an error on 100 images \[1, 8, 8\]: out of order \(does it[^\n]*\)$"
    )
    with pytest.raises(UserError, match=message):
        measured(Broken(), some)
