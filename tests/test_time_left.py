"""The time left that is shown, on a clock that the test sets."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

import flat
from hardball import PGD, Constant, Dataset, Iterative, build, fit, load_dataset
from hardball.commands.cost import speed_of
from hardball.commands.train import TrainConfig
from hardball.threats import ThreatModel
from hardball.time_left import TimeLeft, bars, words
from hardball.training import logging, loop
from hardball.training.messages import unchanged
from hardball.training.update import Update
from hardball.training.update import validate as measured


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run_through(cost: Callable[[float], float], steps: int = 100) -> list[tuple[float, float]]:
    """(share done, estimate over truth) after each of `steps` equal parts that take `cost(share)`."""
    clock = Clock()
    left = TimeLeft(clock)
    costs = [cost(step / steps) for step in range(steps)]
    left.at(0, steps)
    found = []
    for step in range(1, steps):
        clock.now += costs[step - 1]
        estimate = left.at(step, steps)
        assert estimate is not None
        found.append((step / steps, estimate / sum(costs[step:])))
    return found


def test_steady_work_is_estimated_exactly() -> None:
    assert all(ratio == pytest.approx(1) for _, ratio in run_through(lambda _: 7.0))


def test_parts_longer_than_a_minute_have_an_estimate() -> None:
    """rich's own column forgets what is older than half a minute."""
    assert all(ratio == pytest.approx(1) for _, ratio in run_through(lambda _: 300.0, 5))


def test_a_machine_that_becomes_slower_is_noticed() -> None:
    """Three times as slow from the middle on: soon the estimate is right within a fifth again."""
    found = run_through(lambda share: 1.0 if share < 0.5 else 3.0)
    assert all(0.8 <= ratio <= 1.2 for share, ratio in found if share > 0.7)


@pytest.mark.parametrize("pause", [2.0, 10.0])
def test_regular_pauses_are_part_of_the_rate(pause: float) -> None:
    found = run_through(lambda share: 1.0 + (pause if round(share * 100) % 5 == 4 else 0))
    assert all(0.8 <= ratio <= 1.2 for share, ratio in found if 0.25 < share < 0.7)


def test_what_was_done_before_costs_nothing_now() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    assert left.at(900, 1000) is None
    clock.now += 10
    assert left.at(910, 1000) == pytest.approx(90)


def test_between_two_marks_the_time_left_runs_down() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    left.at(0, 10)
    clock.now += 60
    assert left.at(1, 10) == pytest.approx(540)
    clock.now += 20
    assert left.at(1, 10) == pytest.approx(520)
    clock.now += 10_000
    assert left.at(1, 10) == 0


def test_long_work_needs_no_long_memory() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    for step in range(10_000):
        assert left.at(step, 10_000) == (None if not step else pytest.approx(10_000 - step))
        clock.now += 1
    assert len(left._marks) <= 65


def test_it_is_written_in_hours_minutes_and_seconds() -> None:
    assert [words(value) for value in (None, 0.4, 61, 3 * 3600 + 59.6)] == [
        "-:--:--",
        "0:00:00",
        "0:01:01",
        "3:01:00",
    ]


def test_a_bar_shows_it() -> None:
    clock, out = Clock(), StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    shown = bars(console)
    shown.get_time = clock
    task = shown.add_task("pgd-20", total=10)
    shown.make_tasks_table(shown.tasks)
    clock.now += 100
    shown.advance(task, 2)
    console.print(shown.make_tasks_table(shown.tasks))
    assert "0:06:40" in out.getvalue()


# ------------------------------------------------------------------- trainings

PASS = 0.01
"""Seconds of one pass of one image."""


@pytest.mark.parametrize(
    ("curriculum", "more"),
    [
        (Constant(0.1, 8), {"steps": 4}),
        (Constant(0.1, 8), {"steps": 1, "validation_steps": 40}),
        (Constant(0.0, 8), {"steps": 4}),
        (Iterative(0.3, increment=0.05, per="epoch"), {"step_size": 0.02, "steps": None}),
        (Constant(0.1, 8), {"steps": 2, "finish_epochs": 3, "finish_steps": 12}),
    ],
    ids=["constant", "long validation", "standard", "ramp of steps", "longer at the end"],
)
def test_the_time_left_of_a_training_is_right_within_a_fifth(
    curriculum: Any, more: dict[str, Any], digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pass takes equally long, those of validation too; the estimate is looked at from a fifth
    of the training on until its last epoch."""
    clock = Clock()
    seen: list[tuple[float, float]] = []
    train, held = digits.rows(slice(0, 200)), digits.rows(slice(200, 300))

    call, validate = Update.__call__, measured

    def update(self: Update, images: Any, labels: Any, **asked: Any) -> Any:
        steps = self.attack_steps(asked["threat"], finishing=asked["finishing"])
        clock.now += PASS * len(images) * (steps + 1)
        return call(self, images, labels, **asked)

    def validated(self: Update, held: Dataset, threat: ThreatModel, seed: int) -> Any:
        eps = float(threat.eps)
        steps = self.settings.attack.validation_at(eps).steps if eps else 0
        clock.now += PASS * len(held) * ((steps or 0) + 1 / 3)
        return validate(self, held, threat, seed)

    class Watched(logging.Watcher):
        due = True

        def step(self, **about: Any) -> None:
            super().step(**about)
            task = self._progress.tasks[0]
            assert task.total is not None
            estimate = left.at(task.completed, task.total)
            if estimate is not None:
                seen.append((clock.now, estimate))

    left = TimeLeft(clock)
    monkeypatch.setattr(Update, "__call__", update)
    monkeypatch.setattr(loop, "validate", validated)
    monkeypatch.setattr(loop, "Watcher", Watched)
    model = build("digits_cnn", train.shape, 10, {"width": 3})
    began = clock.now
    settings = flat.settings(batch_size=20, on_collapse="continue", **more)
    fit(model, train, curriculum=curriculum, settings=settings, validation=held)
    whole = clock.now - began
    looked = [
        (at - began, estimate) for at, estimate in seen if 0.2 <= (at - began) / whole <= 0.85
    ]
    assert len(looked) > 20
    for at, estimate in looked:
        assert estimate == pytest.approx(whole - at, rel=0.2)


def test_the_live_line_fits_a_narrow_terminal() -> None:
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=40)
    with logging.Watcher(
        planned=100, folder=None, console=console, first_epoch=1, words=unchanged
    ) as watcher:
        watcher.step(done=50, sample_steps=500, epoch=11, eps=0.25, loss=1.234, accuracy=0.5)
        table = watcher._progress.make_tasks_table(watcher._progress.tasks)
    plain = Console(file=StringIO(), width=40)
    with plain.capture() as shown:
        plain.print(table)
    (line,) = shown.get().splitlines()
    assert len(line) <= 40
    assert "epoch 12" in line
    assert "ε=0.25" in line
    assert isinstance(watcher._progress, Progress)


def test_the_speed_is_that_of_the_precision_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a training costs is measured as it will compute."""
    seen: list[bool] = []

    def perturb(self: PGD, model: nn.Module, images: Tensor, *_: object) -> Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return images

    monkeypatch.setattr(PGD, "perturb", perturb)
    data = load_dataset("digits")
    for precision in ("32-true", "bf16-mixed"):
        machine = {"accelerator": "cpu", "precision": precision}
        config = TrainConfig.of({"data": {"name": "digits"}, "eps": 0.1, "machine": machine})
        assert speed_of(config, data, seconds=0) > 0
    assert seen == [False, False, True, True]
