"""Remakes results/checklist_mnist.json: every check and AutoAttack on short trainings on MNIST.

    python results/checklist_mnist.py --data-root data --runs runs/first_mnist

The trainings are those of results/first_mnist.py (a fraction of the paper's epochs) and one more,
0.3→0.5 for 3 epochs, which the paper's section 3.3 found to be masked. What is in the folder already is
not trained again, an interrupted training is resumed, and an interrupted evaluation continues.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from cross_check import cross_check
from first_mnist import TITLES, TRAININGS, training
from running import hardball, parser, train, write

TRAININGS["eat05"] = "extend {runs}/at03 --eps 0.5 --epochs 3"
TITLES["eat05"] = "extended, 0.3→0.5: 3 more epochs"

CHECKED = {
    "at03": (0.3, "iat04"),
    "eat04": (0.4, "iat04"),
    "iat04": (0.4, "eat04"),
    "eat05": (0.5, "iat04"),
}
"""run → (ε, the run that attacks are transferred from)."""

CHECK = (
    "evaluate {runs}/{name} --eps {eps} --protocol checklist --budget {budget} --n {n} "
    "--source {runs}/{source} --base {runs}/at03"
)
CROSS = ("iat04", 0.4)
"""The network on which libraries are compared."""


def check(name: str, runs: Path, n: int, budget: str, threads: int) -> float:
    """Evaluate and check; the seconds this call took. Exit code 1 is a verdict, not an error."""
    eps, source = CHECKED[name]
    started = time.monotonic()
    words = CHECK.format(runs=runs, name=name, eps=eps, budget=budget, n=n, source=source)
    hardball(words, threads=threads, allowed=(0, 1))
    return time.monotonic() - started


def row(name: str, runs: Path, budget: str) -> dict[str, Any]:
    """The figures of one run."""
    folder = runs / name
    found = json.loads((folder / "evaluation.json").read_text())
    eps, source = CHECKED[name]
    checklist, verdict = found["checklist"], found["verdict"]
    if checklist is None or checklist["budget"] != budget:
        raise SystemExit(f"{folder}/evaluation.json has no checklist at budget {budget}")
    # the last attack's accuracy is that after all attacks
    after = [score["after"] for score in found["scores"] if score["eps"] == eps][-1]
    figures = {"clean": found["clean"], "pgd": checklist["claimed"], "autoattack": after}
    figures["strongest"] = checklist["strongest"]
    words = CHECK.format(
        runs="runs", name=name, eps=eps, budget=budget, n=found["n"], source=source
    )
    return {
        "what": TITLES[name],
        "eps": eps,
        "n": found["n"],
        **{figure: value["accuracy"] for figure, value in figures.items()},
        "verdict": verdict["word"],
        "sentence": verdict["sentence"],
        "intervals": {figure: [v["low"], v["high"]] for figure, v in figures.items()},
        "strongest_attack": checklist["strongest"]["attack"],
        "checks": checklist["checks"],
        "scores": found["scores"],
        "commands": [
            f"hardball {TRAININGS[name].format(runs='runs')} --out runs/{name}",
            f"hardball {words}",
        ],
        "minutes": round(
            (found["seconds"] + sum(c["seconds"] for c in checklist["checks"])) / 60, 1
        ),
        "machine": found["machine"],
        "commit": found["machine"]["commit"],
        "weights_sha256": found["weights_sha256"],
        "data_sha256": found["data_sha256"],
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--data-root", type=Path, default=Path("data"))
    made.add_argument("--runs", type=Path, default=Path("runs/first_mnist"))
    made.add_argument("--n", type=int, default=1000)
    made.add_argument("--cross-n", type=int, default=500, help="0 keeps the comparison there is")
    made.add_argument("--budget", default="standard")
    made.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    made.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = made.parse_args()
    threads = arguments.threads
    for name in ("at03", "iat04", "eat04", "eat05"):
        words = training(name, arguments.runs, arguments.data_root)
        train(words, arguments.runs / name, threads=threads)
    seconds = {
        name: check(name, arguments.runs, arguments.n, arguments.budget, threads)
        for name in CHECKED
    }
    run, eps = CROSS
    result = {
        "about": {
            "what": "MNIST, first test images: the paper's measure (pgd: 200 steps, one start), "
            "AutoAttack's standard version after it, and every check",
            "command": "python results/checklist_mnist.py --data-root data --runs runs",
            "note": "shortened trainings, far fewer epochs than the paper's; minutes are of work, "
            "those of interrupted evaluations included; other work shared the machine",
            "n": arguments.n,
            "budget": arguments.budget,
            "last_call_minutes": {name: round(s / 60, 1) for name, s in seconds.items()},
        },
        **{name: row(name, arguments.runs, arguments.budget) for name in CHECKED},
        "cross_check": cross_check(arguments.runs / run, eps, arguments.cross_n)
        if arguments.cross_n
        else json.loads(arguments.out.read_text())["cross_check"],
    }
    write(result, arguments.out)


if __name__ == "__main__":
    main()
