"""A benchmark's result as the Markdown tables of docs/speed.md.

    python benchmarks/tables.py throughput
    python benchmarks/tables.py evaluation
    python benchmarks/tables.py startup

Reads benchmarks/results/NAME.json.
"""

import json
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

from record import RESULTS, parser

Result = dict[str, Any]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def throughput(found: Result) -> str:
    """Everyone's rates, and how many times faster hardball is."""
    step, attack = found["training_step"], found["attack"]["rows"]
    rows = sorted(step["rows"].items(), key=lambda row: -float(row[1]["median"]))
    rates = table(
        ["", "attack and update", "of the limit", "attack alone"],
        (
            [
                name,
                f"{row['median']:,.0f}",
                f"{row['share_of_limit']:.0%}",
                f"{attack[name]['median']:,.0f}",
            ]
            for name, row in rows
        ),
    )
    cases = [found["training_step"], *found["by_batch"], found["resnet18"]]
    cases.sort(key=lambda case: (case["network"], case["batch"]))
    ratios = table(
        [
            "hardball is faster than",
            "the fastest library as it comes",
            "torchattacks, channels_last",
        ],
        (
            [
                f"{case['network']}, batch {case['batch']}",
                f"{case['ratio_to_best_peer']:.1f}× ({case['best_peer']})",
                f"{case['ratio_to_best_peer_channels_last']:.1f}×",
            ]
            for case in cases
        ),
    )
    limit = f"The limit: {step['limit_kernel']}, {step['limit_gflops']:,.0f} GFLOP/s."
    return f"{rates}\n\n{limit}\n\n{ratios}"


def evaluation(found: Result) -> str:
    """Seconds and accuracies, by attack."""
    return table(
        ["", "attack", "n", "seconds", "still right"],
        (
            [
                name,
                attack,
                str(found[attack]["n"]),
                f"{median(row['seconds']):.0f}",
                f"{median(row['accuracy']):.1%}",
            ]
            for attack in ("pgd", "apgd-ce", "autoattack")
            for name, row in found[attack]["rows"].items()
        ),
    )


def startup(found: Result) -> str:
    """CPU seconds and their ratio to `import torch`."""
    return table(
        ["", "CPU seconds", "of `import torch`"],
        (
            [f"`{name}`", f"{row['median']:.2f}", f"{row['to_torch']:.0%}"]
            for name, row in found["rows"].items()
        ),
    )


TABLES: dict[str, Callable[[Result], str]] = {
    "throughput": throughput,
    "evaluation": evaluation,
    "startup": startup,
}


def main() -> None:
    made = parser(__doc__)
    made.add_argument("name", choices=TABLES)
    name = made.parse_args().name
    print(TABLES[name](json.loads((RESULTS / f"{name}.json").read_text())))


if __name__ == "__main__":
    main()
