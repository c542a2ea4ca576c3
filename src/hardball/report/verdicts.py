"""What a page says first: of each run a word and a sentence, and one sentence of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hardball.errors import as_flags
from hardball.report.blocks import Badge, Tone
from hardball.report.results import RunResults
from hardball.runs import noise_of

TONES: Mapping[str, Tone] = {
    "trustworthy": "good",
    "weaker than claimed": "doubtful",
    "undecided": "doubtful",
    "masked": "bad",
}
"""Of the checklist's words."""


@dataclass(frozen=True)
class Said:
    """A word and a sentence."""

    badge: Badge
    sentence: str


def of_run(run: RunResults) -> Said:
    """How it ended if it failed; else the checklist's verdict; else what was measured; else what is
    missing."""
    if run.failed:
        assert run.outcome is not None
        return Said(Badge(run.outcome.status, "bad"), _sentence(as_flags(run.outcome.message)))
    if run.evaluation is None:
        return Said(Badge("not measured", "plain"), _unmeasured(run))
    if run.verdict is not None:
        word = str(run.verdict["word"])
        text = str(run.verdict["sentence"]).removeprefix(f"{word}: ")
        return Said(Badge(word, TONES.get(word, "doubtful")), text + _bracket(run.evaluation))
    last = run.evaluation["robust"][-1]
    attacks = ", ".join(run.evaluation["attacks"])
    return Said(
        Badge("unchecked", "plain"),
        f"{accuracy(last)} of {last['n']:,} images are left at ε={last['eps']:g} under {attacks}; "
        "whether these attacks are blind was not checked." + _bracket(run.evaluation),
    )


def _bracket(found: Mapping[str, Any]) -> str:
    """Certified ≤ true ≤ attacked at the largest ε at which something was to be proved; else nothing."""
    rows = found.get("certified") or []
    if not rows:
        return ""
    eps = max(row["eps"] for row in rows)
    most = max((row for row in rows if row["eps"] == eps), key=lambda row: row["right"])
    left = next(row for row in found["robust"] if row["eps"] == eps)
    return (
        f" The true accuracy at ε={eps:g} lies between {most['accuracy']:.1%}, which is proved "
        f"({most['certificate']}), and the {left['accuracy']:.1%} that attacks left."
    )


def of_each(runs: Sequence[RunResults]) -> list[tuple[str, Badge, str]]:
    """Name, word and sentence of each, where there are several."""
    found = [(run.name, of_run(run)) for run in runs] if len(runs) > 1 else []
    return [(name, said.badge, said.sentence) for name, said in found]


def of_all(runs: Sequence[RunResults]) -> Said:
    """The sentence on top of the page."""
    if len(runs) == 1:
        return of_run(runs[0])
    failed = [run for run in runs if run.failed]
    broken = ", ".join(f"{run.name} ({run.outcome.status})" for run in failed if run.outcome)
    start = f"{len(failed)} of {len(runs)} runs failed, {broken}; " if failed else ""
    best = _best(runs)
    if best is None:
        return Said(
            Badge("failed", "bad") if failed else Badge("not compared", "plain"),
            _sentence(f"{start}there is no ε at which the runs were measured on the same images"),
        )
    eps, run, row = best
    said = of_run(run)
    return Said(
        Badge("failed", "bad") if len(failed) == len(runs) else said.badge,
        _sentence(
            f"{start}at ε={eps:g} {run.name} keeps most: {accuracy(row)} of {row['n']:,} images"
            + (f" (verdict: {said.badge.text})" if run.verdict else ", not checked for masking")
        ),
    )


def _best(runs: Sequence[RunResults]) -> tuple[float, RunResults, Mapping[str, Any]] | None:
    """The largest ε at which all measured runs were measured on the same images, and who keeps most."""
    measured = [(run, run.evaluation) for run in runs if run.evaluation is not None]
    if len(measured) < 2 or len({(e["data_sha256"], e["norm"]) for _, e in measured}) > 1:
        return None
    at = [{row["eps"]: row for row in e["robust"]} for _, e in measured]
    common = set.intersection(*map(set, at))
    if not common:
        return None
    eps = max(common)
    place = max(range(len(at)), key=lambda i: at[i][eps]["accuracy"])
    return eps, measured[place][0], at[place][eps]


def _unmeasured(run: RunResults) -> str:
    trained = "no ε" if run.target is None else f"ε={run.target:g}"
    noise = noise_of(run.config)
    trained = trained if noise is None else f"noise of σ={noise:g}"
    epochs = f"{len(run.history)} epochs" if len(run.history) != 1 else "1 epoch"
    state = "still unfinished after" if run.unfinished else "trained for"
    said = f"{state} {epochs}, for {trained}; its accuracy under attack has not been measured"
    if run.outcome is not None and run.outcome.masked:
        said += ", and the probe at the end of its training found it masked"
    return f"{said}."


def accuracy(row: Mapping[str, Any]) -> str:
    """With its 95% interval."""
    return f"{row['accuracy']:.1%} [{row['low']:.1%}, {row['high']:.1%}]"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
