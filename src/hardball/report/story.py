"""The story of one run or several, as sections of a page: from results alone."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from hardball.report import landscape_tables
from hardball.report.blocks import (
    Badge,
    Chart,
    Level,
    Line,
    Listing,
    Missing,
    Note,
    Picture,
    Section,
    Table,
    once,
)
from hardball.report.gallery import galleries
from hardball.report.pictures import BYTES, fitted
from hardball.report.results import RunResults
from hardball.report.verdicts import TONES, accuracy
from hardball.runs import COLLAPSED, FINISHED, NON_FINITE

Runs = Sequence[RunResults]

DRAWN = 300
"""Epochs drawn of a run, at most; of more, evenly many are left out."""


def sections(runs: Runs, examples_command: str) -> list[Section]:
    """Every part of the page, those that are missing included.

    Args:
        runs: at least one.
        examples_command: what makes the adversarial examples.
    """
    return [
        trained(runs),
        curves(runs),
        measured(runs),
        checked(runs),
        attacked(runs, examples_command),
        landscapes(runs),
        explained(runs),
        details(runs),
    ]


def trained(runs: Runs) -> Section:
    """What was trained, how, and how it ended."""
    rows: list[list[Any]] = [
        [what, *(_setting(run, what) for run in runs)]
        for what in ("data", "network", "start", "curriculum", "norm", "training attack")
    ]
    rows += [
        [what, *(_setting(run, what) for run in runs)]
        for what in ("objective", "optimizer", "batch size", "seed")
    ]
    rows.append(["ended", *(_ended(run) for run in runs)])
    rows.append(["epochs", *(str(len(run.history)) for run in runs)])
    table = Table(columns=["", *(run.name for run in runs)], rows=rows, words=True)
    notes = [
        Note(text=f"{run.name}: {run.outcome.message}.")
        for run in runs
        if run.outcome is not None and run.outcome.status != FINISHED
    ]
    return Section(
        title="What was trained, and how",
        blocks=[table, *notes],
        commands=[run.commands["train"] for run in runs if "train" in run.commands],
    )


def _setting(run: RunResults, what: str) -> str:
    config = run.config
    if what == "data":
        return str((config.get("data") or {}).get("name", "passed from Python"))
    if what == "network":
        spec = config.get("model") or {}
        return f"{spec.get('name') or 'passed from Python'}{_bracket(spec.get('args'))}"
    if what == "start":
        origin = config.get("origin")
        return f"the weights of {origin['path']}" if origin else "random weights"
    if what == "norm":
        return run.norm
    if what == "batch size":
        return str(config.get("batch_size", ""))
    if what == "seed":
        return str(config.get("seed", ""))
    group = config.get({"training attack": "attack"}.get(what, what)) or {}
    own = {name: value for name, value in group.items() if name != "name"}
    return f"{group.get('name', '')} {_words(own)}".strip()


def _words(values: Mapping[str, Any]) -> str:
    """Settings in a few words: those that are on."""
    return ", ".join(
        name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {_plain(value)}"
        for name, value in values.items()
        if value not in (None, False, 0) or name == "target"
    )


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _bracket(values: Mapping[str, Any] | None) -> str:
    return f" ({_words(values)})" if values else ""


def _ended(run: RunResults) -> Badge:
    if run.outcome is None:
        return Badge("not yet")
    status = run.outcome.status
    bad = status in (COLLAPSED, NON_FINITE)
    return Badge(status, "bad" if bad else "good" if status == FINISHED else "doubtful")


def curves(runs: Runs) -> Section:
    """Loss, ε and accuracy by epoch, and how loss and weights settle."""
    found = [run for run in runs if run.history]
    if not found:
        return Section(
            title="Training curves",
            blocks=[
                Missing(what=f"{run.name} has finished no epoch.", command=_resume(run)) for run in runs
            ],
        )
    levels = once(f"ln {r.classes}|{r.chance}" for r in found if r.chance is not None)
    constant = [
        Level(name=f"constant prediction, {name} = {float(at):.3f}", at=float(at))
        for name, at in (one.split("|") for one in levels)
    ]
    of_epoch: dict[str, Any] = {"x_label": "epoch", "whole": True}
    charts = [
        Chart(
            title="Training loss under attack",
            y_label="adversarial loss (nats)",
            lines=_lines(runs, "adv_loss"),
            levels=constant,
            **of_epoch,
        ),
        Chart(title="ε of the training attack", y_label="ε", lines=_lines(runs, "eps"), **of_epoch),
        Chart(
            title="Validation accuracy",
            y_label="accuracy: solid under attack, dotted without",
            lines=[
                *_lines(runs, "val_adv_accuracy", " under attack"),
                *_lines(runs, "val_accuracy", " clean", second=True),
            ],
            percent=True,
            y_format=".1%",
            **of_epoch,
        ),
        Chart(
            title="Change of the training loss",
            y_label="|change from the epoch before| (nats)",
            lines=_lines(runs, "loss_change", size=True),
            log=True,
            **of_epoch,
        ),
        Chart(
            title="Movement of the weights",
            y_label="ℓ2 distance from the epoch before",
            lines=_lines(runs, "weight_distance", size=True),
            log=True,
            **of_epoch,
        ),
    ]
    longest = max(len(run.history) for run in found)
    return Section(
        title="Training curves",
        text="All losses are cross entropies under the training attack. Training at the loss of a constant "
        "prediction has learned nothing. Point at a chart, or focus it and press the arrow keys, to read it."
        + f" Of {longest} epochs {DRAWN} are drawn." * (longest > DRAWN),
        blocks=[chart for chart in charts if any(line.x for line in chart.lines)],
        commands=[f"hardball landscape convergence {_paths(found)}"],
    )


def _lines(
    runs: Runs, column: str, more: str = "", *, second: bool = False, size: bool = False
) -> list[Line]:
    """A column of metrics.csv of every run that has it; `size` for its positive absolute values."""
    lines = []
    for number, run in enumerate(runs):
        epochs, values = run.column(column)
        points = [(e, abs(v) if size else v) for e, v in zip(epochs, values, strict=True)]
        points = [(e, v) for e, v in points if v > 0 or not size]
        step = (len(points) - 1) / (DRAWN - 1)
        if step > 1:
            points = [points[round(i * step)] for i in range(DRAWN)]
        if points:
            x, y = zip(*points, strict=True)
            lines.append(Line(name=f"{run.name}{more}", x=x, y=y, look=number, second=second))
    return lines


def measured(runs: Runs) -> Section:
    """Accuracy by ε, under attack and certified."""
    title = "Accuracy against ε"
    found = [(number, run, run.evaluation) for number, run in enumerate(runs) if run.evaluation]
    lacking = [
        Missing(
            what=f"The accuracy of {run.name} under attack has not been measured.",
            command=f"hardball evaluate {_quoted(run)} --protocol checklist",
        )
        for run in runs
        if run.evaluation is None
    ]
    if not found:
        return Section(title=title, blocks=lacking)
    blocks: list[Any] = []
    for norm in once(e["norm"] for _, _, e in found):
        chosen = [(n, r, e) for n, r, e in found if e["norm"] == norm]
        lines = [_under_attack(n, r, e) for n, r, e in chosen]
        lines += [line for n, r, e in chosen for line in _certified(n, r, e)]
        blocks.append(
            Chart(
                title=f"Accuracy under attack in {norm}, with 95% intervals",
                x_label=f"ε ({norm})",
                y_label="accuracy",
                lines=lines,
                percent=True,
                y_format=".1%",
            )
        )
    blocks.append(_accuracies([(run, e) for _, run, e in found]))
    for _, run, e in found:
        blocks += [Note(text=f"{run.name}: {one}", badge=Badge("warning", "doubtful")) for one in e["warnings"]]
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
            blocks.append(
                Missing(
                    what=f"{run.name} has not been checked for attacks that are blind to its gradients.",
                    command=f"hardball evaluate {_quoted(run)} --protocol checklist",
                )
            )
            continue
        word = str(run.verdict["word"])
        text = str(run.verdict["sentence"]).removeprefix(f"{word}: ")
        blocks.append(
            Note(text=f"{run.name}: {text}", badge=Badge(word, TONES.get(word, "doubtful")))
        )
        blocks.append(
            Table(
                columns=["", "check", "found", "allowed", "result", "remark"],
                rows=[_check(one) for one in found["checks"]],
                words=True,
                caption=f"{run.name} at ε={found['eps']:g}, budget {found['budget']}. Found: images that a "
                "check decides otherwise than the protocol's gradient attacks, of those looked at.",
            )
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
        one["name"],
        one["found"],
        one["limit"],
        Badge(one["status"], tones.get(one["status"], "plain")),
        f"{failed}{one['note'] or one['reason']}".strip("; "),
    ]


def attacked(runs: Runs, command: str) -> Section:
    """Adversarial examples with a slider over ε."""
    found = galleries(runs)
    lacking = [
        Missing(what=f"{run.name}: {run.without_examples}.", command=command)
        for run in runs
        if run.examples is None
    ]
    text = (
        "Test images under attack, the first of each class. At each ε the picture is a witness of the "
        "evaluation if there is one at that ε, else what the attack found there; where nothing breaks the "
        "image, the one of highest loss."
    )
    more = sum(gallery.left_out for gallery in found)
    return Section(
        title="Adversarial examples",
        text=(text + f" {more} further images were left out to keep the page small." * (more > 0))
        if found
        else "",
        blocks=[*found, *lacking],
        commands=[command] if found else [],
    )


def landscapes(runs: Runs) -> Section:
    """The loss around weights and around images."""
    blocks: list[Any] = []
    commands = []
    room = BYTES // max(1, sum(len(run.pictures) for run in runs))
    for run in runs:
        weights, inputs = run.landscapes.get("weights"), run.landscapes.get("inputs")
        if weights is not None:
            blocks += [_segments(run, weights), Table.of(landscape_tables.weights_table(weights))]
            picture = run.pictures.get("landscape-weights.png")
            if picture is not None and weights["plane"] is not None:
                alt = f"{run.name}: adversarial loss on the segment and on a plane through the end"
                blocks.append(Picture(content=fitted(picture, room), alt=alt))
            commands.append(weights["command"])
        if inputs is not None:
            picture = run.pictures.get("landscape-inputs.png")
            if picture is not None:
                alt = f"{run.name}: the loss on a plane around each image, as a surface and from above"
                blocks.append(Picture(content=fitted(picture, room), alt=alt))
            blocks.append(Table.of(landscape_tables.inputs_table(inputs)))
            commands.append(inputs["command"])
        lacking = [
            ("weights", weights, "on the way from random weights to its own", "weights random"),
            ("inputs", inputs, "around its test images", "inputs"),
        ]
        blocks += [
            Missing(
                what=f"The loss of {run.name} {what} has not been drawn.",
                command=f"hardball landscape {part} {_quoted(run)}",
            )
            for _, found, what, part in lacking
            if found is None
        ]
    return Section(title="Landscapes of the loss", blocks=blocks, commands=once(commands))


def _segments(run: RunResults, found: Mapping[str, Any]) -> Chart:
    start, end = found["start"]["name"], found["end"]["name"]
    return Chart(
        title=f"{run.name}: loss between two sets of weights",
        x_label=f"α, from {start} (0) to {end} (1)",
        y_label="adversarial loss (nats)",
        lines=[
            Line(name=f"ε = {one['eps']:.4g}", x=found["alpha"], y=one["loss"], look=number)
            for number, one in enumerate(found["segments"])
        ],
        y_format=".4f",
    )


def explained(runs: Runs) -> Section:
    """Saliency maps, and numbers for what they show."""
    blocks: list[Any] = []
    commands = []
    room = BYTES // max(1, sum(len(run.pictures) for run in runs))
    for run in runs:
        if run.explained is None:
            continue
        picture = run.pictures.get("explain.png")
        if picture is not None:
            alt = f"{run.name}: saliency and perturbations of test images, side by side"
            blocks.append(Picture(content=fitted(picture, room), alt=alt))
        rows = [
            [
                one["run"],
                one["quantity"],
                f"{one['eps']:.4g}",
                f"{one['mean']:.3f}",
                f"{one['low']:.3f} – {one['high']:.3f}",
                f"{one['n']:,}",
            ]
            for one in run.explained.get("numbers") or []
        ]
        columns = ["run", "quantity", "ε", "mean", "95% interval", "images"]
        blocks.append(Table(columns=columns, rows=rows))
        commands.append(run.explained["command"])
    if not blocks:
        what = "What the network looks at (the gradient of its loss) has not been drawn."
        blocks = [Missing(what=what, command=f"hardball explain {_paths(runs)}")]
    return Section(title="Saliency", blocks=blocks, commands=once(commands))


def details(runs: Runs) -> Section:
    """Settings, versions and cost."""
    rows: list[list[str]] = []
    for what, value in (
        ("training, sample-steps", lambda r: f"{r.outcome.sample_steps:,}" if r.outcome else ""),
        ("training, time", lambda r: duration(r.outcome.seconds) if r.outcome else ""),
        ("evaluation, sample-steps", lambda r: _evaluated(r, _steps)),
        ("evaluation, work", lambda r: _evaluated(r, lambda e: duration(e["seconds"]))),
        ("trained by hardball", lambda r: str(r.config.get("hardball", ""))),
        *(
            (f"evaluated: {name}", lambda r, name=name: _evaluated(r, lambda e: _fact(e, name)))
            for name in ("hardball", "torch", "python", "processor", "cores", "commit")
        ),
    ):
        rows.append([what, *(value(run) for run in runs)])
    settings = [
        Listing(
            title=f"{run.name}: config.yaml",
            text=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
        )
        for run in runs
    ]
    table = Table(columns=["", *(run.name for run in runs)], rows=rows, words=True)
    return Section(
        title="Settings, versions, cost",
        text="A sample-step is one image through one forward pass and input gradient of an attack.",
        blocks=[table, *settings],
    )


def _evaluated(run: RunResults, what: Any) -> str:
    return "" if run.evaluation is None else str(what(run.evaluation))


def _steps(e: Mapping[str, Any]) -> str:
    checks = (e.get("checklist") or {}).get("checks") or []
    return f"{sum(one['backwards'] for one in [*e['scores'], *checks]):,}"


def _fact(e: Mapping[str, Any], name: str) -> str:
    found = (e.get("machine") or {}).get(name)
    return "" if found is None else str(found)[:60]


def duration(seconds: float) -> str:
    """In the unit that fits."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _quoted(run: RunResults) -> str:
    return shlex.quote(str(run.path))


def _paths(runs: Runs) -> str:
    return " ".join(_quoted(run) for run in runs)


def _resume(run: RunResults) -> str:
    return f"hardball train --resume {_quoted(run)}"
