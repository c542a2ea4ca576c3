"""The paper's trainings by name. Recipes share them: each is trained once."""

from dataclasses import dataclass, field
from typing import Literal

from hardball.presets import Values, merged
from hardball.reproduction.budgets import Budget

On = Literal["mnist", "cifar"]
"""MNIST or CIFAR-10, or what a budget takes in their place."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One network of the paper."""

    eps: float
    kind: Literal["direct", "extended", "iterative", "adaptive"] = "direct"
    """At one ε from random weights, at one ε from those of `start`, along a ramp, or as far as it goes."""
    start: str | None = None
    """The training whose weights it starts from (extended adversarial training)."""
    on: On = "mnist"
    seed: int = 0
    variant: Literal["text", "code", "fine"] = "text"
    """As in the paper's text, in its authors' code, or with the finer attack of section 3.3."""
    more: Values = field(default_factory=dict)
    """Nested values of its own."""
    zoo: str | None = None
    """The zoo's network that was trained so, in the budget full."""

    def values(self, budget: Budget) -> Values:
        """Everything that is asked for, as nested values of `TrainConfig.of`."""
        side = budget.cifar if self.on == "cifar" else budget
        asked: Values = {"eps": self.eps, "seed": self.seed, "machine": {"keep_every": 1}}
        if self.kind == "iterative":
            asked["curriculum"] = {"name": "iterative", "increment": budget.increment}
        elif self.kind != "adaptive":
            asked["epochs"] = side.epochs[self.kind if self.eps else "standard"]
        values = merged(side.training, asked)
        for own in (side.by_kind.get(self.kind, {}), self._variant(budget), self.more):
            values = merged(values, own)
        return values

    def _variant(self, budget: Budget) -> Values:
        if self.variant == "text":
            return {}
        if self.variant == "fine":
            return budget.fine
        return (budget.cifar if self.on == "cifar" else budget).code[self.kind]


TRAININGS: dict[str, Training] = {
    "standard": Training(eps=0.0),
    "at-0.2": Training(eps=0.2),
    "at-0.3": Training(eps=0.3, zoo="mnist-linf-0.3"),
    "at-0.35": Training(eps=0.35),
    "at-0.4": Training(eps=0.4),
    "at-0.4-seed1": Training(eps=0.4, seed=1),
    "at-0.4-seed2": Training(eps=0.4, seed=2),
    "eat-0.4": Training(eps=0.4, kind="extended", start="at-0.3", zoo="mnist-linf-0.4-extended"),
    "eat-0.4-standard": Training(eps=0.4, kind="extended", start="standard"),
    "eat-0.35": Training(eps=0.35, kind="extended", start="at-0.3"),
    # not from at-0.35: from random weights 0.35 is stuck, as the paper says of ε beyond about 0.35
    "eat-0.45": Training(eps=0.45, kind="extended", start="eat-0.35"),
    "eat-0.5": Training(eps=0.5, kind="extended", start="at-0.3", zoo="mnist-linf-0.5-masked"),
    "eat-0.5-fine": Training(eps=0.5, kind="extended", start="at-0.3", variant="fine"),
    "iat-0.4": Training(eps=0.4, kind="iterative"),
    "iat-0.5": Training(eps=0.5, kind="iterative"),
    "at-0.3-code": Training(eps=0.3, variant="code"),
    "eat-0.4-code": Training(eps=0.4, kind="extended", start="at-0.3-code", variant="code"),
    "iat-0.4-code": Training(eps=0.4, kind="iterative", variant="code"),
    "cifar-at-8": Training(eps=8 / 255, on="cifar"),
    "cifar-at-16": Training(eps=16 / 255, on="cifar"),
    "cifar-at-32": Training(eps=32 / 255, on="cifar"),
    "cifar-eat-16": Training(eps=16 / 255, kind="extended", start="cifar-at-8", on="cifar"),
    "cifar-eat-32": Training(eps=32 / 255, kind="extended", start="cifar-at-8", on="cifar"),
    "cifar-adaptive": Training(eps=32 / 255, kind="adaptive", on="cifar"),
    "cifar-at-8-code": Training(eps=8 / 255, on="cifar", variant="code"),
    "cifar-eat-16-code": Training(
        eps=16 / 255, kind="extended", start="cifar-at-8-code", on="cifar", variant="code"
    ),
    "cifar-eat-32-code": Training(
        eps=32 / 255, kind="extended", start="cifar-at-8-code", on="cifar", variant="code"
    ),
}
"""name → training."""
