"""The paper's figures: what each measures, on which trainings.

A recipe is a list of parts. A part says what is measured and nothing of how: `commands/reproduce`
makes it with the commands that a user would give.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

RANDOM = "random"
"""In place of a training: random weights."""


AUTOATTACK = ("apgd-ce", "apgd-t", "fab-t", "square")
"""Its standard version."""
SECTION_33 = ("pgd-25@0.05", "pgd-1000@0.01", "pgd-raw-2000@5e4")
"""The training attack at ε=0.5, then those of section 3.3: smaller steps, raw gradients."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The training adversarial loss of each epoch."""

    runs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """The adversarial loss between two sets of weights (`hardball landscape weights`)."""

    start: str
    end: str
    eps: float
    also_at: float | None = None
    """The segment at this ε too (that of the start: mode connectivity)."""
    attack: str = "pgd-20"
    long: bool = False
    """An attack of so many steps that the budget draws fewer points."""

    @property
    def runs(self) -> tuple[str, ...]:
        return tuple(name for name in (self.start, self.end) if name != RANDOM)


@dataclass(frozen=True, kw_only=True)
class Plane:
    """The loss around a test image (`hardball landscape inputs`)."""

    run: str
    eps: float
    index: int = 0
    attack: str = "pgd-100"

    @property
    def runs(self) -> tuple[str, ...]:
        return (self.run,)


@dataclass(frozen=True, kw_only=True)
class Settling:
    """Change of loss and weights from epoch to epoch (`hardball landscape convergence`)."""

    runs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Saliency:
    """Loss gradients and perturbations, side by side (`hardball explain`)."""

    runs: tuple[str, ...]
    eps: float
    at_eps: float


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Accuracy by ε and attack (`hardball evaluate`)."""

    runs: tuple[str, ...]
    eps: tuple[float, ...]
    attacks: tuple[str, ...]
    strong: tuple[str, ...] = ()
    """Further attacks, on fewer images."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The ℓ0 error of every threshold between two Bernoulli classes (`hardball theory bernoulli`)."""

    k: int
    t: float
    runs: tuple[str, ...] = ()


Part = Curves | Segment | Plane | Settling | Saliency | Accuracy | Surface


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One figure or table of the paper."""

    title: str
    claim: str
    """What the paper says it shows."""
    parts: dict[str, Part] = field(default_factory=dict)
    """What is measured, by a name that its file gets; "" for the only one."""

    def without(self, left_out: Collection[str]) -> "Recipe":
        """The same, without some networks: curves lose theirs, other parts that need one are dropped."""
        parts = {
            key: replace(part, runs=tuple(n for n in part.runs if n not in left_out))
            if isinstance(part, Curves)
            else part
            for key, part in self.parts.items()
            if isinstance(part, Curves) or not {*part.runs} & {*left_out}
        }
        return replace(self, parts=parts)

    @property
    def trainings(self) -> tuple[str, ...]:
        """Names of the networks it needs, each once."""
        return tuple(dict.fromkeys(name for part in self.parts.values() for name in part.runs))


RECIPES: dict[str, Recipe] = {
    "table1": Recipe(
        title="MNIST, accuracy under signed PGD with 200 steps of 0.005",
        claim="EAT 98 / 94 / 90, IAT 98 / 95 / 91, AT(0.3) 98 / 91 / 15 "
        "(clean, ε=0.3, ε=0.4, in percent)",
        parts={
            "": Accuracy(
                runs=("eat-0.4", "iat-0.4", "at-0.3"),
                eps=(0.3, 0.4),
                attacks=("paper-mnist",),
                strong=("pgd-200-x10", "pgd-margin-100-x5", *AUTOATTACK),
            )
        },
    ),
    "eps05": Recipe(
        title="ε=0.5: robust to its own attack, and masked",
        claim="EAT 0.3→0.5 has 80% under the training attack, 30% under 1000 steps of 0.01, 14–20% "
        "under raw gradients; EAT 0.4 does not drop",
        parts={
            "0.5": Accuracy(runs=("eat-0.5",), eps=(0.5,), attacks=SECTION_33),
            "0.4": Accuracy(runs=("eat-0.4",), eps=(0.4,), attacks=SECTION_33),
        },
    ),
    "fig1": Recipe(
        title="Training loss from random weights, by ε",
        claim="at a large ε the loss never leaves that of a constant prediction",
        parts={"": Curves(runs=("at-0.2", "at-0.3", "at-0.4"))},
    ),
    "fig2": Recipe(
        title="Training loss from weights of a smaller ε",
        claim="from AT(0.3) weights the loss at ε=0.4 falls at once",
        parts={"": Curves(runs=("eat-0.4",))},
    ),
    "fig3": Recipe(
        title="Adversarial loss from random weights to trained ones",
        claim="the loss on the way is less and less convex as ε grows",
        parts={
            "standard": Segment(start=RANDOM, end="standard", eps=0.0),
            "0.2": Segment(start=RANDOM, end="at-0.2", eps=0.2),
            "0.3": Segment(start=RANDOM, end="at-0.3", eps=0.3),
            "0.4": Segment(start=RANDOM, end="eat-0.4", eps=0.4),
        },
    ),
    "fig4": Recipe(
        title="Adversarial loss from AT(0.3) weights to extended ones",
        claim="near convex at the new ε, and low all the way at the initial one",
        parts={"": Segment(start="at-0.3", end="eat-0.4", eps=0.4, also_at=0.3)},
    ),
    "fig5": Recipe(
        title="Loss around a test image",
        claim="smooth for ε = 0.3 and 0.4; jumps for ε = 0.5, which is masked",
        parts={
            "0.3": Plane(run="at-0.3", eps=0.3),
            "0.4": Plane(run="eat-0.4", eps=0.4),
            "0.5": Plane(run="eat-0.5", eps=0.5),
        },
    ),
    "fig6": Recipe(
        title="Saliency at ε=0.3, perturbations at ε=0.45",
        claim="those of the extended network are easier to interpret",
        parts={"": Saliency(runs=("at-0.3", "eat-0.4"), eps=0.3, at_eps=0.45)},
    ),
    "fig7": Recipe(
        title="Training loss of the ramp from 0 to 0.5",
        claim="under 0.25 up to ε ≈ 0.4, then up to about 1.2: where to stop",
        parts={"": Curves(runs=("iat-0.5",))},
    ),
    "fig8": Recipe(
        title="Training loss from random and from AT(0.3) weights",
        claim="the warm start learns where training from random weights does not",
        parts={"": Curves(runs=("at-0.3", "at-0.4", "eat-0.4"))},
    ),
    "fig10": Recipe(
        title="Convergence: change of the loss, distance of the weights",
        claim="both become small within the 5 epochs of an extension",
        parts={"": Settling(runs=("eat-0.4", "at-0.3"))},
    ),
    "fig11": Recipe(
        title="Figure 4 under PGD with 200 steps of 0.005",
        claim="as Figure 4",
        parts={
            "": Segment(
                start="at-0.3",
                end="eat-0.4",
                eps=0.4,
                also_at=0.3,
                attack="pgd-200@0.005",
                long=True,
            )
        },
    ),
    "fig12": Recipe(
        title="ℓ0 error of every threshold between two Bernoulli classes",
        claim="k=50, t=0.3: the optimum grows with ε to the error of guessing",
        parts={"": Surface(k=50, t=0.3)},
    ),
    "fig13": Recipe(
        title="Saliency and perturbations of the masked network",
        claim="a raw-gradient attack on the ε=0.5 network finds what the signed one does not",
        parts={"": Saliency(runs=("eat-0.4", "eat-0.5"), eps=0.3, at_eps=0.5)},
    ),
}
"""name → recipe."""
