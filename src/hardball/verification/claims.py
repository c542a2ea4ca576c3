"""What evaluation.json says besides the accuracies: scores, warnings, requirements, checklist, verdict.

They are compared with the witnesses, with each other and with the rule of docs/checklist.md, which is
written down here once more: nothing of the evaluation is imported.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hardball.verification.arithmetic import chance_of_at_most, exceeds, is_accuracy

Record = Mapping[str, Any]

UNCHECKED = (
    "Not re-checked: what the checks measured, the claim (but for its bounds), the warnings of a "
    "stochastic model and of AutoAttack, costs, machine; and that attacks found no more than they say."
)

FEW, SOME, TENTH, NONE = 0.02, 0.05, 0.10, 0.0
"""Shares of images that a check may decide otherwise."""

CHECKS: dict[str, tuple[str, bool, float | None]] = {
    "FGSM not stronger": ("masking", True, FEW),
    "unbounded attack": ("masking", True, NONE),
    "random start": ("strength", True, FEW),
    "ten restarts": ("strength", True, FEW),
    "2000 steps": ("strength", True, FEW),
    "falls with ε": ("masking", True, FEW),
    "targeted, all classes": ("strength", True, FEW),
    "many small steps": ("strength", True, FEW),
    "raw gradient": ("strength", True, FEW),
    "ℓ2 steps": ("strength", True, FEW),
    "brute force": ("strength", True, FEW),
    "smallest distortion": ("strength", False, None),
    "ZOO": ("strength", True, FEW),
    "HopSkipJump": ("strength", True, FEW),
    "transfer": ("strength", False, FEW),
    "transfer from origin": ("strength", False, FEW),
    "zero gradients": ("masking", True, SOME),
    "false gradients": ("masking", True, SOME),
    "saturated outputs": ("masking", True, SOME),
    "stochastic outputs": ("masking", True, NONE),
    "loss rises": ("masking", True, SOME),
    "no way back": ("masking", True, FEW),
    "step size": ("masking", True, None),
    "planted example": ("masking", True, TENTH),
    "companions": ("masking", True, NONE),
    "gradient mode": ("masking", True, NONE),
    "fresh copy": ("masking", True, NONE),
    "unchanged": ("masking", True, NONE),
    "finds confirmed": ("masking", True, FEW),
    "claim holds": ("masking", True, None),
    "no black box wins": ("masking", True, None),
}
"""name → what a failure proves, whether a verdict needs it, and the share that may differ (None: the
limit is another one)."""

LATER = {"companions", "gradient mode", "fresh copy", "unchanged", "finds confirmed"}
"""Checks that evaluations of earlier versions of hardball did not have."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What the witnesses and the passes over the images say."""

    n: int
    broken: Counter[tuple[str, float]]
    """(attack, ε) → witnesses; "none" at 0 are those wrong without attack."""
    nan: int
    """Images with a logit that is not a number."""
    half: bool
    """The weights are of a half precision type."""
    labels: Sequence[int]
    classes: int

    def right(self, eps: float) -> int:
        """Images that no witness of ε or less is of."""
        return self.n - sum(count for (_, at), count in self.broken.items() if at <= eps)


class Wrong(Exception):
    """Something that is said does not hold; the message says what."""


# --- scores, requirements, warnings


def scores(record: Record, counts: Counts) -> str:
    """Each attack at each ε has its line, the lines follow from one another, and what they broke has its
    witnesses.

    An image that a check broke at a smaller ε is a witness there and no more at the ε of its score.

    Raises:
        Wrong: something does not fit.
    """
    radii = sorted(float(row["eps"]) for row in record["robust"])
    lines = [(row["attack"], float(row["eps"])) for row in record["scores"]]
    asked = Counter((name, eps) for name in record["attacks"] for eps in radii)
    if Counter(lines) != asked:
        raise Wrong(f"{len(lines)} lines for {len(record['attacks'])} attacks at {len(radii)} ε")
    left, lacking = counts.right(0.0), 0
    for row, line in zip(record["scores"], lines, strict=True):
        where = f"{line[0]} at ε={line[1]:g}"
        if row["attacked"] != left or not 0 <= row["broken"] <= left:
            raise Wrong(f"{where}: {row['attacked']} attacked, not {left}")
        left -= row["broken"]
        if not is_accuracy(row["after"], left, counts.n):
            raise Wrong(f"{where}: not {left} of {counts.n} left after it")
        there = counts.broken[line]
        if there > row["broken"]:
            raise Wrong(f"{where}: {there} witnesses, {row['broken']} broken")
        lacking += row["broken"] - there
    smaller = sum(
        count
        for (name, at), count in counts.broken.items()
        if 0 < at < radii[-1] and name not in record["attacks"]
    )
    if lacking > smaller:
        raise Wrong(f"{lacking} that attacks broke have no witness of theirs")
    return f"{len(lines)} lines, each with its witnesses"


def requirements(record: Record, counts: Counts) -> str:
    """What was required is said to be met where it is.

    Raises:
        Wrong: one is not.
    """
    for row in record["required"]:
        met = counts.right(float(row["eps"])) / counts.n >= row["accuracy"]
        if bool(row["met"]) != met:
            raise Wrong(
                f"{row['accuracy']:.1%} at ε={row['eps']:g} is {'met' if met else 'missed'}"
            )
    return f"{len(record['required'])}, as said"


def warnings(record: Record, counts: Counts) -> str:
    """The warnings that follow from images, labels, weights and logits are there, and no others of them.

    Raises:
        Wrong: one is missing, or has no ground.
    """
    right, n = counts.right(0.0), counts.n
    present = len(set(counts.labels))
    due = {
        "nothing to attack": right == 0,
        "labels like predictions": right == n >= 100,
        "absent classes": present < counts.classes
        and chance_of_at_most(present, n, counts.classes) <= 0.01,
        "NaN outputs": counts.nan > 0,
        "half precision": counts.half,
    }
    said = {name for name in due if any(line.startswith(name) for line in record["warnings"])}
    for name, there in due.items():
        if there != (name in said):
            raise Wrong(f"{name}: " + ("not mentioned" if there else "without ground"))
    return f"{len(record['warnings'])}, as due"


# --- checklist and verdict


def checks(record: Record, counts: Counts) -> str:
    """Every check is there, of its kind, and passes or fails as its count says.

    Raises:
        Wrong: one does not.
    """
    listed = record["checklist"]["checks"]
    named = [
        row for row in listed if row["number"] != "–"
    ]  # attacks of the protocol have no number
    seen = Counter(row["name"] for row in named)
    lacking = CHECKS.keys() - seen.keys()
    if lacking - LATER or seen.keys() - CHECKS.keys() or max(seen.values(), default=0) > 1:
        odd = sorted((lacking - LATER) | (seen.keys() - CHECKS.keys())) or ["one of them twice"]
        raise Wrong(f"not those of the checklist: {', '.join(odd)[:60]}")
    for row in named:
        kind, essential, share = CHECKS[row["name"]]
        if (row["kind"], row["essential"]) != (kind, essential):
            raise Wrong(f"{row['name']}: proves {kind}, not {row['kind']}")
        if share is not None and row["status"] in ("pass", "fail"):
            _counted_as_said(row, share)
    without = f"; without {', '.join(sorted(lacking))}" if lacking else ""
    if any(
        row["name"] == "finds confirmed" and row["measured"].get("images") != counts.n
        for row in named
    ):
        raise Wrong("finds confirmed: of other images")
    return f"{len(named)} of {len(CHECKS)}, judged as counted{without}"


def _counted_as_said(row: Record, share: float) -> None:
    told = row["measured"]
    images = told.get("images", told.get("points", told.get("places")))
    pairs = [(told["count"], images), (told.get("remaining_count", 0), told.get("remaining", 0))]
    failed = any(exceeds(int(count), int(n), share) for count, n in pairs)
    if failed != (row["status"] == "fail"):
        raise Wrong(f"{row['name']}: {int(told['count'])} of {int(images)} is no {row['status']}")


def verdict(record: Record, counts: Counts) -> str:
    """Strongest is the accuracy at that ε, the claim lies in its bounds, and the word follows by the rule.

    Raises:
        Wrong: something does not.
    """
    listed, said = record["checklist"], record["verdict"]
    eps = float(listed["eps"])
    if eps != max(float(row["eps"]) for row in record["robust"]):
        raise Wrong(f"at ε={eps:g}, which is not the largest measured")
    right, n = counts.right(eps), counts.n
    for where, one in (("checklist", listed["strongest"]), ("verdict", said["strongest"])):
        if not is_accuracy(one, right, n):
            raise Wrong(
                f"strongest of the {where} is {one['right']} of {one['n']}, not {right} of {n}"
            )
    if (said["strongest"], said["claimed"]) != (listed["strongest"], listed["claimed"]):
        raise Wrong("not the figures of the checklist")
    _claim_in_bounds(listed["claimed"], listed["strongest"], record, counts, eps)
    asked = [row["accuracy"] for row in record["required"] if float(row["eps"]) == eps]
    if said["required"] != max(asked, default=None):
        raise Wrong(f"required {said['required']}, not {max(asked, default=None)}")
    missed = bool(asked) and right / n < max(asked)
    claim = listed["claimed"] and listed["claimed"]["right"]
    word = _word(listed["checks"], right, n, claim, missed, bool(asked))
    if said["word"] != word or not said["sentence"].startswith(f"{word}: "):
        raise Wrong(f"{said['word']}, but the rule says {word}")
    if said["exit_code"] != int(word == "masked" or missed):
        raise Wrong(f"exit code {said['exit_code']}")
    _only_its_figures(said, listed["checks"])
    return f"{word}, by the rule"


def _claim_in_bounds(
    claimed: Record | None, strongest: Record, record: Record, counts: Counts, eps: float
) -> None:
    """No more than the claim's attack left, which has witnesses, and no less than all left."""
    known = {*record["attacks"], *(name for name, _ in counts.broken), "none"}
    if strongest["attack"] not in known:
        raise Wrong(f"the attack {strongest['attack']!r} is not among those that ran")
    if claimed is None:
        return
    if claimed["attack"] not in record["attacks"]:
        raise Wrong(f"the attack {claimed['attack']!r} is not among those that ran")
    most = counts.right(0.0) - counts.broken[claimed["attack"], eps]
    if not is_accuracy(claimed, claimed["right"], counts.n):
        raise Wrong("claimed is no accuracy")
    if not counts.right(eps) <= claimed["right"] <= most:
        raise Wrong(f"claimed {claimed['right']}, not from {counts.right(eps)} to {most}")


def _word(
    listed: Sequence[Record], right: int, n: int, claim: int | None, missed: bool, required: bool
) -> str:
    """By docs/checklist.md, "The verdict"."""
    failed = {row["kind"] for row in listed if row["status"] == "fail"}
    if "masking" in failed:
        return "masked"
    lost = 0 if claim is None else claim - right
    if missed or (not required and exceeds(lost, n, 0.01)) or "strength" in failed:
        return "weaker than claimed"
    absent = any(row["essential"] and row["status"] == "could not run" for row in listed)
    doubted = any(row["status"] == "pass" and row.get("doubt") for row in listed)
    return "undecided" if right and (absent or doubted) else "trustworthy"


def _only_its_figures(said: Record, listed: Sequence[Record]) -> None:
    """The sentence has no percentage but the verdict's own."""
    figures = [one for one in (said["strongest"], said["claimed"]) if one is not None]
    known = {one[name] for one in figures for name in ("accuracy", "low", "high")}
    known |= set() if said["required"] is None else {said["required"]}
    sentence = said["sentence"]
    for row in listed:
        for words in (row["reason"], row.get("doubt", ""), row["meaning"]):
            sentence = sentence.replace(words, "") if words else sentence
    odd = set(re.findall(r"\d[\d.,]*%", sentence)) - {f"{share:.1%}" for share in known}
    if odd:
        raise Wrong(f"the sentence says {', '.join(sorted(odd))}")
