"""No hostile network is called trustworthy, and no honest one is called masked: the whole checklist."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial

import pytest
from torch import nn

from contexts import SMALL
from hardball import PGD, Attack, AutoAttackPart, Dataset, LInf
from hardball.evaluation import Checklist, evaluate
from hardball.evaluation.checks import checklist as module
from hardball.evaluation.checks.budget import BUDGETS
from hardball.evaluation.checks.checklist import checklist
from hardball.evaluation.checks.registry import TABLE
from hardball.evaluation.preflight import usable
from hardball.evaluation.protocols import CLAIM, protocol
from hostile import EXPECTED, hostile_networks

SLOW = {"ZOO", "HopSkipJump", "2000 steps", "ten restarts", "many small steps", "raw gradient"}
EPS = LInf(0.3)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUDGETS, "quick", replace(SMALL, images=40))
    monkeypatch.setattr(module, "TABLE", [row for row in TABLE if row.name not in SLOW])


@pytest.fixture(scope="module")
def some(digits: Dataset) -> Dataset:
    return digits.rows(slice(0, 100))


def judged(model: nn.Module, data: Dataset, fresh: Callable[[], nn.Module] | None) -> Checklist:
    """By a short protocol: two attacks with gradients, one without."""
    square = protocol("autoattack")["square"]
    assert isinstance(square, AutoAttackPart)
    attacks: dict[str, Attack] = {
        CLAIM: PGD(steps=20),
        "margin": PGD(steps=20, loss="margin"),
        "square": replace(square, queries=20),
    }
    with warnings.catch_warnings(action="ignore"):
        failures: list[tuple[str, str]] = []
        if fresh is not None:  # as the command does it
            attacks, failures = usable(attacks, model, data, EPS)
        unable = dict(failures)
        found = evaluate(model, data, eps=0.3, attacks=attacks, unable=unable.setdefault)
        return checklist(
            model, data, EPS, found, budget="quick", fresh=fresh, failures=list(unable.items())
        )


@pytest.mark.parametrize("name", EXPECTED)
def test_a_hostile_network_is_not_trusted(name: str, digits_net: nn.Module, some: Dataset) -> None:
    make = hostile_networks()[name]
    found = judged(make(digits_net, some).eval(), some, fresh=lambda: make(digits_net, some).eval())
    assert found.verdict.word in EXPECTED[name], found.verdict.sentence
    assert found.verdict.exit_code == (found.verdict.word == "masked")


REMEMBER = ("memory after three passes", "memory after two rounds, by a closure", "a cache")


@pytest.mark.parametrize("name", REMEMBER)
def test_what_a_copy_answered_before_the_first_pass_is_enough(
    name: str, digits_net: nn.Module, some: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Python, without a builder: `evaluate`, then `checklist`."""
    monkeypatch.setattr(module, "TABLE", [row for row in TABLE if row.number in "MN"])
    found = judged(hostile_networks()[name](digits_net, some).eval(), some, fresh=None)
    assert found.verdict.word == "masked", found.verdict.sentence


def test_what_cannot_be_copied_is_not_trusted(digits_net: nn.Module, some: Dataset) -> None:
    make = hostile_networks()["a cache that is not copied"]
    found = judged(make(digits_net, some).eval(), some, fresh=None)
    assert found.verdict.word == "undecided"
    assert "fresh copy could not run (the model cannot be copied" in found.verdict.sentence


@pytest.mark.parametrize("rebuilt", [True, False])
def test_an_honest_network_is_not_accused(
    rebuilt: bool, digits_net: nn.Module, robust_net: nn.Module, some: Dataset
) -> None:
    """A plain one is broken, a robust one is weaker or trusted; nothing fails that proves masking."""
    for net in (digits_net, robust_net):
        copy = deepcopy(net)
        found = judged(net, some, fresh=partial(deepcopy, copy) if rebuilt else None)
        assert found.verdict.word != "masked", found.verdict.sentence
        (fresh,) = [check for check in found.checks if check.name == "fresh copy"]
        assert fresh.status == "pass"
