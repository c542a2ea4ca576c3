"""What a check measured, and how it is reported."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hardball.evaluation.checks.limits import FEW, Limit

Status = Literal["pass", "fail", "could not run", "not applicable"]
Kind = Literal["masking", "strength"]


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
    """What else to report, in words."""
    doubt: str = ""
    """For the verdict's sentence: of a failure, what it means, in place of the check's own words; of a
    check that passes, what still forbids to call the figure trustworthy."""
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
    """What else to report, in words."""
    doubt: str = ""
    """As in `Finding`."""
    reason: str = ""
    """Why it could not run or does not apply."""
    forwards: int = 0
    """Examples passed through models."""
    backwards: int = 0
    """Examples whose gradient was taken: sample-steps."""
    seconds: float = 0.0

    @property
    def words(self) -> str:
        """What a failure, or a doubt, says in the verdict's sentence."""
        return self.doubt or self.meaning

    @property
    def paper(self) -> int | None:
        """The number in the paper's Appendix C."""
        return int(self.number) if self.number.isdecimal() else None

    def as_json(self) -> dict[str, Any]:
        return {"paper": self.paper, **asdict(self)}
