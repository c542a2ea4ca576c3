"""The demonstration: at a large ε, training from random weights is stuck, and the curriculum learns.

ε, network and settings were chosen by measurement over five seeds (results/demo.json); the curriculum
learned for each of twenty (results/adaptive.json).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from hardball import environment, extras
from hardball.attacks import Attack
from hardball.commands import train
from hardball.commands.examples import ExamplesConfig
from hardball.commands.report import gathered
from hardball.commands.train import TrainConfig
from hardball.data import load_dataset
from hardball.errors import UserError
from hardball.evaluation import evaluate, protocols, save_evaluation
from hardball.presets import Values, merged, short_flags
from hardball.report import demo as pages
from hardball.report import story, verdicts
from hardball.report.figures import as_png, training_and_accuracy
from hardball.report.html import page
from hardball.runs import Run, RunFolder, write_json
from hardball.storage import digest, read_bytes, write_atomically
from hardball.training.stopping import constant_loss

DATA, EPS = "digits-bw", 0.45
MEASURED_AT = (0.15, 0.3, 0.4, 0.45)
COMMON: Values = {
    "data": {"name": DATA},
    "model": {"name": "digits_cnn", "args": {"width": 16}},
    "attack": {"steps": 10},
    "batch_size": 32,
    "optimizer": {"lr": 2e-3, "schedule": "linear-tail"},
}
ATTACKS: dict[str, Attack] = dict(protocols.named(["pgd-50-x5", "targeted-pgd-50"]))


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to train."""

    name: str
    values: Values
    """Of `TrainConfig.of`, beside those that all have in common."""

    def to_the_end(self) -> "Contestant":
        """The same, but a collapse does not end it."""
        going_on = {"stopping": {"on_collapse": "continue", "collapse_patience": 1}}
        return replace(self, values=merged(self.values, going_on))

    def asked(self, seed: int) -> Values:
        """Everything that is asked for."""
        return merged(COMMON, {**self.values, "seed": seed})

    def command(self, seed: int, out: Path) -> str:
        """The same training as a command."""
        return f"hardball train {short_flags(self.asked(seed))} --out {out}"


CONTESTANTS = (
    Contestant(name="standard", values={"eps": 0.0, "epochs": 30}),
    Contestant(
        name=f"direct, ε={EPS:g}",
        values={"eps": EPS, "epochs": 140, "stopping": {"collapse_patience": 40}},
    ),
    Contestant(
        name=f"adaptive curriculum, 0→{EPS:g}",
        values={
            "eps": EPS,
            "curriculum": {"name": "adaptive"},
            "optimizer": {"schedule": "constant"},
        },
    ),
)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one core: a network so small gains little from more, and where another program keeps
    one of them busy the others wait for it at every layer. The sums are the same on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def demo(
    out: Path, seeds: Sequence[int], console: Console, *, full: bool = False
) -> dict[str, Any]:
    """Train and measure every contestant for every seed; write demo.json, demo.png and report.html.

    What an earlier, interrupted call has trained is not trained again.

    Args:
        full: train all contestants to the end, instead of stopping direct training after 40
            collapsed epochs in a row.

    Raises:
        MissingExtra: what draws and writes the report is not installed.
        UserError: no seeds, a folder that cannot be written, or one with runs of other settings.
    """
    extras.require("the demo's report needs", "matplotlib", "jinja2")
    if not seeds or min(seeds) < 0:
        raise UserError(f"seeds={list(seeds)}; allowed is one number or more, e.g. [0]")
    contestants = [c.to_the_end() if full else c for c in CONTESTANTS]
    rows = []
    histories = {}
    for seed in seeds:
        for contestant in contestants:
            console.print(f"\n{contestant.name}, seed {seed}", style="bold", highlight=False)
            run = _train(contestant, seed, out, console)
            rows.append(_measured(contestant, seed, run))
            histories[seed, contestant.name] = run.history
    found: dict[str, Any] = {
        "command": f"hardball demo --seeds '{list(seeds)}'" + " --full true" * full,
        "data": DATA,
        "eps": EPS,
        "n": rows[0]["evaluation"]["n"],
        "seeds": list(seeds),
        "attacks": rows[0]["evaluation"]["attacks"],
        "trainings": [contestant.name for contestant in CONTESTANTS],
        "results": rows,
        "machine": environment.facts(),
    }
    write_json(out / "demo.json", found)
    drawn = [
        row | {"history": histories[seeds[0], row["name"]]} for row in rows[: len(CONTESTANTS)]
    ]
    training = load_dataset(DATA)
    chance = constant_loss(training.labels, training.classes)
    picture = as_png(training_and_accuracy(drawn, chance=chance, asked=EPS))
    write_atomically(out / "demo.png", picture)
    write_atomically(out / "report.html", _page(out, found).encode())
    console.print(pages.table(found))
    console.print(pages.summary(found), soft_wrap=True, highlight=False)
    console.print(f"report: {out / 'report.html'}", soft_wrap=True, highlight=False)
    return found


def _page(out: Path, found: dict[str, Any]) -> str:
    """The report: the table of all seeds, and the story of the first one's runs."""
    folders = [_folder(out, found["seeds"][0], name) for name in found["trainings"]]
    runs = gathered(folders, ExamplesConfig())
    again = f"hardball report {' '.join(map(str, folders))}"
    by_hand = f"hardball evaluate runs/adaptive --eps '{list(MEASURED_AT)}' --protocol strong"
    return page(
        "hardball demo",
        pages.summary(found),
        [pages.numbers(found), *story.sections(runs, again), pages.by_hand(found, by_hand)],
        each=verdicts.of_each(runs),
        command=found["command"],
    )


def _folder(out: Path, seed: int, training: str) -> Path:
    return out / f"seed{seed}" / pages.folder_name(training)


def _train(contestant: Contestant, seed: int, out: Path, console: Console) -> Run:
    """Train, or take up what is there, if that is what is asked for."""
    folder = _folder(out, seed, contestant.name)
    config = TrainConfig.of({**contestant.asked(seed), "out": folder})
    known = RunFolder(folder).config_file.exists()
    return train.train(config, resume=known, console=console)


def _measured(contestant: Contestant, seed: int, run: Run) -> dict[str, Any]:
    assert run.outcome is not None
    test = load_dataset(DATA, split="test")
    found = evaluate(run.model.cpu(), test, eps=MEASURED_AT, attacks=ATTACKS)
    assert run.folder is not None
    about = {
        "split": "test",
        "data_root": run.config["data"]["root"],
        "weights_sha256": digest(read_bytes(run.folder.weights_file, "weights")),
        "model": run.config["model"],
    }
    save_evaluation(found, run.folder.path, run.model, test, about)
    return {
        "name": contestant.name,
        "seed": seed,
        "command": contestant.command(seed, Path("runs") / pages.folder_name(contestant.name)),
        "outcome": asdict(run.outcome),
        "final_loss": run.history[-1]["adv_loss"],
        "evaluation": found.as_json(),
    }
