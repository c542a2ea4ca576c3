"""MNIST at ε=0.4: what each objective, front and network costs, and what is left under all attacks; some
of the same recipes, otherwise unchanged, at ε=0.3.

    python results/frontier.py --data-root data --runs runs/frontier [--only NAME ...] [--n 300]

Each row is trained by one command, then measured on n test images, drawn at random (the test part is in
no random order): without attack; for a network behind a front under the exact attacks there; under PGD-200
with 10 restarts; under AutoAttack's standard version; and, on what is left, under PGD on the margin and
10,000 queries of Square. Each PGD runs behind a front too, as `evaluate` has it by itself; what is not
behind it finds next to nothing more there, so such networks get the last three on the first m of them only.
`strongest` is what withstands all of them, `certified` what interval bounds or CROWN-IBP prove, whichever
proves more (for networks trained with bounds; others have next to nothing proved). Nothing was chosen by
these figures.

After an interruption the script continues where it was. Writes results/frontier.json and
results/frontier.png.
"""

import argparse
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib.pyplot as plt
import torch
from running import command, parser, train, write
from torch import Tensor

import hardball as hb
from hardball import environment
from hardball.attacks import AUTOATTACK
from hardball.evaluation.results import Accuracy

EPS = 0.4
SHARES = ("clean", "pgd", "autoattack", "strongest")
BEHIND = (
    "front-pgd-decay-20-x5",
    "front-pgd-200",
    "front-pgd-margin-100-x5",
    "front-targeted-pgd-20",
)
CLIP = "--front clip --front-args '{low: 0.41, high: 0.59}'"
STEADY = (
    "--curriculum iterative --per step --beyond 0.01 --may-stop false --batch-size 128 --lr 1e-3 "
    "--schedule linear-tail"
)
RAMP = f"{STEADY} --ramp-epochs 10 --hold 6"
WIDE = "--model-args '{width: 2}'"
LEAPS = "--steps 5 --reach 8 --step-decay true"
TWO = "--front rounding --front-args '{threshold: [0.42, 0.58]}' --epochs 10"
PAPERS = "--model mnist_cnn --lr 2e-3 --epochs 14"


@dataclass(frozen=True)
class Row:
    """A training."""

    name: str
    words: str
    """Its flags."""
    base: str = ""
    """The row whose weights it starts from: then it is an extension of that one."""
    front: bool = False
    bounds: bool = False
    """Trained with bounds, so that something can be proved."""
    eps: float = EPS
    trained_for: float | None = None
    """Another ε, where it is not measured at the one that it is trained for."""
    cores: int = 1
    """That its training takes: a process on each."""

    def folder(self, runs: Path, seed: int) -> Path:
        return runs / f"{re.sub(r'[^a-z0-9]+', '-', self.name)}-{seed}"

    @property
    def precision(self) -> str:
        # bounds are sums of many products of one sign: in float32
        return "32-true" if self.bounds else "bf16-mixed"


ROWS = [
    Row("mnist-fast", "--preset mnist-fast --curriculum iterative"),
    Row(
        "mnist-fast, large last steps",
        "--preset mnist-fast --curriculum iterative --finish-reach 8 --step-decay true",
    ),
    Row(
        "the paper's ramp to 0.5",
        "--preset mnist-paper --curriculum iterative --model-args '{padding: false}'",
        trained_for=0.5,
    ),
    Row("mnist-front", "--preset mnist-front", front=True),
    Row(
        "mnist-front, 8 epochs, two cores",
        "--preset mnist-front --epochs 8",
        front=True,
        cores=2,
    ),
    Row(
        "mnist-front, 10 epochs, two cores",
        "--preset mnist-front --epochs 10",
        front=True,
        cores=2,
    ),
    Row("mnist-front, 30 epochs", "--preset mnist-front --epochs 30", front=True),
    Row(
        "mnist-front, twice as wide, 20 epochs",
        f"--preset mnist-front {WIDE} --epochs 20",
        front=True,
    ),
    Row(
        "twice as wide, and 12 epochs of large steps",
        f"--preset mnist-front {WIDE} {LEAPS} --epochs 12 --lr 5e-4",
        base="mnist-front, twice as wide, 20 epochs",
        front=True,
    ),
    Row("two thresholds", f"--preset mnist-front {TWO} --augment none", front=True),
    Row(
        "two thresholds, affine-sharp",
        f"--preset mnist-front {TWO} --augment affine-sharp",
        front=True,
    ),
    Row("mnist-front, paper's network", f"--preset mnist-front {PAPERS}", front=True),
    Row("ibp", f"--data mnist --model mnist_cnn --objective ibp {RAMP}", bounds=True),
    Row(
        "ibp, front",
        f"--data mnist --model mnist_cnn {CLIP} --objective ibp {RAMP}",
        front=True,
        bounds=True,
    ),
    Row(
        "ibp, front, 40 epochs",
        f"--data mnist --model mnist_cnn {CLIP} --objective ibp {STEADY} --ramp-epochs 20 --hold 20",
        front=True,
        bounds=True,
    ),
]
ROWS += [
    replace(row, name=f"{row.name}, ε=0.3", eps=0.3)
    for row in ROWS
    if row.name in ("mnist-fast", "mnist-front", "ibp, front")
]


def measured(row: Row, folder: Path, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """The test figures of a trained run, each with its interval."""
    data = hb.load_dataset("mnist", arguments.data_root, "test")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    data = data.rows(order[: arguments.n])
    model = hb.load_run(folder).model
    few = min(arguments.n, arguments.m) if row.front else arguments.n
    left: Tensor = torch.ones(len(data), dtype=torch.bool)
    found: dict[str, Any] = {"n": len(data)}
    for name, attacks in stages(row):
        began = time.monotonic()
        among = torch.arange(len(data)) < (len(data) if name == "behind" else few)
        # PGD and AutoAttack are figures of their own; the last stage attacks what is left
        some = among & left if name == "rest" else among
        stood = among.clone()
        if some.any():
            scores = hb.evaluate(model, data.rows(some), eps=row.eps, attacks=attacks, seed=seed)
            stood[some] = scores.broken_at.isinf()
            found["clean"] = found.get("clean") or scores.clean.as_json()
        left = left & (stood | ~among)
        stood = left if name == "rest" else stood
        found[name] = {
            "attacks": list(attacks),
            **Accuracy(right=int((stood & among).sum()), n=int(among.sum())).as_json(),
            "seconds": round(time.monotonic() - began, 1),
        }
    found["strongest"] = Accuracy(right=int(left.sum()), n=len(data)).as_json()
    if row.bounds:
        certificates = {"ibp": hb.IBP(), "crown-ibp": hb.CROWNIBP()}
        one_step = {"fgsm": hb.PGD(steps=1)}  # an evaluation needs an attack
        proofs = hb.evaluate(
            model, data, eps=row.eps, attacks=one_step, certify=certificates
        ).proofs
        proved = torch.stack([proof.certified for proof in proofs])
        found["certified"] = {
            **Accuracy(right=int(proved.any(dim=0).sum()), n=len(data)).as_json(),
            "by": {one.certificate: one.accuracy.as_json()["accuracy"] for one in proofs},
        }
    return found


def stages(row: Row) -> Iterator[tuple[str, dict[str, Any]]]:
    """Attacks by the figure they are for."""
    if row.front:
        behind = dict(hb.protocols.named([*BEHIND]))
        yield "behind", behind | {"front-square": hb.SquareBehindFront(queries=1000)}
    yield "pgd", dict(hb.protocols.named(["pgd-200-x10"]))
    yield "autoattack", dict(AUTOATTACK)
    margin = dict(hb.protocols.named(["pgd-margin-100-x5"]))
    yield "rest", margin | {"square-10000": replace(AUTOATTACK["square"], queries=10_000)}


def run(row: Row, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one seed."""
    base = [one for one in ROWS if one.name == row.base]
    folders = [one.folder(arguments.runs, seed) for one in (row, *base)]
    begin = f"extend {folders[1]}" if base else "train"
    # an extension has another order of the images than what it extends
    own = seed + len(base)
    eps = row.trained_for or row.eps
    words = f"{begin} {row.words} --eps {eps} --seed {own} --precision {row.precision}"
    words += " --validation-seed 0" if own else ""  # all hold out the same images
    words += f" --devices {row.cores}" if row.cores > 1 else ""
    train(f"{words} --accelerator cpu --data-root {arguments.data_root}", folders[0], threads=1)
    outcomes = [json.loads((one / "outcome.json").read_text()) for one in folders]
    found = measured(row, folders[0], seed, arguments)
    return {
        "seed": seed,
        **{key: found[key]["accuracy"] for key in SHARES},
        "certified": found["certified"]["accuracy"] if row.bounds else None,
        "minutes": round(sum(one["seconds"] for one in outcomes) / 60, 1),
        "sample_steps": sum(one["sample_steps"] for one in outcomes),
        "status": outcomes[0]["status"],
        "command": f"hardball {words}".replace(str(arguments.runs), "RUNS"),
        "details": found,
        "made_by": command(data_root=arguments.data_root, runs=arguments.runs),
        "note": arguments.note,
        "machine": environment.facts(),
    }


def summary(row: Row, by_seed: list[dict[str, Any]]) -> dict[str, Any]:
    """A row: means over its seeds; the minutes of the fastest, since others may have had company."""
    keys = [*SHARES, "sample_steps", *(["certified"] if row.bounds else [])]
    return {
        "name": row.name,
        "eps": row.eps,
        "cores": row.cores,
        "n": by_seed[0]["details"]["n"],
        "n_image_space": by_seed[0]["details"]["pgd"]["n"],
        "certified": None,
        **{key: round(fmean(one[key] for one in by_seed), 4) for key in keys},
        "minutes": min(one["minutes"] for one in by_seed),
        "seeds": len(by_seed),
        "by_seed": by_seed,
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy at ε=0.4 against minutes of one core: from certified to what withstood everything, and PGD
    above where it ran on as many images."""
    rows = [row for row in rows if row["eps"] == EPS and row["cores"] == 1]
    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    for number, row in enumerate(rows, 1):
        at = row["minutes"]
        if row["certified"] is not None:
            axes.plot([at, at], [row["certified"], row["strongest"]], color="0.6", zorder=1)
            axes.plot(at, row["certified"], "^", color="C2", zorder=2)
        if row["n_image_space"] == row["n"]:
            axes.plot(at, row["pgd"], "_", color="C1", markersize=12, zorder=2)
        axes.plot(at, row["strongest"], "o", color="C0", zorder=3)
        axes.annotate(
            str(number), (at, row["strongest"]), (6, -3), textcoords="offset points", fontsize=8
        )
    axes.plot([], [], "_", color="C1", markersize=12, label="PGD-200, 10 restarts")
    axes.plot([], [], "o", color="C0", label="all attacks")
    if any(row["certified"] is not None for row in rows):
        axes.plot([], [], "^", color="C2", label="certified")
    axes.set(xlabel="minutes of training, one core", ylabel=f"test accuracy at ε={EPS:g}")
    axes.set_xscale("log")
    axes.set_xticks([10, 20, 50, 100], ["10", "20", "50", "100"])
    axes.grid(alpha=0.3, which="both")
    for number, row in enumerate(rows, 1):
        axes.plot([], [], " ", label=f"{number}  {row['name']}")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1, fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    made = parser(__doc__, Path(__file__).with_suffix(".json"))
    made.add_argument("--data-root", type=Path, default=Path("data"))
    made.add_argument("--runs", type=Path, default=Path("runs/frontier"))
    made.add_argument("--only", nargs="+", choices=[row.name for row in ROWS], metavar="NAME")
    made.add_argument("--n", type=int, default=1000, help="test images")
    made.add_argument("--m", type=int, default=100, help="the first of them, behind a front")
    made.add_argument("--seeds", nargs="+", type=int, default=[0])
    arguments = made.parse_args()
    result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {"rows": []}
    rows = {row["name"]: row for row in result["rows"]}
    for row in ROWS:
        if row.name not in (arguments.only or [one.name for one in ROWS]):
            continue
        for seed in arguments.seeds:
            known = rows.get(row.name, {"by_seed": []})["by_seed"]
            kept = [one for one in known if one["seed"] != seed]
            found = [*kept, run(row, seed, arguments)]
            rows[row.name] = summary(row, sorted(found, key=lambda one: one["seed"]))
            result["rows"] = [rows[one.name] for one in ROWS if one.name in rows]
            write(result, arguments.out)
            draw(result["rows"], arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
