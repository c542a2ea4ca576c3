"""What a curriculum that decides for itself is given, and what it answers: plain values only.

A resume point holds the `State` and decisions.jsonl a line for each `Decision`, so both are made of
numbers, strings and None.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

Action = Literal["hold", "raise", "back", "strengthen", "slow", "finish", "end"]
Failure = Literal["collapse", "plateau", "masking", "non-finite"]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Accuracy under more and other attacks than training's, on some images of the validation part."""

    n: int
    trained: float
    """Accuracy under the training attack on these images."""
    accuracy: float
    """Accuracy under the pointwise worst of all attacks of the probe and the training attack."""
    by: dict[str, float]
    """The same after each attack, in the order they ran."""
    sample_steps: int

    def hides(self, masked: float, chance: float) -> bool:
        """The probe leaves less than the share `masked` of what the training attack leaves, or no more
        than `chance`, the accuracy of the best constant prediction."""
        return self.accuracy < masked * self.trained or self.accuracy <= chance


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was measured after an epoch: everything a decision depends on, beside the state."""

    finite: bool = True
    """False: the loss or a gradient is no number; the other fields then say nothing."""
    loss: float = 0.0
    """Adversarial cross entropy on the validation part, under the training attack at the trial's ε."""
    accuracy: float = 1.0
    """Accuracy there."""
    collapsed: bool = False
    """The training loss is pinned at that of a constant prediction, and one class is predicted."""
    one_class: float = 0.0
    """Share of the most predicted class in the training batches."""
    floor: float = 1.0
    """Cross entropy of the best constant prediction: the entropy of the labels."""
    chance: float = 0.0
    """Accuracy of the best constant prediction: the share of the most frequent class."""
    epochs_left: float | None = None
    """Epochs like this one that the budget still pays for, a probe each set aside; None: no budget."""
    epochs_planned: float | None = None
    """The same without the budget of wall time, on which nothing but the end depends."""
    finish_price: float = 1.0
    """What an epoch of the finish costs, in epochs like this one: more where the attack is stronger."""
    probe: Probe | None = None
    """Only if the curriculum asked for it (`asks_probe`)."""


@dataclass(frozen=True, kw_only=True)
class State:
    """Where the search is. The next epoch trains at `trial`."""

    phase: Literal["search", "finish", "over"] = "search"
    learned: float | None = None
    """The largest ε learned so far, whose weights are the ones gone back to."""
    loss: float | None = None
    """Validation adversarial loss there."""
    before: float = 0.0
    """ε from which the first epoch of the trial rises to …"""
    trial: float
    """… the ε being tried."""
    increment: float
    """How far above `learned` the trial is (or less, at the largest ε)."""
    age: int = 0
    """Epochs at this trial."""
    best: float | None = None
    """Smallest validation adversarial loss of this trial …"""
    waited: int = 0
    """… and for how many epochs it has not become smaller."""
    doublings: int = 0
    """How often the steps of the training attack were doubled."""
    halvings: int = 0
    """How often the learning rate was halved."""
    failed: float | None = None
    """The last ε that was not learned from `learned`: the upper end of the bracket."""
    how: Failure | None = None
    """In what way."""
    epochs: int = 0
    """Epochs trained, failed ones included."""
    finished: int = 0
    """Epochs of the finish that are done, of …"""
    length: int = 0
    """… so many."""

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """The state that `asdict` described."""
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do with the weights, and why. The state that comes with it says what to train next."""

    action: Action
    reason: str
    learned: bool = False
    """The present weights are the good ones: a rung of the ladder."""
    restore: bool = False
    """Go back to the last good weights and the optimiser's state that belongs to them."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A line of decisions.jsonl: state and evidence give the decision and the next state again."""

    epoch: int
    state: State
    evidence: Evidence
    decision: Decision
    next: State

    def as_json(self) -> dict[str, Any]:
        """Plain values, the decision first."""
        found = asdict(self)
        decision = found.pop("decision")
        return {"epoch": found.pop("epoch"), "eps": self.state.trial, **decision, **found}
