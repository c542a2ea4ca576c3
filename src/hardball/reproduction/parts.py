"""What a recipe measures, and nothing of how: `commands/reproduce` makes each part with the command that
a user would give."""

from dataclasses import dataclass

RANDOM = "random"
"""In place of a training: random weights."""


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
    reach: float | None = None
    """How far it goes to each side; ε/2 by default."""

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
    norm: str = "linf"


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The ℓ0 error of every threshold between two Bernoulli classes (`hardball theory bernoulli`)."""

    k: int
    t: float
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Checks:
    """The checklist (`hardball evaluate --protocol checklist`)."""

    run: str
    eps: float

    @property
    def runs(self) -> tuple[str, ...]:
        return (self.run,)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Many trainings from random weights (`hardball sweep`): the budget's grid."""

    runs: tuple[str, ...] = ()


Part = Curves | Segment | Plane | Settling | Saliency | Accuracy | Surface | Checks | Sweep
