"""Attacks of the user's own: known by what they are, named from anywhere, counted for what they see."""

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from contexts import LINF, SMALL, WEAK, measured
from hardball import PGD, UserError, evaluate
from hardball.attacks import Attack
from hardball.evaluation import Journal, checklist, protocols
from hardball.evaluation.checks import blackbox
from hardball.evaluation.checks.budget import BUDGETS
from hardball.evaluation.checks.context import Context
from hardball.evaluation.checks.registry import TABLE
from hardball.evaluation.execution import Execution, record_key
from hardball.evaluation.preflight import usable


class Stepping(Attack):
    """No dataclass: so many steps of PGD."""

    def __init__(self, steps):
        self.steps = steps

    def search(self, model, images, labels, threat, generator):
        return PGD(steps=self.steps, random_start=False)(
            model, images, labels, threat, generator=generator
        ).examples


@dataclass(frozen=True)
class Named(Attack):
    """Its fields have the names of a key's own entries."""

    eps: float = 0.5
    attack: str = "mine"

    def search(self, model, images, labels, threat, generator):
        return threat.project(images + threat.eps, images)


class Oracle(Attack):
    """Sees answers alone, and finds what a masked model hides: it turns the image over."""

    @property
    def uses_gradients(self):
        return False

    def search(self, model, images, labels, threat, generator):
        assert not torch.is_grad_enabled()
        return threat.project(1 - images, images)


class Clumsy(Attack):
    """Fails by a mistake of its own."""

    def search(self, model, images, labels, threat, generator):
        raise UserError("a mistake that is not about what can run")


@pytest.fixture(scope="module")
def some(digits):
    part = digits.rows(slice(0, 40))
    return replace(part, images=part.images.double())


@pytest.fixture
def model(digits_net):
    return deepcopy(digits_net).double()


# ---------------------------------------------------------------- keys of the journal


def test_an_attack_is_known_by_its_attributes_whatever_it_is():
    assert record_key("mine", Stepping(1), 0.1) != record_key("mine", Stepping(1000), 0.1)
    assert record_key("mine", Stepping(1), 0.1) == record_key("mine", Stepping(1), 0.1)


def test_no_field_takes_the_place_of_the_name_or_of_eps():
    keys = {record_key(name, Named(), eps) for name in ("a", "b") for eps in (0.1, 0.2)}
    assert len(keys) == 4
    assert record_key("a", Named(attack="b"), 0.1) != record_key("a", Named(attack="c"), 0.1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((Stepping(1), 0.1), (Stepping(30), 0.1)),
        ((Named(), 0.05), (Named(), 0.3)),
        ((Named(eps=0.1), 0.3), (Named(eps=0.3), 0.3)),
    ],
)
def test_results_of_another_attack_or_radius_are_not_used(first, second, model, some, tmp_path):
    def found(case, journal):
        attack, eps = case
        lines: list[str] = []
        how: dict[str, Any] = {
            "eps": eps,
            "attacks": {"mine": attack},
            "journal": journal,
            "say": lines.append,
        }
        return evaluate(model, some, **how).broken_at.tolist(), lines

    found(first, Journal.of(tmp_path, model, some))
    again, lines = found(second, Journal.of(tmp_path, model, some))
    assert lines == []
    assert again == found(second, None)[0]
    assert found(second, Journal.of(tmp_path, model, some)) == (
        again,
        ["continuing: 1 of 1 attacks done"],
    )


def test_a_journal_knows_the_model_by_its_weights(model, some, tmp_path):
    attacks = {"mine": Stepping(2)}
    evaluate(model, some, eps=0.1, attacks=attacks, journal=Journal.of(tmp_path, model, some))
    with torch.no_grad():
        next(model.parameters()).add_(0.5)
    changed = Journal.of(tmp_path, model, some)
    assert "weights_sha256" in (changed.about_others() or "")
    fresh = evaluate(model, some, eps=0.1, attacks=attacks)
    kept = evaluate(model, some, eps=0.1, attacks=attacks, journal=changed)
    assert kept.broken_at.tolist() == fresh.broken_at.tolist()


def test_kept_results_are_joined_with_new_ones(model, some):
    journal = Journal()
    rows = torch.arange(40)
    with Execution(model, some, batch_size=7, journal=journal) as execution:
        (alone,) = execution.run("pgd", PGD(steps=3), LINF, rows[5:9])
        both = execution.run("pgd", PGD(steps=3), LINF, rows)
    assert torch.equal(both[0].rows, alone.rows)
    assert sorted(row for one in both for row in one.rows.tolist()) == rows.tolist()
    broken = sorted(row for one in both for row in one.broken_rows.tolist())
    whole = evaluate(model, some, eps=0.1, attacks={"pgd": PGD(steps=3)})
    assert set((whole.broken_at == 0.1).nonzero().flatten().tolist()) <= set(broken)


# ---------------------------------------------------------------- names


def test_an_attack_of_ones_own_is_named_from_its_module(model, some):
    found = protocols.named([f"{__name__}:Oracle", f"{__name__}:MINE", "fgsm"])
    assert [type(attack) for attack in found.values()] == [Oracle, Stepping, PGD]
    result = evaluate(model, some, eps=0.3, attacks=found)
    assert set(result.as_json()["attacks"]) == set(found)


MINE = Stepping(3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{__name__}:Stepping", r"attack .*Stepping with \{\}: .*'steps'"),
        (f"{__name__}:test_kept", "has no 'test_kept'"),
        (
            f"{__name__}:LINF",
            r"attack '.*:LINF' is ThreatModel.*an instance of a class derived from",
        ),
        (f"{__name__}:UserError", "is the class UserError; allowed is an instance"),
        ("nowhere.at.all:Mine", "name an importable module"),
        ("fgms", "unknown attack 'fgms'; did you mean 'fgsm'"),
    ],
)
def test_what_is_no_attack_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        protocols.named([name])


# ---------------------------------------------------------------- what an attack says of itself


def test_a_black_box_from_outside_counts_as_one(robust_net, digits):
    """What it breaks and no gradient attack does is what "no black box wins" counts."""
    few = digits.rows(slice(0, 20))

    def flat(images):
        """The network without its slope."""
        return robust_net(images).detach() + 0 * images.flatten(1).sum(1, keepdim=True)

    everything = replace(LINF, eps=1.0)
    found = measured(flat, few, everything, {"weak": WEAK, "oracle": Oracle()})
    by_oracle = sum(name == "oracle" for name in found.broken_by)
    assert by_oracle > 10
    seen = Context(Execution(flat, few), everything, found, claim="weak", budget=SMALL)
    assert int(seen.blind.sum()) == by_oracle
    assert int(seen.climbed.sum()) == 20 - int(found.clean.right)
    verdict = blackbox.black_box_wins(seen)
    assert verdict.measured["count"] == by_oracle
    assert not verdict.passed


def test_only_what_cannot_run_is_left_out(robust_net, digits):
    """A mistake of the attack's own is not hidden among those that cannot run here."""
    few = digits.rows(slice(0, 10))
    with pytest.raises(UserError, match="a mistake that is not"):
        usable({"pgd": PGD(steps=1), "mine": Clumsy()}, robust_net, few, LINF)


# ---------------------------------------------------------------- the checklist


@pytest.fixture
def quickly(monkeypatch):
    monkeypatch.setitem(BUDGETS, "quick", SMALL)
    few = [spec for spec in TABLE if spec.name in ("ten restarts", "brute force", "no way back")]
    monkeypatch.setattr("hardball.evaluation.checks.checklist.TABLE", few)


def test_in_several_processes_the_answers_are_the_same(quickly, model, some):
    found = measured(model, some, attacks={protocols.CLAIM: WEAK})
    answers = []
    for processes in (1, 2):
        checked = checklist(model, some, LINF, found, budget="quick", processes=processes)
        rows = [
            (check.name, check.status, check.found, check.forwards, check.backwards)
            for check in checked.checks
        ]
        evaluation = checked.evaluation
        answers.append((rows, evaluation.broken_by, evaluation.witnesses.tolist()))
    assert answers[0] == answers[1]
    assert any(name not in ("", "none") for name in answers[0][1])


def test_without_an_evaluation_the_protocol_runs_first(quickly, monkeypatch, robust_net, digits):
    few = {"pgd-200": PGD(steps=5), "apgd-ce": protocols.ATTACKS["apgd-ce"].cheapest()}
    monkeypatch.setattr("hardball.evaluation.checks.checklist.autoattack", few)
    checked = checklist(robust_net, digits.rows(slice(0, 12)), LINF, budget="quick")
    assert set(checked.evaluation.attacks) == set(few)
    assert checked.claimed is not None
    assert checked.claimed.attack == "pgd-200"
    # what cannot run is a line of the list
    threat = replace(LINF, norm="l0", eps=3.0)
    checked = checklist(robust_net, digits.rows(slice(0, 12)), threat, budget="quick")
    assert (checked.checks[0].name, checked.checks[0].status) == ("apgd-ce", "could not run")


def test_another_network_is_a_model_or_an_origin(monkeypatch, robust_net, digits_net, digits):
    monkeypatch.setitem(BUDGETS, "quick", SMALL)
    only = [spec for spec in TABLE if spec.name == "transfer"]
    monkeypatch.setattr("hardball.evaluation.checks.checklist.TABLE", only)
    some = digits.rows(slice(0, 10))
    found = measured(robust_net, some)
    checked = checklist(robust_net, some, LINF, found, budget="quick", source=digits_net)
    assert checked.checks[0].status in ("pass", "fail")
    three = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    checked = checklist(robust_net, some, LINF, found, budget="quick", source=three)
    assert checked.checks[0].status == "could not run"
    assert "3 classes" in checked.checks[0].reason
