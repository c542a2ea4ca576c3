"""ε raised as fast as the network keeps up, until it does not: the curriculum that decides for itself.

The rule is a pure function: (state, evidence) → (state, decision). Nothing here trains or measures.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

from hardball.errors import UserError
from hardball.training.curricula.base import check_epochs, check_eps
from hardball.training.curricula.steering import Decision, Evidence, Failure, State

MOST_HALVINGS = 5
"""The learning rate is lowered so often: to a 32nd."""
ABOVE_CHANCE = 0.05
"""A network that has learned something is this much more accurate than a constant prediction."""
MASKED = 0.6
"""Of a masked network the probe leaves less than this share of the accuracy under the training attack."""
IMPROVED = 0.01
"""A loss is smaller if it is so by this share of the constant prediction's."""
SLACK = 1 + 1e-9
"""For what rounding at 12 digits adds to an increment."""
WORSE = 0.05
"""The weights of the finish are kept unless their loss is larger by more than this share of it."""


@dataclass(frozen=True)
class Adaptive:
    """Raise ε as far as the network learns, on evidence from the validation part.

    After an epoch at a trial ε, in this order: a non-finite loss goes back to the last good weights
    and halves the learning rate; a collapse goes back and halves the increment; a loss under
    `pace`, or one that no longer falls and is under `limit`, is learned if the probe agrees, and ε
    rises; masking goes back and doubles the training attack's steps; a loss that no longer falls
    above `limit` goes back like a collapse; otherwise the trial goes on. It ends when the increment
    falls under the resolution, at `eps_max`, or with the budget.

    Example:
        >>> course = hb.Course(curriculum=hb.Adaptive(0.4), labels=test.labels, classes=10)
        >>> course.running
        True
    """

    eps_max: float
    increment: float | None = None
    """First increment of ε, halved at each failure (eps_max/20 by default)."""
    resolution: float | None = None
    """End when the increment falls under this (eps_max/200 by default)."""
    start: float = 0.0
    """ε of the first trial: that of the weights which are extended."""
    epochs: int | None = None
    budget_steps: int | None = None
    """Sample-steps to spend at most, probes included."""
    budget_minutes: float | None = None
    """Wall time to spend at most. It decides when the search ends, and nothing else."""
    pace: float = 0.5
    """Raise ε at once where the validation adversarial loss is under this share of a constant
    prediction's (of ln classes where these are balanced)."""
    limit: float = 0.9
    """A loss that no longer falls, or that had its share of the budget of steps or epochs, but is under
    this share, still counts as learned."""
    patience: int = 5
    """Epochs without a smaller loss after which it no longer falls."""
    longest: int = 40
    """Epochs at one ε at most."""
    masked: float = MASKED
    """Masking: under the probe, less than this share of the accuracy under the training attack."""
    strengthen: int = 3
    """The training attack's steps are doubled so often at most (to 8 times as many); from then on masking
    is a failure like a plateau."""
    probe_steps: int | None = None
    """Steps of the probe's attacks (by default five times the training attack's)."""
    probe_restarts: int = 1
    """Starts of each of the probe's attacks."""
    probe_images: int = 100
    """Validation images that are probed."""
    finish: int = 20
    """Epochs at the largest ε learned, while the learning rate falls to nearly nothing."""

    def __post_init__(self) -> None:
        for name in ("eps_max", "start"):
            check_eps(name, getattr(self, name))
        for name in ("increment", "resolution"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{name}={value}; allowed is a finite number above 0")
        self._check_eps()
        for name in ("epochs", "patience", "longest", "probe_restarts", "probe_images"):
            if getattr(self, name) is not None:
                check_epochs(name, getattr(self, name), least=1)
        for name in ("finish", "strengthen"):
            check_epochs(name, getattr(self, name), least=0)
        for name in ("budget_steps", "budget_minutes", "probe_steps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{name}={value}; allowed is a number above 0, or none at all")
        if not 0 <= self.pace <= self.limit <= 1:
            raise UserError(
                f"pace={self.pace:g} and limit={self.limit:g}; allowed are shares with "
                "0 ≤ pace ≤ limit ≤ 1"
            )
        if not 0 <= self.masked <= 1:
            raise UserError(f"masked={self.masked:g}; allowed is a share, 0 to 1")

    def _check_eps(self) -> None:
        if not self.start < self.eps_max:
            raise UserError(
                f"eps_max={self.eps_max:g} with start={self.start:g} leaves nothing to raise; use an "
                "eps_max above start"
            )
        if self.first_increment > self.eps_max - self.start:
            raise UserError(
                f"eps_max={self.eps_max:g} is less than the first increment {self.first_increment:g} "
                f"above start={self.start:g}; use a larger eps_max or an increment of "
                f"{self.eps_max - self.start:g} or less"
            )
        if self.least_increment > self.first_increment * SLACK:
            raise UserError(
                f"resolution={self.least_increment:g} above the first increment "
                f"{self.first_increment:g}; use a resolution of {self.first_increment:g} or less"
            )

    @property
    def first_increment(self) -> float:
        if self.increment is not None:
            return self.increment
        return min(_rounded(self.eps_max / 20), self.eps_max - self.start)

    @property
    def least_increment(self) -> float:
        if self.resolution is not None:
            return self.resolution
        return min(_rounded(self.eps_max / 200), self.first_increment)

    # --- what every curriculum has

    @property
    def target(self) -> float:
        return self.eps_max

    @property
    def largest(self) -> float:
        return self.eps_max

    @property
    def total_epochs(self) -> int:
        """More than the rule can use, or `epochs`: each rung is at least a resolution above the last
        one, and each increment at most half of the last that failed."""
        if self.epochs is not None:
            return self.epochs
        rungs = math.ceil(round((self.eps_max - self.start) / self.least_increment, 9)) + 1
        failures = 1 + math.ceil(math.log2(self.first_increment / self.least_increment))
        tries = (rungs + 1) * (1 + failures) + self.strengthen + MOST_HALVINGS
        return tries * self.longest + self.finish

    @property
    def may_stop(self) -> bool:
        return False

    def eps_at(self, epoch: int, fraction: float = 1.0) -> float:
        """The first trial's ε: that of the others depends on what is measured (`eps_of`)."""
        return self.start

    def lasting(self, epochs: int) -> Self:
        return replace(self, epochs=epochs)

    # --- the rule

    def begin(self) -> State:
        """Before the first epoch."""
        return State(before=self.start, trial=self.start, increment=self.first_increment)

    def eps_of(self, state: State, fraction: float) -> float:
        """ε of a training step: it rises during a trial's first epoch, and stays."""
        if state.age or fraction >= 1:
            return state.trial
        rising = _rounded(state.before + (state.trial - state.before) * fraction)
        return min(state.trial, rising)

    def lr_factor(self, state: State, fraction: float) -> float:
        """The factor on the learning rate, `fraction` ∈ [0, 1) into the epoch."""
        factor = 0.5**state.halvings
        if state.phase == "finish":
            factor *= 1 - 0.98 * (state.finished + fraction) / state.length
        return float(factor)

    def asks_probe(self, state: State, seen: Evidence) -> bool:
        """True if the decision depends on a probe, which `seen` then needs to have."""
        if not seen.finite or state.trial <= 0:
            return False
        if state.phase == "finish":
            return not seen.collapsed and self._ends_finish(state, seen)
        return self._is_learned(self._watched(state, seen), seen)

    def decide(self, state: State, seen: Evidence) -> tuple[State, Decision]:
        """What the epoch at `state.trial` has shown, and the state to go on with."""
        if state.phase == "over":
            raise ValueError("the search is over; no epoch follows")
        state = self._watched(state, seen)
        if not seen.finite:
            found = self._slowed(state)
        elif state.phase == "finish":
            found = self._finished(state, seen)
        else:
            found = self._searched(state, seen)
        following, decision = self._within_budget(*found, seen)
        if following.phase == "over" and decision.action != "end":
            decision = replace(decision, action="end")  # a finish of no epochs
        return following, decision

    def _watched(self, state: State, seen: Evidence) -> State:
        """The state with this epoch counted in."""
        counted = replace(state, epochs=state.epochs + 1, age=state.age + 1)
        if not seen.finite:
            return counted
        if state.best is None or seen.loss < state.best - IMPROVED * seen.floor:
            return replace(counted, best=seen.loss, waited=0)
        return replace(counted, waited=state.waited + 1)

    def _settled(self, state: State) -> bool:
        return state.waited >= self.patience or state.age >= self.longest

    def _is_learned(self, state: State, seen: Evidence) -> bool:
        """Unless the probe says otherwise."""
        if seen.collapsed or seen.accuracy < seen.chance + ABOVE_CHANCE:
            return False
        # at the end nothing hurries: it is trained until it settles
        if state.trial < self.eps_max and seen.loss <= self.pace * seen.floor:
            return True
        settled = self._settled(state) or self._had_its_share(state, seen)
        return settled and seen.loss <= self.limit * seen.floor

    def _had_its_share(self, state: State, seen: Evidence) -> bool:
        """Of a budget, what is not the finish's is for all ε up to the largest alike: on data whose loss
        stays high, waiting until it settles would spend everything on the first."""
        if seen.epochs_planned is None or state.trial >= self.eps_max:
            return False
        trials = 1 + math.ceil((self.eps_max - state.trial) / state.increment)
        free = seen.epochs_planned - self._reserve(state, seen)
        return state.age >= (state.age + free) / trials

    def _is_masked(self, seen: Evidence) -> bool:
        return seen.probe is not None and seen.probe.hides(self.masked, seen.chance)

    def _searched(self, state: State, seen: Evidence) -> tuple[State, Decision]:
        at = f"ε={state.trial:g}: validation loss {seen.loss:.3f}, accuracy {seen.accuracy:.1%}"
        if self._is_learned(state, seen):
            if not self._is_masked(seen):
                return self._raised(state, seen, at)
            assert seen.probe is not None
            gap = f"{at}; the probe leaves {seen.probe.accuracy:.1%} of {seen.probe.trained:.1%}"
            if state.doublings >= self.strengthen:
                return self._failed(state, "masking", gap)
            # so far a failure: the budget may end before the stronger attack has shown anything
            tried = replace(state, failed=state.trial, how="masking")
            following = replace(self._retried(tried), doublings=state.doublings + 1)
            reason = f"{gap}: masked, so the training attack takes twice the steps"
            return following, Decision(action="strengthen", reason=reason, restore=True)
        # random weights begin as constant predictors
        if seen.collapsed and state.learned is not None:
            return self._failed(state, "collapse", at)
        if self._settled(state):
            return self._failed(state, "collapse" if seen.collapsed else "plateau", at)
        return state, Decision(action="hold", reason=at)

    def _raised(self, state: State, seen: Evidence, at: str) -> tuple[State, Decision]:
        failed, increment = state.failed, state.increment
        if failed is not None and state.trial >= failed:
            failed = None
        if failed is None:
            increment = min(2 * increment, self.first_increment)
        learned = replace(
            state,
            learned=state.trial,
            loss=seen.loss,
            increment=increment,
            failed=failed,
            how=state.how if failed is not None else None,
        )
        if state.trial >= self.eps_max:
            return self._to_finish(learned, None), Decision(
                action="finish", reason=f"{at}: the largest ε asked for is learned", learned=True
            )
        return self._tried(learned), Decision(action="raise", reason=at, learned=True)

    def _failed(self, state: State, how: Failure, at: str) -> tuple[State, Decision]:
        tried = replace(state, failed=state.trial, how=how)
        if state.learned is None:
            reason = f"{at}: {how} at the first ε"
            over = replace(tried, phase="over")
            return over, Decision(action="end", reason=reason, restore=True)
        # of what was added, which near the largest ε is less than the increment
        halved = replace(tried, increment=(state.trial - state.learned) / 2)
        if halved.increment * SLACK < self.least_increment:
            reason = f"{at}: {how}, and half the increment is under the resolution"
            following = self._to_finish(halved, None)
            return following, Decision(action="finish", reason=reason, restore=True)
        return self._tried(halved), Decision(action="back", reason=f"{at}: {how}", restore=True)

    def _slowed(self, state: State) -> tuple[State, Decision]:
        """After a non-finite loss."""
        at = f"ε={state.trial:g}: non-finite loss or gradient"
        if state.phase == "finish" or state.halvings == MOST_HALVINGS:
            over = replace(state, phase="over")
            if state.phase == "search":
                over = replace(over, failed=state.trial, how="non-finite")
            return over, Decision(action="end", reason=at, restore=True)
        following = replace(self._retried(state), halvings=state.halvings + 1)
        reason = f"{at}, so the learning rate is halved"
        return following, Decision(action="slow", reason=reason, restore=True)

    def _retried(self, state: State) -> State:
        return replace(state, age=0, best=None, waited=0)

    def _tried(self, state: State) -> State:
        """The next trial: an increment above what is learned."""
        assert state.learned is not None
        trial = _rounded(min(self.eps_max, state.learned + state.increment))
        if self.eps_max - trial < (SLACK - 1) * self.eps_max:
            trial = self.eps_max
        return replace(self._retried(state), before=state.learned, trial=trial)

    def _to_finish(self, state: State, epochs: int | None) -> State:
        assert state.learned is not None
        length = self.finish if epochs is None else min(epochs, self.finish)
        calm = replace(self._retried(state), before=state.learned, trial=state.learned)
        return replace(calm, phase="finish" if length else "over", length=length)

    def _ends_finish(self, state: State, seen: Evidence) -> bool:
        spent = seen.epochs_left is not None and seen.epochs_left < 1
        return spent or state.finished + 1 >= state.length

    def _finished(self, state: State, seen: Evidence) -> tuple[State, Decision]:
        assert state.loss is not None
        at = f"ε={state.trial:g}: validation loss {seen.loss:.3f}, accuracy {seen.accuracy:.1%}"
        if not (seen.collapsed or self._ends_finish(state, seen)):
            return replace(state, finished=state.finished + 1), Decision(action="hold", reason=at)
        over = replace(state, phase="over", finished=state.finished + 1)
        worse = seen.loss > state.loss + WORSE * seen.floor
        if seen.collapsed or worse or self._is_masked(seen):
            reason = f"{at}: no better than before the finish, whose weights are kept"
            return over, Decision(action="end", reason=reason, restore=True)
        return replace(over, loss=seen.loss), Decision(action="end", reason=at, learned=True)

    def _within_budget(
        self, state: State, decision: Decision, seen: Evidence
    ) -> tuple[State, Decision]:
        """The same, or the end of the search where the budget pays for no more."""
        if seen.epochs_left is None or state.phase == "over":
            return state, decision
        left = seen.epochs_left / (2 if decision.action == "strengthen" else 1)
        payable = max(0, int(left / seen.finish_price))
        if state.phase == "finish":
            # its length was set before: now by what is left
            if state.finished == 0:
                state = self._to_finish(state, payable)
            return state, decision
        if left >= self._reserve(state, seen) + 1:
            return state, decision
        ended = (
            replace(state, phase="over")
            if state.learned is None
            else self._to_finish(state, payable)
        )
        return ended, replace(
            decision,
            action="finish" if ended.phase == "finish" else "end",
            reason=f"{decision.reason}; the budget pays for {left:.3g} more epochs",
            restore=not decision.learned,
        )

    def _reserve(self, state: State, seen: Evidence) -> float:
        """Epochs of the search that are not spent on it, for the finish: a quarter of what was searched
        or, where the finish has a stronger attack of its own, all of it."""
        if state.learned is None:
            return 0.0
        if seen.finish_price > 1:
            return self.finish * seen.finish_price
        return float(min(self.finish, state.epochs // 4))


def _rounded(eps: float) -> float:
    """0.07, not 0.07000000000000001: ε is shown, stored and compared."""
    return round(eps, 12)
