"""What `verify` has looked at, and whether it holds."""

from dataclasses import asdict, dataclass
from typing import Any

from hardball import extras
from hardball.verification.arithmetic import Flags


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at."""

    what: str
    found: str
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify` found."""

    findings: list[Finding]
    sentence: str
    remarks: tuple[str, ...] = ()
    """What the findings do not show, in sentences: what nobody has re-checked, and how sure it is."""

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)

    def to_frame(self) -> Any:
        """The findings as a pandas.DataFrame, a row for each: what, found, holds.

        Raises:
            MissingExtra: pandas is not installed.
        """
        rows = [asdict(finding) for finding in self.findings]
        return extras.frame(rows, ("what", "found", "holds"))

    def as_json(self) -> dict[str, Any]:
        """All of it, in plain values."""
        return {"holds": self.holds, **asdict(self)}


class Refuted(Exception):
    """Something does not hold that everything after it needs."""


class Notes:
    """The findings, as they come."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.remarks: list[str] = []

    def note(self, what: str, found: str, holds: bool) -> None:
        self.findings.append(Finding(what=what, found=found, holds=holds))

    def need(self, what: str, found: str, holds: bool) -> None:
        """Note it; without it there is no going on."""
        self.note(what, found, holds)
        if not holds:
            raise Refuted

    def count(self, what: str, flags: Flags) -> None:
        """All of the flags should be set."""
        self.note(what, f"{int(flags.sum())} of {len(flags)}", bool(flags.all()))
