"""The verdict: which word, by which rule, with which exit code."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from hardball.evaluation import Accuracy
from hardball.evaluation.checks.limits import CLAIM_LIMIT, FEW, Limit, at_least, masked_beyond
from hardball.evaluation.checks.result import Check, counted
from hardball.evaluation.checks.verdict import Figure, judge

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def check(status="pass", kind="strength", *, name="a check", essential=True, reason=""):
    return Check(
        number="1",
        name=name,
        kind=kind,
        essential=essential,
        meaning=f"what {name} means",
        status=status,
        measured={},
        reason=reason,
    )


def verdict(claimed, strongest, checks=(), *, n=1000, required=None, attack="square"):
    return judge(
        None
        if claimed is None
        else Figure(accuracy=Accuracy(right=claimed, n=n), attack="pgd-200"),
        Figure(accuracy=Accuracy(right=strongest, n=n), attack=attack),
        list(checks),
        threat="linf ε=0.4",
        required=required,
    )


MASKED = check("fail", "masking", name="blindness")
WEAK = check("fail", "strength", name="weakness")
ABSENT = check("could not run", name="zoo", reason="the package is missing")
NO_SOURCE = check("could not run", name="transfer", essential=False, reason="no run there")
DOUBT = replace(check("pass", "masking", name="doubt"), doubt="2 images have no gradient")
NOTHING = check("not applicable", "masking", name="transfer", reason="no origin")


@pytest.mark.parametrize(
    ("claimed", "strongest", "checks", "required", "word", "code"),
    [
        (920, 915, [], None, "trustworthy", 0),
        (920, 920, [check()], None, "trustworthy", 0),
        (920, 920, [NOTHING, NO_SOURCE], None, "trustworthy", 0),
        (0, 0, [], None, "trustworthy", 0),
        (920, 812, [], None, "weaker than claimed", 0),
        (920, 920, [WEAK], None, "weaker than claimed", 0),
        (920, 920, [MASKED], None, "masked", 1),
        (920, 920, [ABSENT], None, "undecided", 0),
        (920, 0, [ABSENT], 0.0, "trustworthy", 0),  # nothing is left that it could break
        # the first that applies: what was seen is not undone by what could not run
        (920, 812, [ABSENT], None, "weaker than claimed", 0),
        (920, 812, [ABSENT, WEAK, MASKED], None, "masked", 1),
        # what is required takes the place of the claim
        (920, 812, [], 0.8, "trustworthy", 0),
        (920, 812, [], 0.812, "trustworthy", 0),
        (920, 812, [], 0.813, "weaker than claimed", 1),
        (920, 919, [], 0.95, "weaker than claimed", 1),
        (920, 812, [WEAK], 0.8, "weaker than claimed", 0),
        (920, 812, [ABSENT], 0.8, "undecided", 0),
        (920, 812, [MASKED], 0.8, "masked", 1),
        # a check that passes and leaves a doubt
        (920, 915, [DOUBT], None, "undecided", 0),
        (0, 0, [DOUBT], None, "trustworthy", 0),
        (920, 812, [DOUBT], None, "weaker than claimed", 0),
        (920, 915, [DOUBT, MASKED], None, "masked", 1),
        # no PGD could run
        (None, 812, [ABSENT], None, "undecided", 0),
    ],
)
def test_the_rule(claimed, strongest, checks, required, word, code):
    found = verdict(claimed, strongest, checks, required=required)
    assert (found.word, found.exit_code) == (word, code)
    assert found.sentence.startswith(f"{word}: ")
    assert found.sentence.endswith(".")
    assert found.sentence.count(". ") == 0, "one sentence"
    json.dumps(found.as_json(), allow_nan=False)


def test_sentences_carry_the_number_the_attack_and_the_check():
    weaker = verdict(920, 812).sentence
    assert "81.2% [78.7%, 83.5%] at linf ε=0.4 under all attacks, square first" in weaker
    assert "not the 92.0% of pgd-200" in weaker
    assert "not the 95.0% required" in verdict(920, 919, required=0.95).sentence
    assert "what weakness means" in verdict(920, 900, [WEAK]).sentence
    masked = verdict(920, 812, [MASKED, check("fail", "masking", name="noise")]).sentence
    assert "what blindness means and what noise means" in masked
    assert "81.2%" in masked
    two = verdict(920, 915, [ABSENT, check("could not run", name="fab", reason="no")]).sentence
    assert "zoo, fab could not run (the package is missing)" in two
    assert "91.5%" in two
    fine = verdict(920, 915).sentence
    assert "91.5% [89.6%, 93.1%] of 1,000 images" in fine
    assert "pgd-200 alone leaves 92.0%" in fine
    for left in (915, 812):
        assert "2 images have no gradient" in verdict(920, left, [DOUBT]).sentence
    found = replace(MASKED, doubt="252 finds were not confirmed")
    assert "252 finds were not confirmed" in verdict(920, 915, [found]).sentence
    assert "90.0% is required" in verdict(920, 915, required=0.9).sentence


def test_weaker_begins_where_a_point_is_proved():
    """1% lies below the one-sided 95% bound of the share that fell, not before."""
    first = CLAIM_LIMIT.first(1000)
    assert verdict(920, 920 - first + 1).word == "trustworthy"
    assert verdict(920, 920 - first).word == "weaker than claimed"
    assert 10 < first < 20


# --- the boundaries of "masked"


@pytest.mark.parametrize(
    ("claimed", "share"), [(0.92, 0.10), (0.4, 0.10), (0.39, 0.0975), (0.2, 0.05), (0.0, 0.0)]
)
def test_ten_points_or_a_quarter_of_the_claim(claimed, share):
    assert masked_beyond(claimed).share == pytest.approx(share)


def test_a_few_points_of_a_black_box_are_not_masking():
    """Square took 3.8 points of 500 images from a network with a claim of 92%."""
    limit = masked_beyond(0.92)
    assert not limit.exceeded(19, 500)
    assert FEW.exceeded(19, 500), "but more than luck"
    assert not limit.exceeded(50, 500), "ten points of a sample prove no ten points"
    assert limit.exceeded(limit.first(500), 500)
    assert not limit.exceeded(limit.first(500) - 1, 500)
    assert 50 < limit.first(500) < 70


# --- sampling


@given(COUNTS)
def test_the_bound_is_clopper_and_pearsons(place):
    """At the bound, `count` or more of `n` happen with probability 5%."""
    count, n = place
    low = at_least(count, n)
    assert 0 <= low <= count / n
    if count:
        assert binom.sf(count - 1, n, low) == pytest.approx(0.05, rel=1e-6)


@given(n=st.integers(1, 400), share=st.floats(0.001, 0.9))
def test_first_is_the_boundary(n, share):
    limit = Limit(share)
    first = limit.first(n)
    assert not limit.exceeded(first - 1, n)
    assert first == n + 1 or limit.exceeded(first, n)
    assert first - 1 >= math.floor(share * n), "the share itself is always allowed"
    assert str(first) in limit.words(n)


def test_a_limit_of_nothing_allows_nothing():
    assert Limit(0.0).exceeded(1, 1000)
    assert not Limit(0.0).exceeded(0, 1000)
    assert Limit(0.0).short(10) == "0"


def test_a_count_is_told_with_its_limit():
    found = counted(6, 100, beside={"factor": 2.0})
    assert (found.passed, found.found, found.limit) == (False, "6 of 100", "<6")
    assert found.measured == {"count": 6, "images": 100, "factor": 2.0}
    assert counted(5, 100).passed
    assert counted(0, 0).passed


@pytest.mark.parametrize(("number", "paper"), [("4", 4), ("12", 12), ("3.3", None), ("A", None)])
def test_the_papers_number(number, paper):
    assert (
        Check(
            number=number,
            name="x",
            kind="masking",
            essential=True,
            meaning="",
            status="pass",
            measured={},
        ).as_json()["paper"]
        == paper
    )
