"""The checklist: what it says of a healthy model, of one that cannot be attacked, and after a kill."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from contexts import LINF, SMALL, WEAK, measured, origin
from hardball import PGD, AutoAttackPart, ThreatModel, UserError, build
from hardball.evaluation import Journal
from hardball.evaluation.checks import checklist as module
from hardball.evaluation.checks.budget import BUDGETS
from hardball.evaluation.checks.checklist import checklist
from hardball.evaluation.checks.context import Context, Origin
from hardball.evaluation.checks.registry import TABLE
from hardball.evaluation.execution import Execution
from hardball.evaluation.journal import scope_of
from hardball.evaluation.preflight import usable
from hardball.evaluation.protocols import CLAIM, PROTOCOLS, protocol
from hardball.report.checks import WIDTH, check_lines, heading


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(BUDGETS, "quick", SMALL)


@pytest.fixture(scope="module")
def some(digits):
    return digits.rows(slice(0, 40))


# --- the whole list


@pytest.fixture(scope="module")
def whole(robust_net, digits_net_once, some):
    """A healthy network under every check, with its evaluation."""
    found = measured(robust_net, some)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUDGETS, "quick", SMALL)
        other = origin(digits_net_once)
        checked = checklist(
            robust_net, some, LINF, found, budget="quick", source=other, base=other, origin=other
        )
    return found, checked


@pytest.fixture(scope="module")
def digits_net_once(_trained_digits_cnn):
    return _trained_digits_cnn.eval()


def test_a_healthy_network_passes_every_check(whole):
    _, checked = whole
    assert {check.name: check.status for check in checked.checks} == {
        row.name: "pass" for row in TABLE
    }
    assert checked.verdict.word == "trustworthy"
    assert checked.verdict.exit_code == 0


def test_the_list_is_the_papers(whole):
    _, checked = whole
    assert {check.paper for check in checked.checks} == {*range(1, 13), None}
    assert len({row.name for row in TABLE}) == len(TABLE)
    for check in checked.checks:
        assert check.threshold
        assert check.measured
        assert check.meaning
        assert check.seconds >= 0
    costly = [check for check in checked.checks if check.number not in ("I", "J", "O")]
    assert all(check.forwards > 0 for check in costly)


def test_json_is_strict_and_complete(whole):
    _, checked = whole
    told = checked.as_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["budget"] == "quick"
    assert told["claimed"]["attack"] == CLAIM
    assert told["strongest"]["right"] == checked.strongest.accuracy.right
    fields = {"number", "paper", "name", "kind", "essential", "meaning", "status", "found", "limit"}
    fields |= {
        "threshold",
        "measured",
        "note",
        "doubt",
        "reason",
        "forwards",
        "backwards",
        "seconds",
    }
    assert all(set(check) == fields for check in told["checks"])
    json.dumps(checked.verdict.as_json(), allow_nan=False)


def test_lines_fit_80_columns(whole):
    _, checked = whole
    long = replace(
        checked.checks[0],
        status="not applicable",
        found="20 of 1000 (1000)",
        limit=">0.181, 0.266",
        seconds=86400.0,
        reason="a long reason " * 20,
    )
    for lines in (heading("standard", 0.4), *map(check_lines, [*checked.checks, long])):
        assert max(map(len, lines)) <= WIDTH == 80
    for check in checked.checks:
        line = check_lines(check)[0]
        assert line.split()[0] == check.number
        for part in (check.name, check.found, check.limit, check.status):
            assert f" {part} " in f" {line} "


def test_a_failure_stands_out(whole):
    _, checked = whole
    assert " FAIL " in check_lines(replace(checked.checks[0], status="fail"))[0]


def test_brute_force_says_how_much_was_run_and_how_long_the_papers_would_take(whole):
    _, checked = whole
    (check,) = [check for check in checked.checks if check.name == "brute force"]
    told = check.measured
    assert told["run"] == check.forwards
    assert told["hours_for_the_papers"] == pytest.approx(
        128e8 * told["seconds"] / told["run"] / 3600
    )
    assert f"{check.forwards:,} samples were run; the paper's 1e+08 on each of 128" in check.note
    assert "samples were run" in " ".join(check_lines(check)[1:])


class Amplified(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return 1000 * self.net(images)


class Noisy(Amplified):
    def forward(self, images):
        return self.net(images + 0.1 * torch.randn_like(images))


class Quantised(Amplified):
    def forward(self, images):
        return self.net((4 * images).round() / 4)


@pytest.mark.parametrize("mask", [Amplified, Noisy, Quantised])
def test_a_planted_failure_is_called_masked(mask, robust_net, some, monkeypatch):
    monkeypatch.setattr(module, "TABLE", [row for row in TABLE if not row.number[0].isdecimal()])
    model = mask(robust_net).eval()
    found = measured(model, some, attacks={CLAIM: PGD(steps=20)})
    checked = checklist(model, some, LINF, found, budget="quick")
    assert checked.verdict.word == "masked"
    assert checked.verdict.exit_code == 1


def test_catastrophic_overfitting_is_called_masked(fgsm_net, some, monkeypatch):
    monkeypatch.setattr(module, "TABLE", [row for row in TABLE if not row.number[0].isdecimal()])
    threat = ThreatModel("linf", 0.5)
    found = measured(fgsm_net, some, threat, {CLAIM: PGD(steps=20)})
    checked = checklist(fgsm_net, some, threat, found, budget="quick")
    assert checked.verdict.word == "masked"
    assert "right again at its end" in checked.verdict.sentence


# --- not applicable, could not run


def statuses(checked):
    return {check.name: check.status for check in checked.checks}


def test_a_missing_package_leaves_the_verdict_open(robust_net, some, monkeypatch):
    monkeypatch.setitem(sys.modules, "art.attacks.evasion", None)
    gone = Origin(name="gone", model=None, reason="runs/gone is not there")
    rows = [row for row in TABLE if row.name in ("ZOO", "transfer from origin", "zero gradients")]
    monkeypatch.setattr(module, "TABLE", rows)
    checked = checklist(
        robust_net, some, LINF, measured(robust_net, some), budget="quick", origin=gone
    )
    assert statuses(checked) == {
        "ZOO": "could not run",
        "transfer from origin": "could not run",
        "zero gradients": "pass",
    }
    assert checked.verdict.word == "undecided"
    assert (
        "ZOO could not run (zoo needs the extra: pip install 'hardball[attacks]'"
        in checked.verdict.sentence
    )
    assert "origin" not in checked.verdict.sentence, "what needs another network decides nothing"
    reasons = {check.name: check.reason for check in checked.checks}
    assert reasons["transfer from origin"] == "runs/gone is not there"


class NoGradient(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images).detach()


def test_without_gradients_nothing_is_claimed(robust_net, some, monkeypatch):
    model = NoGradient(robust_net)
    square = protocol("autoattack")["square"]
    assert isinstance(square, AutoAttackPart)
    attacks = {CLAIM: PGD(steps=200), "square": replace(square, queries=9)}
    can, cannot = usable(attacks, model, some, LINF)
    assert list(can) == ["square"]
    assert [name for name, _ in cannot] == [CLAIM]
    assert "no gradient flows" in cannot[0][1]
    rows = [row for row in TABLE if row.number in ("2", "8", "A", "H", "I", "J")]
    monkeypatch.setattr(module, "TABLE", rows)
    found = measured(model, some, attacks=can)
    checked = checklist(model, some, LINF, found, budget="quick", failures=cannot)
    assert checked.claimed is None
    assert checked.verdict.word == "undecided"
    assert CLAIM in checked.verdict.sentence
    assert statuses(checked)["unbounded attack"] == "could not run"
    assert statuses(checked)["brute force"] == "pass"
    assert statuses(checked)["claim holds"] == "could not run"


class HardQuantisation(nn.Module):
    """Its parameters have a gradient, and its images none."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net((images > 0.5).float())


def test_hard_quantisation_is_called_masked(robust_net, some, monkeypatch):
    model = HardQuantisation(robust_net)
    square = protocol("autoattack")["square"]
    assert isinstance(square, AutoAttackPart)
    square = replace(square, queries=9)
    can, cannot = usable({CLAIM: PGD(steps=200), "square": square}, model, some, LINF)
    assert [name for name, _ in cannot] == [CLAIM]
    gradients = ("1", "2", "3", "3.3", "4", "5", "6", "7", "A", "B", "E", "F", "G", "H")
    monkeypatch.setattr(module, "TABLE", [row for row in TABLE if row.number in gradients])
    found = measured(model, some, attacks=can)
    checked = checklist(model, some, LINF, found, budget="quick", failures=cannot)
    assert checked.verdict.word == "masked"
    assert statuses(checked)["zero gradients"] == "fail"
    assert statuses(checked)["raw gradient"] == "could not run"


def test_if_no_attack_can_run_that_is_the_users_to_know(robust_net, some):
    with pytest.raises(UserError, match="no gradient flows"):
        usable({CLAIM: PGD(steps=3)}, NoGradient(robust_net), some, LINF)


@pytest.mark.parametrize("name", PROTOCOLS["checklist"])
def test_trying_an_attack_out_costs_little(name):
    attack = protocol("checklist")[name]
    tried = attack.cheapest()
    assert type(tried) is type(attack)
    assert tried.cost <= 12


def test_trying_out_asks_about_images_that_are_right(digits_net, some):
    """A model that gets everything wrong lets every attack pass: there is nothing to attack."""
    wrong = replace(some, labels=(digits_net(some.images).argmax(1) + 1) % 10)
    can, cannot = usable(protocol("strong"), digits_net, wrong, LINF)
    assert list(can) == list(protocol("strong"))
    assert cannot == []


def test_refusals(robust_net, some):
    found = measured(robust_net, some, attacks={"pgd": PGD(steps=1)})
    with pytest.raises(
        UserError, match="unknown budget 'lavish'; there are: full, quick, standard"
    ):
        checklist(robust_net, some, LINF, found, budget="lavish")
    with pytest.raises(UserError, match=r"eps=0.2 was not measured; measured are: 0.1"):
        checklist(robust_net, some, ThreatModel("linf", 0.2), found, budget="quick")


# --- the claim


def test_the_claim_is_the_attack_alone_and_the_rest_lowers_it(digits_net, some):
    """A cheaper attack before it does not change what the claim's attack claims."""
    claim = PGD(steps=5)
    alone = measured(digits_net, some, attacks={CLAIM: claim})
    attacks = {"cheap": PGD(steps=3, loss="margin"), CLAIM: claim, "dear": PGD(steps=40)}
    for eps in ([0.1], [0.03, 0.1]):
        together = measured(digits_net, some, attacks=attacks, eps=eps)
        assert "cheap" in together.broken_by
        subject = Context(Execution(digits_net, some), LINF, together, claim=CLAIM, budget=SMALL)
        assert subject.accuracy(subject.claimed) == alone.worst[0.1]
        assert torch.equal(subject.claimed, alone.broken_at <= 0.1)


def test_what_is_required_takes_the_claims_place(robust_net, some, monkeypatch):
    monkeypatch.setattr(module, "TABLE", TABLE[:1])
    found = measured(robust_net, some)
    left = found.worst[0.1].value
    for required, word in ((left - 0.01, "trustworthy"), (left + 0.01, "weaker than claimed")):
        checked = checklist(robust_net, some, LINF, found, budget="quick", required=required)
        assert checked.verdict.word == word


# --- killed, and continued


class Stop(Exception):
    pass


def test_a_killed_checklist_continues(robust_net, digits_net, some, monkeypatch, tmp_path, whole):
    """After each finished check: what was found is not searched for again, and the end is the same."""
    who = scope_of(some, "linf", 0, weights_sha256="w", model={})
    other = origin(digits_net)
    told = []

    def once(stop_after):
        count = 0

        def done(check):
            nonlocal count
            count += 1
            if count == stop_after:
                raise Stop

        journal = Journal(tmp_path, who)
        checked = checklist(
            robust_net,
            some,
            LINF,
            measured(robust_net, some, journal=journal),
            budget="quick",
            source=other,
            base=other,
            origin=other,
            journal=journal,
            done=done,
        )
        told.append(checked)
        return checked

    for stop_after in (3, 12):
        with pytest.raises(Stop):
            once(stop_after)
    continued = once(None)

    def without_time(checked):
        """Seconds, and rates made of them, are the machine's."""
        kept = checked.as_json()
        for check in kept["checks"]:
            check.pop("seconds")
            check.pop("note")
            for name in ("seconds", "hours_for_the_papers"):
                check["measured"].pop(name, None)
        return kept

    assert without_time(continued) == without_time(whole[1])
    assert continued.verdict == whole[1].verdict
    assert torch.equal(continued.evaluation.witnesses, whole[1].evaluation.witnesses)
    # now everything is known
    monkeypatch.setattr(module, "run", lambda *_: pytest.fail("a finished check ran again"))
    assert once(None).as_json() == continued.as_json()


def test_what_a_finished_check_broke_is_broken_after_a_restart(
    digits_net, some, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "TABLE", [row for row in TABLE if row.number == "4"])
    threat = ThreatModel("linf", 0.4)
    who = scope_of(some, "linf", 0, weights_sha256="w", model={})
    found = [
        checklist(
            digits_net,
            some,
            threat,
            measured(digits_net, some, threat, {CLAIM: WEAK}),
            budget="quick",
            journal=Journal(tmp_path, who),
        )
        for _ in range(2)
    ]
    assert found[0].checks[0].status == "fail"
    assert found[0].strongest is not None
    assert found[0].claimed is not None
    assert found[0].strongest.accuracy.right < found[0].claimed.accuracy.right
    assert found[0].strongest.attack == "pgd-200-x3"
    assert found[1].strongest == found[0].strongest
    assert torch.equal(found[1].evaluation.witnesses, found[0].evaluation.witnesses)


def test_another_network_to_compare_with_is_another_check(
    robust_net, digits_net, some, monkeypatch
):
    """The journal's check of one source is not taken for that of another."""
    monkeypatch.setattr(module, "TABLE", [row for row in TABLE if row.number == "11"])
    journal = Journal()
    found = measured(robust_net, some)
    untrained = build("digits_cnn", (1, 8, 8), 10, {"width": 4})
    costs = [
        checklist(
            robust_net, some, LINF, found, budget="quick", source=source, journal=journal
        ).checks[0]
        for source in (None, origin(digits_net), origin(untrained))
    ]
    assert costs[0].status == "not applicable"
    assert costs[1].status == costs[2].status == "pass"
    assert len(journal.records(next(k for k in journal._records if "Transfer" in k))) == 1
