"""What a check measured, and where "a few" ends and "too many" begins.

A check asks one question of n images: how many of them does another attack (or another look at the
model) decide otherwise? Both answers are known for each image, so the comparison is paired.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["pass", "fail", "could not run", "not applicable"]
Kind = Literal["masking", "strength"]

CONFIDENCE = 0.95
"""One-sided, of the bound that a count must have to be believed."""


def at_least(count: int, n: int) -> float:
    """The share that `count` of `n` images proves: the lower end of Clopper and Pearson's one-sided 95%
    interval. 0 of no images."""
    from scipy.stats import beta

    return float(beta.ppf(1 - CONFIDENCE, count, n - count + 1)) if count else 0.0


@dataclass(frozen=True)
class Limit:
    """A share of images that may differ.

    A count exceeds the limit when, with 95% confidence, the share in the population does: of few images
    more than the share itself may differ.
    """

    share: float
    """In [0, 1)."""

    def exceeded(self, count: int, n: int) -> bool:
        """`count` of `n` prove a share above the limit."""
        return at_least(count, n) > self.share

    def first(self, n: int) -> int:
        """The smallest count of `n` that exceeds the limit; n + 1 where none does."""
        return next((k for k in range(1, n + 1) if self.exceeded(k, n)), n + 1)

    def short(self, n: int) -> str:
        """For a table's column."""
        return f"<{self.first(n)}" if self.share else "0"

    def words(self, n: int) -> str:
        """For a sentence."""
        if not self.share:
            return "none"
        return (
            f"fewer than {self.first(n)} of {n} images: {self.share:.3g} of them and what sampling "
            "explains (95%, one-sided)"
        )


FEW = Limit(0.02)
"""Two points of accuracy: what an attack that is no stronger may find by luck."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found, in numbers and in a few words."""

    passed: bool
    measured: dict[str, float]
    found: str
    """For a table's column."""
    limit: str
    """For a table's column: what `found` is compared with."""
    threshold: str
    """The same for a sentence."""
    note: str = ""
    """What else should be told, in words."""
    forwards: int = 0
    backwards: int = 0


def counted(
    count: int,
    n: int,
    limit: Limit = FEW,
    *,
    forwards: int = 0,
    backwards: int = 0,
    beside: Mapping[str, float] | None = None,
) -> Finding:
    """A finding that is a count of `n` images; the numbers `beside` it are kept, not judged."""
    return Finding(
        passed=not limit.exceeded(count, n),
        measured={"count": count, "images": n, **(beside or {})},
        found=f"{count} of {n}",
        limit=limit.short(n),
        threshold=limit.words(n),
        forwards=forwards,
        backwards=backwards,
    )


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the checklist."""

    number: str
    """1 … 12: of the paper's Appendix C; 3.3: of its section 3.3; A … : hardball's own; –: an attack of the
    protocol that could not run."""
    name: str
    kind: Kind
    """What a failure proves: masking (the attacks are blind, the figure means nothing) or strength
    (the figure is too high)."""
    essential: bool
    """Without it there is no verdict."""
    meaning: str
    """What a failure means."""
    status: Status
    found: str = ""
    """What was measured, in a few words."""
    limit: str = ""
    """What it was compared with, in a few words."""
    threshold: str = ""
    """The same in a sentence."""
    measured: dict[str, float]
    note: str = ""
    """What else should be told, in words."""
    reason: str = ""
    """Why it could not run or does not apply."""
    forwards: int = 0
    """Examples passed through models."""
    backwards: int = 0
    """Examples whose gradient was taken: sample-steps."""
    seconds: float = 0.0

    @property
    def paper(self) -> int | None:
        """The number in the paper's Appendix C."""
        return int(self.number) if self.number.isdecimal() else None

    def as_json(self) -> dict[str, Any]:
        return {"paper": self.paper, **asdict(self)}
