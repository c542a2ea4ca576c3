"""From figures and checks to one sentence.

The rule, once:

* **masked**, if a check of the kind "masking" fails: the attacks are blind, or see so little that an
  image they did not break proves nothing. One of these checks counts the images that a black box breaks
  and no gradient attack does: too many are, with 95% confidence, more than 10 points of accuracy, or
  more than a quarter of the claim (`MASKED_POINTS`, `MASKED_SHARE`).
* **weaker than claimed**, if the strongest attacks leave less than is claimed: less than what
  was required; or, where nothing was required, more than one point (with 95% confidence,
  `CLAIM_LIMIT`) below the paper's measure, PGD with 200 steps and one start; or if a check of the
  kind "strength" fails, so that stronger attacks would take more still.
* **undecided**, if an essential check could not run, unless nothing is left that it could break; or if a
  check that passes leaves a doubt: a few of the images that are left have no gradient to climb.
* **trustworthy** otherwise.

The first that applies is the verdict: a failure that was seen is not undone by a check that could
not run.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hardball.evaluation.checks.limits import CLAIM_LIMIT
from hardball.evaluation.checks.result import Check
from hardball.evaluation.results import Accuracy

Word = Literal["trustworthy", "weaker than claimed", "masked", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """An accuracy and the attack that it was measured under."""

    accuracy: Accuracy
    attack: str

    def as_json(self) -> dict[str, Any]:
        return {"attack": self.attack, **self.accuracy.as_json()}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What can be concluded."""

    word: Word
    sentence: str
    exit_code: int
    """1 if masked, or if less was left than required; else 0."""
    threat: str
    claimed: Figure | None
    """Under the paper's measure; None where that could not run."""
    strongest: Figure
    """Under all attacks together, and the one that took most from the claim."""
    required: float | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "claimed": self.claimed and self.claimed.as_json(),
            "strongest": self.strongest.as_json(),
        }


def judge(
    claimed: Figure | None,
    strongest: Figure,
    checks: Sequence[Check],
    *,
    threat: str,
    required: float | None = None,
) -> Verdict:
    """The verdict by the rule above.

    Args:
        claimed: accuracy under the paper's measure; None if that attack could not run.
        strongest: accuracy on the same images under every attack together.
        checks: all that ran, and those that did not.
        threat: of the figures, in words.
        required: the accuracy that must be left, if any.
    """
    missed = required is not None and strongest.accuracy.value < required
    word, sentence = _sentence(claimed, strongest, checks, threat, required, missed)
    return Verdict(
        word=word,
        sentence=f"{word}: {sentence}.",
        exit_code=int(word == "masked" or missed),
        threat=threat,
        claimed=claimed,
        strongest=strongest,
        required=required,
    )


def _sentence(
    claimed: Figure | None,
    strongest: Figure,
    checks: Sequence[Check],
    threat: str,
    required: float | None,
    missed: bool,
) -> tuple[Word, str]:
    left, n = strongest.accuracy, strongest.accuracy.n
    failed = [check for check in checks if check.status == "fail"]
    masking = [check for check in failed if check.kind == "masking"]
    strength = [check for check in failed if check.kind == "strength"]
    absent = [check for check in checks if check.essential and check.status == "could not run"]
    doubts = [check for check in checks if check.status == "pass" and check.doubt]
    claim = f"the {claimed.accuracy.value:.1%} of {claimed.attack}" if claimed else "any figure"
    if masking:
        return "masked", (
            f"at {threat}, {_list(masking)}; {claim} is no measure of robustness, and {left} no more "
            "than an upper bound"
        )
    if required is not None:
        claim = f"the {required:.1%} required"
    lost = claimed.accuracy.right - left.right if claimed else 0
    if missed or (required is None and CLAIM_LIMIT.exceeded(lost, n)):
        more = f"; besides, {_list([*strength, *doubts])}" if strength or doubts else ""
        return (
            "weaker than claimed",
            f"{left} at {threat} under all attacks, {strongest.attack} first, not {claim}{more}",
        )
    if strength:
        return "weaker than claimed", f"{left} at {threat}, but {_list([*strength, *doubts])}"
    if absent and left.right:
        names = ", ".join(check.name for check in absent)
        return "undecided", (
            f"{names} could not run ({absent[0].reason}); what did run leaves {left} at {threat}"
        )
    if doubts and left.right:
        return "undecided", f"{_list(doubts)}; all attacks leave {left} at {threat}"
    end = f"; {claimed.attack} alone leaves {claimed.accuracy.value:.1%}" if claimed else ""
    if required is not None:
        end = f"; {required:.1%} is required"
    return "trustworthy", f"{left} of {n:,} images withstand every attack at {threat}{end}"


def _list(checks: Sequence[Check]) -> str:
    return " and ".join(check.words for check in checks)
