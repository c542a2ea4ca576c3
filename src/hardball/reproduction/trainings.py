"""The paper's trainings by name. Recipes share them: each is trained once."""

from dataclasses import dataclass, field
from typing import Literal

from hardball.presets import Values, merged
from hardball.reproduction.budgets import Budget


@dataclass(frozen=True, kw_only=True)
class Training:
    """One network of the paper."""

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
            asked["epochs"] = budget.epochs[self.kind if self.eps else "standard"]
        return merged(merged(budget.training, asked), self.more)


TRAININGS: dict[str, Training] = {
    "standard": Training(eps=0.0),
    "at-0.2": Training(eps=0.2),
    "at-0.3": Training(eps=0.3),
    "at-0.35": Training(eps=0.35),
    "at-0.4": Training(eps=0.4),
    "eat-0.4": Training(eps=0.4, kind="extended", start="at-0.3"),
    "eat-0.45": Training(eps=0.45, kind="extended", start="at-0.35"),
    "eat-0.5": Training(eps=0.5, kind="extended", start="at-0.3"),
    "iat-0.4": Training(eps=0.4, kind="iterative"),
    "iat-0.5": Training(eps=0.5, kind="iterative"),
}
"""name → training."""
