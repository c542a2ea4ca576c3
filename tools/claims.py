"""Writes what the results say into the pages: every table of measurements in README.md and docs/.

python tools/claims.py                   names of the parts, and the pages that have them
python tools/claims.py --write           all parts
python tools/claims.py --write demo      one
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from marked import commands, filled

from hardball import zoo
from hardball.commands.cost import most_sample_steps
from hardball.commands.sweep.grid import Grid
from hardball.commands.sweep.trial import Trial
from hardball.commands.train import TrainConfig
from hardball.report.blocks import Table
from hardball.report.demo import numbers
from hardball.report.reproduction_text import claims, trainings
from hardball.report.smoothing_tables import study_table
from hardball.reproduction import BUDGETS, RECIPES, Recipe, plan
from hardball.reproduction.parts import Sweep

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "benchmarks"))

import tables  # noqa: E402 - found by the line before

RESULTS = ROOT / "results" / "figures"


def read(path: str) -> Any:
    """A result, by its path in the repository."""
    return json.loads((ROOT / path).read_text())


def results() -> list[dict[str, Any]]:
    """Contents of results/figures/NAME.json, tables first, then figures by number. Those on small data
    have no word on the paper's claims."""
    found = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    for answer in (a for one in found if one["budget"] == "quick" for a in one["answers"]):
        answer["holds"] = None
    return sorted(found, key=lambda one: _place(one["name"]))


def _place(name: str) -> tuple[bool, int, str]:
    number = re.search(r"\d+", name)
    return name.startswith("fig"), int(number[0]) if number else 0, name


def reproduction() -> str:
    """The paper's claims, the trainings behind them, the pictures, by budget: the largest first."""
    found = results()
    groups = {name: [one for one in found if one["budget"] == name] for name in BUDGETS}
    return "".join(_of_budget(name, groups[name]) for name in reversed(BUDGETS) if groups[name])


LENGTHS = {"full": "in full", "short": "shortened", "quick": "small data", None: "not run"}
"""budget of a result → how far it is from the paper's training."""
IMAGES = {"mnist": 59_000, "cifar": 49_000}
"""Trained on, without those held out."""


def overview() -> str:
    """Every table and figure: how far it was run, how many of its claims show, what it costs in full."""
    known = {one["name"]: one for one in results()}
    rows = []
    for name, recipe in RECIPES.items():
        found = known.get(name, {"budget": None, "answers": []})
        rows.append(
            [
                f"`{name}`",
                recipe.title,
                LENGTHS[found["budget"]],
                _count(found["answers"]),
                _cost(name, recipe),
            ]
        )
    head = ["", "what", "run", "claims that show", "sample-steps in full"]
    return tables.table(head, rows) + "\n"


def _count(told: list[dict[str, Any]]) -> str:
    asked = [one["holds"] for one in told if one["holds"] is not None]
    return f"{sum(asked)} of {len(asked)}" if asked else "–"


def _cost(name: str, recipe: Recipe) -> str:
    """Sample-steps of its trainings, those that it starts from among them."""
    full = BUDGETS["full"]
    steps = sum(
        most_sample_steps(TrainConfig.of(one.values(full)), IMAGES[one.on])
        for one in plan([name]).trainings.values()
    )
    if any(isinstance(part, Sweep) for part in recipe.parts.values()):
        grid = Grid.of(full.tried)
        trials = [Trial.of(grid.base, own, trusted=False) for own in grid.own_settings()]
        steps += sum(most_sample_steps(one.config(Path()), IMAGES["mnist"]) for one in trials)
        return f"{len(trials)} trials, at most {steps / 1e6:,.0f} M"
    return f"{steps / 1e6:,.0f} M" if steps else "–"


def _of_budget(name: str, found: list[dict[str, Any]]) -> str:
    cuts = sorted({one["cut"] for one in found if one["cut"]})
    said = f"{BUDGETS[name].about}.\n\n" if name == "quick" else ""
    said += "".join(f"Cut: {cut}.\n\n" for cut in cuts)
    pictures = "".join(
        f"![{one['title']}](../results/figures/{one['name']}.png)\n\n" for one in found
    )
    return f"### `--budget {name}`\n\n{said}{claims(found)}\n{trainings(found)}\n{pictures}"


def demo() -> str:
    """What `hardball demo` prints, for its five seeds."""
    (shown,) = numbers(read("results/demo.json")).blocks
    assert isinstance(shown, Table)
    rows = [[str(cell) for cell in row] for row in shown.rows]
    return tables.table(map(str, shown.columns), rows) + "\n"


def verdicts() -> str:
    """What PGD claims of four networks, what the checklist leaves of it, and its word."""
    found = read("results/checklist_mnist.json")
    rows = [
        [
            row["what"],
            f"{row['eps']:g}",
            f"{row['clean']:.1%}",
            f"{row['pgd']:.1%}",
            f"**{row['strongest']:.1%}** ({_interval(row['intervals']['strongest'])})",
            row["verdict"],
        ]
        for row in found.values()
        if "verdict" in row
    ]
    head = ["training", "ε", "clean", "PGD-200", "AutoAttack and all checks (95%)", "verdict"]
    return tables.table(head, rows) + "\n"


def _interval(ends: list[float]) -> str:
    return f"{100 * ends[0]:.1f}–{100 * ends[1]:.1f}"


def fast() -> str:
    """Accuracy for its cost: `mnist-fast` and the paper's training."""
    found = read("results/time_to_accuracy.json")
    seeds = len(found["curves"]["mnist-fast"]["runs"])
    longer = found["others"]["fast-20-steps"]
    epochs = found["curves"]["mnist-paper"]["runs"][0]["epochs"]
    named = {
        f"`mnist-fast`, mean of {seeds} seeds": found,
        "the same with `--finish-steps 20`": longer,
        f"`mnist-paper`, {epochs} epochs": found["others"]["mnist-paper"],
    }
    measured = list(found["accuracy_mean"])
    rows = [
        [
            name,
            f"{row['sample_steps'] / 1e6:.1f} M",
            f"{row['minutes']:.0f}",
            *(f"{row['accuracy_mean'][measure]:.1%}" for measure in measured),
        ]
        for name, row in named.items()
    ]
    head = [measure.replace(" ", ", ε=") for measure in measured]
    return tables.table(["training, 0→0.4", "sample-steps", "minutes", *head], rows) + "\n"


def smoothing() -> str:
    """The study of smoothing at large σ, once it has been made."""
    path = "results/smoothing.json"
    return study_table(read(path)) if (ROOT / path).exists() else ""


def _benchmark(name: str) -> Callable[[], str]:
    return lambda: tables.TABLES[name](read(f"benchmarks/results/{name}.json")) + "\n"


def front() -> str:
    """What attacks leave of networks behind a rounding front."""
    rows = []
    for name, found in read("results/front.json")["networks"].items():
        exact, everything = found["exact"]["after"], found["all"]["after"]
        last, few = list(exact.values())[-1], list(everything.values())[-1]
        rows.append(
            [
                name,
                str(found["exact"]["n"]),
                f"{found['exact']['clean']['accuracy']:.1%}",
                f"{exact['front-pgd-200']['accuracy']:.1%}",
                _with_interval(last),
                f"{everything['apgd-ce']['accuracy']:.1%}",
                f"{_with_interval(few)}, n={few['n']}",
            ]
        )
    head = ["network, images", "n", "clean", "PGD behind the front", "and `front-square` (95%)"]
    head += ["APGD-CE in image space alone", "all, AutoAttack and Square (95%)"]
    return tables.table(head, rows) + "\n"


def front_variants() -> str:
    """What changes of the images and of the front do to training behind one, in two epochs."""
    rows = [
        [
            f"`{found['augment']}`",
            _front_in_words(found),
            *(f"{found[key][-1]:.1%}" for key in ("training", "adversarial", "clean")),
        ]
        for found in read("results/front.json")["variants"].values()
    ]
    head = ["`--augment`", "front", "training images, under the attack of training"]
    head += ["held-out images, PGD-20", "held-out images, clean"]
    return tables.table(head, rows) + "\n"


def _front_in_words(found: dict[str, Any]) -> str:
    args = found["front_args"]
    if found["front"] == "clip":
        return f"clip, {args['low']:g} to {args['high']:g}"
    return "rounding at " + ", ".join(f"{threshold:g}" for threshold in args["threshold"])


def table1() -> str:
    """The paper's Table 1 beside ours: without attack, at ε=0.3 and at 0.4."""
    found = read("results/figures/table1.json")
    rows = []
    for answer in found["answers"]:
        name, numbers = answer["claim"].split(":")[0], answer["numbers"]
        pairs = zip(numbers["ours"], numbers["paper"], strict=True)
        rows.append(
            [
                name,
                str(found["trainings"][name]["epochs"]),
                ", ".join(f"{100 * ours:.1f} ({100 * paper:.0f})" for ours, paper in pairs),
                ", ".join(f"{share:.1%}" for share in numbers["under_autoattack_and_more"]),
            ]
        )
    head = ["network", "epochs", "paper's PGD-200, in percent (the paper's figures)"]
    return tables.table([*head, "all attacks, ε=0.3 and 0.4"], rows) + "\n"


def _of_adaptive(part: str) -> dict[str, Any]:
    """name → one of the trainings on these data."""
    found = read("results/adaptive.json")[part]
    return {name: one for name, one in found.items() if name != "attacks"}


def adaptive() -> str:
    """How often the adaptive curriculum and the fixed ramp learn, seed by seed."""
    rows = [
        [
            name,
            f"{found['learned']} of {found['of']}",
            *(f"{found[f'accuracy_{which}']:.1%}" for which in ("least", "mean", "largest")),
            *(f"{found[f'sample_steps_{which}'] / 1e6:.2f} M" for which in ("mean", "largest")),
        ]
        for name, found in _of_adaptive("digits_bw").items()
    ]
    head = ["training", "seeds that learned", "least accurate", "mean", "most accurate"]
    return tables.table([*head, "sample-steps, mean", "largest"], rows) + "\n"


def adaptive_mnist() -> str:
    """What the adaptive curriculum reaches on MNIST, and the preset beside it."""
    rows = [
        [
            name,
            ", ".join(f"{run['eps']:g}" for run in found["runs"]),
            f"{found['sample_steps_mean'] / 1e6:.2f} M",
            f"{fmean(run['clean'] for run in found['runs']):.1%}",
            f"{found['accuracy_mean']:.1%}",
            ", ".join(f"{run['accuracy']['0.4']:.1%}" for run in found["runs"]),
        ]
        for name, found in _of_adaptive("mnist").items()
    ]
    head = ["training", "ends at ε, by seed", "sample-steps, mean", "clean, mean"]
    return tables.table([*head, "AutoAttack at 0.4, mean", "by seed"], rows) + "\n"


def adaptive_cifar() -> str:
    """Direct, extended, linear and adaptive training at equal cost."""
    rows = [
        [
            name,
            f"{255 * run['eps']:.3g}/255",
            f"{run['sample_steps'] / 1e6:.2f} M",
            f"{run['clean']:.1%}",
            *(f"{value:.1%}" for value in run["accuracy"].values()),
        ]
        for name, found in _of_adaptive("cifar").items()
        for run in found["runs"]
    ]
    head = ["training", "ends at ε", "sample-steps", "clean", *(f"{e}/255" for e in (8, 16, 32))]
    return tables.table(head, rows) + "\n"


def _frontier(eps: float) -> str:
    """At this ε, each training's cost, and what is left of it."""
    rows = [
        [
            row["name"].removesuffix(f", ε={eps:g}"),
            f"{row['minutes']:.0f}" + (f" on {row['cores']} cores" if row["cores"] > 1 else ""),
            f"{row['sample_steps'] / 1e6:.1f} M" if row["sample_steps"] else "–",
            f"{row['clean']:.1%}",
            *(f"{row[key]:.1%}" + _of_fewer(row) for key in ("pgd", "autoattack")),
            _over_seeds(row, "strongest") + f", n={row['n']}",
            "–" if row["certified"] is None else _over_seeds(row, "certified"),
        ]
        for row in read("results/frontier.json")["rows"]
        if row["eps"] == eps
    ]
    head = ["training", "minutes, one core", "sample-steps", "clean", "PGD-200×10"]
    return tables.table([*head, "AutoAttack", "all attacks", "certified"], rows) + "\n"


def front_and_fast() -> str:
    """One sentence: the network behind a front beside the one without."""
    rows = {row["name"]: row for row in read("results/frontier.json")["rows"]}
    front, fast = (
        f"{_over_seeds(rows[name], 'strongest')}, n={rows[name]['n']:,}"
        for name in ("mnist-front", "mnist-fast")
    )
    return (
        "Behind a [front](docs/fronts.md) that clips, with the exact attack behind it, `--preset "
        f"mnist-front` has {front}, at ε=0.4 after {rows['mnist-front']['minutes']:.0f} minutes of one "
        f"core; `mnist-fast`, without a front, has {fast} (test images drawn at random).\n"
    )


def _over_seeds(row: dict[str, Any], key: str) -> str:
    """One seed with its interval, or the mean of several, with each."""
    first, *others = row["by_seed"]
    if not others:
        return _with_interval(first["details"][key])
    return f"**{row[key]:.1%}** ({', '.join(f'{one[key]:.1%}' for one in row['by_seed'])})"


def _of_fewer(row: dict[str, Any]) -> str:
    return "" if row["n_image_space"] == row["n"] else f", n={row['n_image_space']}"


def warm_bounds() -> str:
    """Training with bounds from random weights, up a ramp, and from warm starts."""
    rows = [
        [
            f"{row['eps']:g}",
            row["way"],
            f"{row['clean']:.1%}",
            f"**{row['certified']:.1%}** (" + ", ".join(f"{one:.0%}" for one in row["each"]) + ")",
            f"{row['attacked']:.1%}",
        ]
        for row in read("results/warm_bounds.json")["means"]
    ]
    head = ["ε", "training", "clean", "certified, mean (seeds)", "PGD-50, 5 restarts"]
    return tables.table(head, rows) + "\n"


def trained_networks() -> str:
    """The zoo: what comes with hardball, and what was measured of it."""
    rows = []
    for name in zoo.listed(ROOT / "zoo"):
        config = zoo.read(ROOT / "zoo" / name).config
        measured = config["measured"]
        for robust in measured["robust"]:
            front = config["model"].get("front")
            rows.append(
                [
                    f"`{name}`",
                    config["model"]["name"] + (f" behind `{front}`" if front else ""),
                    str(measured["n"]) + ", drawn" * (measured.get("sample") is not None),
                    f"{measured['clean']['accuracy']:.1%}",
                    f"{robust['eps']:g}",
                    _with_interval(robust),
                ]
            )
    return tables.table(["entry", "network", "n", "clean", "ε", "under attack (95%)"], rows) + "\n"


def _with_interval(found: dict[str, float]) -> str:
    return f"**{found['accuracy']:.1%}** ({_interval([found['low'], found['high']])})"


def _trends(soak: dict[str, Any], *, flat: bool) -> str:
    return ", ".join(
        name.replace("_mib", "").replace("_kib", "").replace("_", " ")
        + (
            ""
            if flat
            else f" ({how['growth_over_last_half']:+.1%}, {how['first']:.0f} to {how['last']:.0f})"
        )
        for name, how in soak["trends"].items()
        if how["flat"] == flat
    )


def reliability() -> str:
    """Faults, malformed input, hostile networks and the soak, as far as they were run."""
    found = read("results/reliability.json")
    faults = [
        [kind.replace("_", " "), str(sum(how.values()))]
        + [str(how.get(name, 0)) for name in ("detected", "harmless", "silent")]
        for kind, how in found["faults"]["by_kind"].items()
    ]
    inputs = [
        [kind.replace("_", " "), f"{how['tried']:,}", f"{how['refused']:,}"]
        + [str(how[name]) for name in ("tracebacks", "hangs", "peak_memory_growth_mib")]
        for kind, how in found["inputs"]["by_kind"].items()
    ]
    guided = read("benchmarks/results/fuzz_guided.json")
    bad = sum(len(one["found"]) for one in guided["by_kind"].values())
    networks, soak = found["networks"], found["soak"]
    head = [
        "malformed",
        "tried",
        "refused in one line",
        "tracebacks",
        "hangs",
        "memory grew by, MiB",
    ]
    return (
        tables.table(["fault", "injected", "named in one line", "harmless", "silent"], faults)
        + "\n\n"
        + tables.table(head, inputs)
        + f"\n\nA search for new paths through the code tried {guided['tried']:,} more files and found "
        f"{bad} that end in anything but a value or one line. Of {networks['tried']} hostile networks "
        f"{networks['trusted']} got a verdict they should not have. In {soak['minutes']:.0f} minutes, "
        f"{soak['killed_before_the_end']} of {soak['cycles']} trainings were killed and resumed; "
        f"{soak['same_weights_as_without_a_kill']} ended with the weights of one without a kill; flat over "
        f"the second half: {_trends(soak, flat=True)}; not flat: {_trends(soak, flat=False) or 'none'}."
        + "\n\n"
        + "".join(f"* {one['defect']}: `{one['test']}`\n" for one in found["defects"])
    )


PARTS: dict[str, Callable[[], str]] = {
    "adaptive": adaptive,
    "adaptive-mnist": adaptive_mnist,
    "adaptive-cifar": adaptive_cifar,
    "frontier": partial(_frontier, 0.4),
    "frontier-0.3": partial(_frontier, 0.3),
    "zoo": trained_networks,
    "warm-bounds": warm_bounds,
    "front": front,
    "front-variants": front_variants,
    "front-and-fast": front_and_fast,
    "reproduction": reproduction,
    "overview": overview,
    "table1": table1,
    "demo": demo,
    "verdicts": verdicts,
    "fast": fast,
    "smoothing": smoothing,
    "reliability": reliability,
    **{name: _benchmark(name) for name in tables.TABLES},
}
COMMAND = "python tools/claims.py --write"


def pages() -> list[Path]:
    """Where parts may be."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def named(page: Path) -> list[str]:
    """The names of a page's parts."""
    mine = [command for command in commands(page.read_text()) if command.startswith(COMMAND)]
    return [command.removeprefix(COMMAND).strip() for command in mine]


def page(text: str, names: list[str] | None = None) -> str:
    """The page with its parts as they are now; with those of these names."""
    return filled(text, {f"{COMMAND} {name}": PARTS[name] for name in names or PARTS})


def main() -> None:
    """List or write the parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", nargs="*", choices=PARTS, metavar="NAME")
    names = parser.parse_args().write
    for path in pages():
        if names is not None:
            path.write_text(page(path.read_text(), names))
        elif parts := named(path):
            print(f"{path.relative_to(ROOT)}: {', '.join(parts)}")


if __name__ == "__main__":
    main()
