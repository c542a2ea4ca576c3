"""Accuracy under attack and certified, and whether it can be believed."""

from collections.abc import Mapping, Sequence
from typing import Any

from hardball.report.blocks import Badge, Chart, Line, Missing, Note, Remarked, Section, Table, once
from hardball.report.results import RunResults
from hardball.report.story.naming import Runs, listed, quoted
from hardball.report.style import NORMS
from hardball.report.verdicts import TONES, accuracy


def measured(runs: Runs) -> Section:
    """Accuracy by ε, under attack and certified."""
    title = "Accuracy against ε"
    found = [(number, run, run.evaluation) for number, run in enumerate(runs) if run.evaluation]
    lacking = _lacking(
        [run for run in runs if run.evaluation is None],
        "The accuracy of {} under attack has not been measured.",
    )
    if not found:
        return Section(title=title, blocks=lacking)
    blocks: list[Any] = []
    for norm in once(e["norm"] for _, _, e in found):
        chosen = [(n, r, e) for n, r, e in found if e["norm"] == norm]
        lines = [_under_attack(n, r, e) for n, r, e in chosen]
        lines += [line for n, r, e in chosen for line in _certified(n, r, e)]
        blocks.append(
            Chart(
                title=f"Accuracy under attack in {NORMS[norm]}, with 95% intervals",
                x_label=f"ε ({NORMS[norm]}, pixel units)",
                y_label="accuracy",
                lines=lines,
                percent=True,
                y_format=".1%",
            )
        )
    blocks.append(_accuracies([(run, e) for _, run, e in found]))
    for _, run, e in found:
        blocks += [
            Note(text=f"{run.name}: {one}", badge=Badge("warning", "doubtful"))
            for one in e["warnings"]
        ]
    blocks += [_by_attack(run, e) for _, run, e in found]
    what = "; ".join(
        once(
            f"{e['n']:,} {e.get('split', 'test')} images of {e['data']}: "
            + ", ".join(run.name for _, run, other in found if _of_same(e, other))
            for _, _, e in found
        )
    )
    return Section(
        title=title,
        text=f"{what}. The accuracy is that under the pointwise worst of all attacks run, with 95% Wilson "
        "intervals: an upper bound on the true one. A certified accuracy is a lower bound.",
        blocks=[*blocks, *lacking],
        commands=[run.commands["evaluate"] for run in runs if "evaluate" in run.commands],
    )


def _lacking(runs: Runs, what: str) -> list[Missing]:
    """One block for all runs that were not measured or not checked."""
    commands = [f"hardball evaluate {quoted(run)} --protocol checklist" for run in runs]
    return [Missing(what=what.format(listed(runs)), commands=commands)] if runs else []


def _of_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(name) == other.get(name) for name in ("data", "split", "n"))


def _under_attack(number: int, run: RunResults, e: Mapping[str, Any]) -> Line:
    rows = [{"eps": 0.0, **e["clean"]}, *e["robust"]]
    return _accuracy_line(run.name, rows, number)


def _certified(number: int, run: RunResults, e: Mapping[str, Any]) -> list[Line]:
    rows = e.get("certified") or []
    return [
        _accuracy_line(
            f"{run.name}, certified by {name}",
            [row for row in rows if row["certificate"] == name],
            number,
            second=True,
        )
        for name in once(row["certificate"] for row in rows)
    ]


def _accuracy_line(
    name: str, rows: Sequence[Mapping[str, Any]], look: int, *, second: bool = False
) -> Line:
    columns = {key: [row[key] for row in rows] for key in ("accuracy", "low", "high")}
    return Line(
        name=name,
        x=[row["eps"] for row in rows],
        y=columns["accuracy"],
        low=columns["low"],
        high=columns["high"],
        look=look,
        second=second,
    )


def _accuracies(found: Sequence[tuple[RunResults, Mapping[str, Any]]]) -> Table:
    """A row for each run and ε."""
    certified = any(e.get("certified") for _, e in found)
    rows: list[list[Any]] = []
    for run, e in found:
        for number, row in enumerate([{"eps": 0, **e["clean"]}, *e["robust"]]):
            proved = [c for c in e.get("certified") or [] if c["eps"] == row["eps"]]
            rows.append(
                [
                    run.name if number == 0 else "",
                    f"{row['eps']:.4g}",
                    f"{row['accuracy']:.1%}",
                    f"{row['low']:.1%} – {row['high']:.1%}",
                    f"{row['right']:,} of {row['n']:,}",
                ]
            )
            if certified:
                rows[-1].append(", ".join(f"{accuracy(c)} ({c['certificate']})" for c in proved))
    columns = ["run", "ε", "accuracy", "95% interval", "right", *["certified"] * certified]
    return Table(columns=columns, rows=rows)


def _by_attack(run: RunResults, e: Mapping[str, Any]) -> Table:
    return Table(
        columns=["attack", "ε", "attacked", "broken", "accuracy left", "sample-steps", "seconds"],
        rows=[
            [
                score["attack"],
                f"{score['eps']:.4g}",
                f"{score['attacked']:,}",
                f"{score['broken']:,}",
                accuracy(score["after"]),
                f"{score['backwards']:,}",
                f"{score['seconds']:,.1f}",
            ]
            for score in e["scores"]
        ],
        folded=f"{run.name}: attack by attack",
        caption="Each attack sees only the images that those before it have not broken.",
    )


def checked(runs: Runs) -> Section:
    """The checklist of every run that has one."""
    blocks: list[Any] = []
    for run in runs:
        found = None if run.evaluation is None else run.evaluation.get("checklist")
        if found is None or run.verdict is None:
            continue
        word = str(run.verdict["word"])
        text = str(run.verdict["sentence"]).removeprefix(f"{word}: ")
        blocks.append(
            Note(text=f"{run.name}: {text}", badge=Badge(word, TONES.get(word, "doubtful")))
        )
        blocks.append(
            Table(
                columns=["", "check", "result", "found", "allowed"],
                rows=[_check(one) for one in found["checks"]],
                words=True,
                caption=f"{run.name} at ε={found['eps']:g}, budget {found['budget']}. Found: images that a "
                "check decides otherwise than the protocol's gradient attacks, of those looked at.",
            )
        )
    blocks += _lacking(
        [run for run in runs if run.verdict is None],
        "Whether attacks on {} are blind (gradient masking) has not been checked.",
    )
    return Section(
        title="Can the figure be believed?",
        blocks=blocks,
        commands=[
            run.commands["evaluate"] for run in runs if run.verdict and "evaluate" in run.commands
        ],
    )


def _check(one: Mapping[str, Any]) -> list[Any]:
    tones: dict[str, Any] = {"pass": "good", "fail": "bad", "could not run": "doubtful"}
    failed = f"{one['meaning']}; " if one["status"] == "fail" else ""
    return [
        one["number"],
        Remarked(one["name"], f"{failed}{one['note'] or one['reason']}".strip("; ")),
        Badge(one["status"], tones.get(one["status"], "plain")),
        one["found"],
        one["limit"],
    ]
