"""The rule of the adaptive curriculum: a state machine, tested without training anything."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hardball import Adaptive, UserError
from hardball.training import Curriculum
from hardball.training.curricula import as_spec, curriculum_from
from hardball.training.curricula.steering import Decision, Evidence, Probe, State

FLOOR = math.log(10)

GOOD = Evidence(loss=0.3 * FLOOR, accuracy=0.9, floor=FLOOR, chance=0.1)
STUCK = replace(GOOD, loss=0.97 * FLOOR, accuracy=0.3)
CONSTANT = replace(GOOD, loss=FLOOR, accuracy=0.1, collapsed=True, one_class=1.0)
BROKEN = Evidence(finite=False, floor=FLOOR, chance=0.1)

Step = tuple[State, Evidence, Decision, State]
World = Callable[[State], Evidence]


def probed(accuracy: float, trained: float = 0.9) -> Probe:
    return Probe(n=100, trained=trained, accuracy=accuracy, by={}, sample_steps=1)


def walk(rule: Adaptive, world: World) -> list[Step]:
    """The search in a world that says what each epoch measures, to its end."""
    state = rule.begin()
    steps: list[Step] = []
    while state.phase != "over":
        assert len(steps) < rule.total_epochs
        seen = world(state)
        if not rule.asks_probe(state, seen):
            seen = replace(seen, probe=None)
        elif seen.probe is None:
            seen = replace(seen, probe=probed(seen.accuracy, seen.accuracy))
        following, decision = rule.decide(state, seen)
        steps.append((state, seen, decision, following))
        state = following
    return steps


@st.composite
def rules(draw: st.DrawFn) -> Adaptive:
    eps_max = draw(st.floats(0.01, 20))  # ℓ2 has radii above 1
    increment = draw(st.none() | st.floats(eps_max / 10, eps_max / 2))
    return Adaptive(
        eps_max,
        increment=increment,
        resolution=(increment or eps_max / 20) / draw(st.integers(1, 8)),
        start=draw(st.sampled_from([0.0, eps_max / 3])),
        patience=draw(st.integers(1, 3)),
        longest=draw(st.integers(1, 6)),
        finish=draw(st.integers(0, 3)),
        strengthen=draw(st.integers(0, 3)),
        budget_steps=None,
    )


shares = st.floats(0, 1.2)
probes = st.none() | st.builds(probed, st.floats(0, 0.9))
evidence = st.builds(
    replace,
    st.sampled_from([GOOD, STUCK, CONSTANT, BROKEN]),
    loss=shares.map(lambda share: share * FLOOR),
    accuracy=st.floats(0, 1),
    probe=probes,
    epochs_left=st.none() | st.floats(-1, 100),
    epochs_planned=st.none() | st.floats(-1, 100),
    finish_price=st.sampled_from([1.0, 4.0]),
)


@st.composite
def walks(draw: st.DrawFn) -> tuple[Adaptive, list[Step]]:
    """A search in which anything may be measured; what was drawn comes again and again."""
    rule, seen = draw(rules()), draw(st.lists(evidence, min_size=1, max_size=25))
    places = iter(range(10**9))
    return rule, walk(rule, lambda _: seen[next(places) % len(seen)])


@given(walks())
def test_it_ends_and_no_eps_exceeds_the_largest(found: tuple[Adaptive, list[Step]]) -> None:
    rule, steps = found
    for before, _, _, after in steps:
        for fraction in (0.01, 0.5, 1.0):
            assert 0 <= rule.eps_of(before, fraction) <= rule.eps_max
        assert after.learned is None or rule.start <= after.learned <= rule.eps_max
    assert len(steps) <= rule.total_epochs


@given(walks())
def test_what_is_learned_never_falls_and_lies_under_what_failed(
    found: tuple[Adaptive, list[Step]],
) -> None:
    for before, _, _, after in found[1]:
        if before.learned is not None:
            assert after.learned is not None
            assert after.learned >= before.learned
        if after.failed is not None and after.learned is not None:
            assert after.learned < after.failed
        assert (after.failed is None) == (after.how is None)


@given(walks())
def test_each_failure_narrows_the_bracket(found: tuple[Adaptive, list[Step]]) -> None:
    for before, _, decision, after in found[1]:
        if decision.action == "back":
            assert before.learned is not None
            assert before.learned == after.learned
            assert after.increment == (before.trial - before.learned) / 2
            assert after.failed == before.trial
            assert after.trial < before.trial


@given(walks())
def test_a_decision_follows_from_what_a_file_holds(found: tuple[Adaptive, list[Step]]) -> None:
    rule, steps = found
    for before, seen, decision, after in steps:
        stored = json.loads(json.dumps(asdict(before)))
        assert rule.decide(State.of(stored), seen) == (after, decision)


@given(walks())
def test_weights_are_kept_or_gone_back_to_never_both(
    found: tuple[Adaptive, list[Step]],
) -> None:
    for before, seen, decision, _ in found[1]:
        assert not (decision.learned and decision.restore)
        if decision.learned:
            assert seen.finite
            assert not seen.collapsed
        if decision.action in ("back", "strengthen", "slow"):
            assert decision.restore
        if decision.action == "hold":
            assert not decision.restore
        assert decision.reason.startswith(f"ε={before.trial:g}")


@given(rules(), st.floats(0, 1), st.sampled_from([STUCK, CONSTANT]))
def test_it_brackets_the_largest_eps_that_can_be_learned(
    rule: Adaptive, share: float, failure: Evidence
) -> None:
    limit = rule.start + share * (rule.eps_max - rule.start)
    assume(limit < rule.eps_max)
    steps = walk(rule, lambda state: GOOD if state.trial <= limit else failure)
    last = steps[-1][3]
    assert last.learned is not None
    assert last.failed is not None
    assert last.learned <= limit < last.failed
    assert last.failed - last.learned < 2 * rule.least_increment + 1e-8 * rule.eps_max
    assert last.how == ("collapse" if failure.collapsed else "plateau")


@given(rules())
def test_where_everything_is_learned_it_reaches_the_largest(rule: Adaptive) -> None:
    last = walk(rule, lambda _: GOOD)[-1][3]
    assert (last.learned, last.failed) == (rule.eps_max, None)
    assert last.finished == rule.finish


def test_what_failed_once_may_be_learned_from_nearer() -> None:
    rule = Adaptive(1.0, increment=0.2, resolution=0.01)
    steps = walk(rule, lambda s: STUCK if s.trial - (s.learned or 0) > 0.15 else GOOD)
    last = steps[-1][3]
    assert last.learned == 1.0
    assert any(decision.action == "back" for _, _, decision, _ in steps)


def actions(steps: list[Step]) -> list[str]:
    return [decision.action for _, _, decision, _ in steps]


def test_masking_strengthens_the_attack_and_tries_the_same_eps_again() -> None:
    rule = Adaptive(0.4, increment=0.1, finish=0)

    def world(state: State) -> Evidence:
        masked = state.trial == 0.3 and state.doublings < 2
        return replace(GOOD, probe=probed(0.4 if masked else 0.8))

    steps = walk(rule, world)
    strengthened = [s for s in steps if s[2].action == "strengthen"]
    assert [(s[0].trial, s[3].trial, s[3].doublings) for s in strengthened] == [
        (0.3, 0.3, 1),
        (0.3, 0.3, 2),
    ]
    assert steps[-1][3].learned == 0.4
    assert "the probe leaves 40.0% of 90.0%" in strengthened[0][2].reason


def test_masking_that_no_attack_cures_is_a_failure() -> None:
    rule = Adaptive(0.4, increment=0.1, resolution=0.05)
    steps = walk(rule, lambda s: replace(GOOD, probe=probed(0.0 if s.trial > 0.2 else 0.8)))
    last = steps[-1][3]
    assert (last.learned, last.failed, last.how) == (0.2, 0.25, "masking")
    assert last.doublings == 3


def test_a_probe_at_chance_is_masking_however_little_there_was_to_lose() -> None:
    rule = Adaptive(0.4, increment=0.1, masked=0.5)
    state = replace(rule.begin(), learned=0.2, loss=0.5, trial=0.3)
    _, decision = rule.decide(state, replace(GOOD, accuracy=0.16, probe=probed(0.1, 0.16)))
    assert decision.action == "strengthen"


def test_masking_is_a_failure_at_once_where_nothing_may_be_strengthened() -> None:
    rule = Adaptive(0.4, increment=0.1, resolution=0.05, strengthen=0)
    steps = walk(rule, lambda s: replace(GOOD, probe=probed(0.0 if s.trial > 0.2 else 0.8)))
    assert "strengthen" not in [decision.action for _, _, decision, _ in steps]
    last = steps[-1][3]
    assert (last.learned, last.failed, last.how, last.doublings) == (0.2, 0.25, "masking", 0)
    with pytest.raises(UserError, match=r"strengthen=-1; allowed is 0 or more"):
        Adaptive(0.4, strengthen=-1)


def test_masking_that_the_budget_leaves_no_time_to_mend_is_the_failure() -> None:
    rule = Adaptive(0.4, increment=0.1, finish=2)
    state = replace(rule.begin(), learned=0.2, loss=0.5, trial=0.3, epochs=8)
    last = replace(GOOD, probe=probed(0.1), epochs_left=2.0)
    following, decision = rule.decide(state, last)
    assert (decision.action, following.phase) == ("finish", "finish")
    assert (following.learned, following.failed, following.how) == (0.2, 0.3, "masking")
    # with time left, what the stronger attack teaches counts, and nothing has failed
    again, _ = rule.decide(state, replace(last, epochs_left=None))
    mended, raised = rule.decide(again, replace(GOOD, probe=probed(0.8)))
    assert (raised.action, mended.learned, mended.failed) == ("raise", 0.3, None)


def test_a_non_finite_loss_halves_the_learning_rate_and_tries_again() -> None:
    rule = Adaptive(0.4, increment=0.1, finish=4)
    steps = walk(rule, lambda s: BROKEN if s.trial == 0.2 and s.halvings < 2 else GOOD)
    slowed = [s for s in steps if s[2].action == "slow"]
    assert [(s[3].trial, rule.lr_factor(s[3], 0.5)) for s in slowed] == [(0.2, 0.5), (0.2, 0.25)]
    assert steps[-1][3].learned == 0.4


def test_a_non_finite_loss_that_no_learning_rate_cures_ends_the_search() -> None:
    rule = Adaptive(0.4, increment=0.1)
    last = walk(rule, lambda s: BROKEN if s.trial == 0.2 else GOOD)[-1][3]
    assert (last.learned, last.failed, last.how) == (0.1, 0.2, "non-finite")
    assert last.halvings == 5


def test_a_trial_that_still_improves_goes_on_and_one_that_does_not_is_judged() -> None:
    rule = Adaptive(0.4, increment=0.1, patience=2, pace=0.5, limit=0.8)
    state = replace(rule.begin(), learned=0.1, loss=0.5, trial=0.2)
    for loss in (0.95, 0.9, 0.85, 0.845, 0.7):
        state, decision = rule.decide(state, replace(GOOD, loss=loss * FLOOR))
        assert decision.action == "hold"
    state, decision = rule.decide(state, replace(GOOD, loss=0.7 * FLOOR))
    assert (decision.action, state.waited) == ("hold", 1)
    _, learned = rule.decide(state, replace(GOOD, loss=0.7 * FLOOR))
    assert learned.action == "raise"
    _, failed = rule.decide(state, replace(GOOD, loss=0.85 * FLOOR))
    assert failed.action == "back"


def test_random_weights_that_predict_one_class_are_given_time() -> None:
    rule = Adaptive(0.4, patience=3)
    found = walk(rule, lambda s: CONSTANT if s.epochs < 3 else GOOD)
    assert found[-1][3].learned == 0.4
    never = walk(rule, lambda _: CONSTANT)
    assert (len(never), never[-1][3].learned, never[-1][3].how) == (4, None, "collapse")


@given(rules(), st.integers(1, 60), st.sampled_from([GOOD, STUCK]))
def test_a_budget_is_not_exceeded_and_ends_with_the_finish(
    rule: Adaptive, epochs: int, usual: Evidence
) -> None:
    def world(state: State) -> Evidence:
        seen = usual if state.learned is not None else GOOD
        return replace(seen, epochs_left=epochs - state.epochs - 1.0)

    steps = walk(rule, world)
    assert len(steps) <= epochs
    if len(steps) == epochs and epochs >= 8 and rule.finish:
        assert steps[-1][0].phase == "finish"


def test_a_loss_that_stays_high_does_not_take_the_whole_budget() -> None:
    """Under `limit` but never under `pace`, and always falling a little: each ε gets its share."""
    rule, epochs = Adaptive(0.4, increment=0.1, finish=4), 24

    def world(state: State) -> Evidence:
        falling = replace(GOOD, loss=(0.8 - 0.02 * state.age) * FLOOR, accuracy=0.4)
        left = epochs - state.epochs - 1.0
        return replace(falling, epochs_left=left, epochs_planned=left)

    steps = walk(rule, world)
    rungs = [before.trial for before, _, decision, _ in steps if decision.action == "raise"]
    assert rungs == pytest.approx([0, 0.1, 0.2, 0.3])
    ages = [after.age for before, _, _, after in steps if before.phase == "search"]
    assert max(ages) <= 6
    assert len(steps) <= epochs
    alone = walk(rule, lambda s: replace(world(s), epochs_planned=None))
    assert len([step for step in alone if step[2].action == "raise"]) < 4


@given(rules(), st.floats(1, 200), st.sampled_from([2.0, 4.0]), st.sampled_from([GOOD, STUCK]))
def test_a_dearer_finish_is_set_aside_and_paid(
    rule: Adaptive, budget: float, price: float, usual: Evidence
) -> None:
    """An epoch of the search costs 1, one of the finish its price."""
    spent = 0.0

    def world(state: State) -> Evidence:
        nonlocal spent
        finishing = state.phase == "finish"
        spent += price if finishing else 1.0
        left = (budget - spent) / (price if finishing else 1.0)
        seen = usual if state.learned is not None else GOOD
        return replace(seen, epochs_left=left, finish_price=1.0 if finishing else price)

    steps = walk(rule, world)
    assert spent <= budget
    if rule.finish and budget >= 2 + price * rule.finish:
        assert steps[-1][0].phase == "finish"
        assert steps[-1][0].length == rule.finish


def test_the_finish_lowers_the_learning_rate_to_nearly_nothing() -> None:
    rule = Adaptive(0.4, finish=10)
    state = State(phase="finish", trial=0.4, learned=0.4, increment=0.1, length=10)
    factors = [rule.lr_factor(replace(state, finished=i), f) for i in range(10) for f in (0, 0.5)]
    assert factors[0] == 1
    assert factors == sorted(factors, reverse=True)
    assert 0 < factors[-1] < 0.1


@pytest.mark.parametrize(
    ("last", "kept"),
    [(GOOD, True), (replace(GOOD, loss=0.5 * FLOOR), False), (CONSTANT, False)],
)
def test_a_finish_that_made_things_worse_is_not_kept(last: Evidence, kept: bool) -> None:
    rule = Adaptive(0.4, finish=3)
    steps = walk(rule, lambda s: last if s.phase == "finish" and s.finished == 2 else GOOD)
    assert (steps[-1][2].learned, steps[-1][2].restore) == (kept, not kept)
    assert steps[-1][3].learned == 0.4


def test_the_first_epoch_of_a_trial_rises_to_it() -> None:
    rule = Adaptive(0.4)
    state = State(before=0.1, trial=0.2, increment=0.1, learned=0.1)
    assert [rule.eps_of(state, f) for f in (0.25, 0.5, 1.0)] == [0.125, 0.15, 0.2]
    assert rule.eps_of(replace(state, age=1), 0.25) == 0.2


@given(rules())
def test_it_is_a_curriculum_that_a_config_describes(rule: Adaptive) -> None:
    curriculum: Curriculum = rule
    assert curriculum_from(as_spec(rule)) == rule
    assert curriculum.lasting(7).total_epochs == 7
    assert curriculum.target == curriculum.largest == rule.eps_max


BAD: dict[str, tuple[dict[str, float], str]] = {
    "largest below the increment": (
        {"eps_max": 0.01, "increment": 0.02},
        r"eps_max=0\.01 is less than the first increment 0\.02 .* an increment of 0\.01 or less",
    ),
    "resolution": (
        {"eps_max": 0.4, "increment": 0.01, "resolution": 0.02},
        r"resolution=0\.02 above the first increment 0\.01; use a resolution of 0\.01 or less",
    ),
    "start": ({"eps_max": 0.4, "start": 0.4}, r"eps_max=0\.4 with start=0\.4 leaves nothing"),
    "no eps": ({"eps_max": 0.0}, r"eps_max=0 with start=0"),
    "nan": ({"eps_max": math.nan}, r"eps_max=nan; allowed is a finite number"),
    "increment": ({"eps_max": 0.4, "increment": 0.0}, r"increment=0\.0; allowed"),
    "no steps": (
        {"eps_max": 0.4, "budget_steps": 0},
        r"budget_steps=0; allowed is a number above 0",
    ),
    "no time": ({"eps_max": 0.4, "budget_minutes": 0.0}, r"budget_minutes=0\.0; allowed"),
    "pace": ({"eps_max": 0.4, "pace": 0.95}, r"pace=0\.95 and limit=0\.9; allowed"),
    "masked": ({"eps_max": 0.4, "masked": 2}, r"masked=2; allowed"),
    "patience": ({"eps_max": 0.4, "patience": 0}, r"patience=0; allowed is 1 or more"),
}


@pytest.mark.parametrize(("values", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input(values: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Adaptive(**values)  # type: ignore[arg-type]
