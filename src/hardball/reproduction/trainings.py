"""The paper's trainings by name. Recipes share them: each is trained once."""

from dataclasses import dataclass, field
from typing import Literal

from hardball.presets import Values, merged
from hardball.reproduction.budgets import Budget


@dataclass(frozen=True, kw_only=True)
class Training:
    """One network of the paper."""

    name: str
    eps: float
    kind: Literal["direct", "extended", "iterative"] = "direct"
    """At one ε from random weights, at one ε from those of `start`, or along a ramp."""
    start: str | None = None
    """The training whose weights it starts from (extended adversarial training)."""
    seed: int = 0
    more: Values = field(default_factory=dict)
    """Nested values of its own."""

    def values(self, budget: Budget) -> Values:
        """Everything that is asked for, as nested values of `TrainConfig.of`."""
        asked: Values = {"eps": self.eps, "seed": self.seed, "machine": {"keep_every": 1}}
        if self.kind == "iterative":
            asked["curriculum"] = {"name": "iterative", "increment": budget.increment}
        else:
            kind = self.kind if self.eps else "standard"
            asked["epochs"] = budget.epochs.get(self.name, budget.epochs[kind])
        return merged(merged(budget.training, asked), self.more)


_ALL = (
    Training(name="standard", eps=0.0),
    Training(name="at-0.2", eps=0.2),
    Training(name="at-0.3", eps=0.3),
    Training(name="at-0.35", eps=0.35),
    Training(name="at-0.4", eps=0.4),
    Training(name="eat-0.4", eps=0.4, kind="extended", start="at-0.3"),
    Training(name="eat-0.45", eps=0.45, kind="extended", start="at-0.35"),
    Training(name="eat-0.5", eps=0.5, kind="extended", start="at-0.3"),
    Training(name="iat-0.4", eps=0.4, kind="iterative"),
    Training(name="iat-0.5", eps=0.5, kind="iterative"),
)

TRAININGS = {training.name: training for training in _ALL}
"""name → training."""
