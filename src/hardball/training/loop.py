"""The loop over epochs and its decisions. One update is in step.py.

Shapes: N training images, B examples per update over all processes, K classes.
"""

import math
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from torch import Tensor, nn

from hardball import storage
from hardball.data import Dataset
from hardball.perf import prefer_channels_last
from hardball.runs import (
    COLLAPSED,
    FINISHED,
    INTERRUPTED,
    NON_FINITE,
    STOPPED,
    Outcome,
    RunFolder,
    read_metrics,
)
from hardball.seeding import derive
from hardball.threats import ThreatModel
from hardball.training import checkpoint, stopping
from hardball.training.atta import Carried
from hardball.training.cost import Cost
from hardball.training.curricula import Curriculum
from hardball.training.distributed import agree, in_first
from hardball.training.ema import Average, copied
from hardball.training.interrupt import Interrupt
from hardball.training.last_look import is_masked, last_look
from hardball.training.live import Attacked
from hardball.training.logging import Row, Watcher, write_metrics
from hardball.training.messages import (
    collapse_message,
    increase_message,
    non_finite_message,
    of_noise,
    probe_message,
    unchanged,
)
from hardball.training.passes import Passes, check_classes
from hardball.training.progress import Parameters, distance, parameters_of
from hardball.training.settings import Settings
from hardball.training.update import Sums, Update, validate

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Trainer:
    """State of one training: position, optimiser, history, the last good weights.

    This one follows a curriculum that is fixed beforehand. `steered.Steered` asks one that decides
    after each epoch, and overrides what is marked so.
    """

    reported: tuple[str, ...] = (FINISHED, COLLAPSED)
    """Outcomes whose message is not shown at the end: a collapse was reported when it came."""

    def __init__(
        self,
        model: nn.Module,
        train: Dataset,
        held: Dataset,
        *,
        curriculum: Curriculum,
        settings: Settings,
        fabric: "Fabric",
        folder: RunFolder | None,
        fingerprint: str,
    ) -> None:
        self.curriculum, self.settings, self.fabric = curriculum, settings, fabric
        self.folder, self.fingerprint = folder, fingerprint
        self.train, self.held = train, held
        self.words = of_noise if settings.objective.noisy else unchanged
        self.model, layout = model, prefer_channels_last(model, train.images)
        if not model.training:
            model.train()
        self.threat = ThreatModel(settings.norm, curriculum.largest)
        wrapped, self.optimizer = fabric.setup(
            Passes(model, objective=settings.objective), settings.optimizer.of(model)
        )
        check_classes(model, train)
        self.carried = Carried(train.images) if settings.attack.carry else None
        self.average = (
            Average(model, settings.optimizer.average) if settings.optimizer.average else None
        )
        self.update = Update(
            wrapped,
            model,
            self.optimizer,
            settings,
            fabric,
            layout,
            self.carried,
            largest=curriculum.largest,
        )
        self.steps = math.ceil(len(train) / settings.batch_size)
        self.floor = stopping.constant_loss(train.labels, train.classes)
        self.chance = float(train.labels.bincount().max()) / len(train)
        self.epoch = self.step = 0
        self.sample_steps = 0
        self.seconds = 0.0
        self.sums = Sums.zero(fabric.device)
        self.history: list[Row] = []
        self.began: Parameters = {}  # the kept weights at the start of this epoch
        self.good: dict[str, Tensor] | None = None
        self.good_eps = 0.0

    def run(self, console: Console | None, *, resume: bool = False) -> Outcome:
        """Train to the end, or to what stops it."""
        if resume and self.folder is not None:
            ended = self.folder.outcome()
            if ended is not None and ended.status != INTERRUPTED:
                if not self._to_be_rebuilt(self.folder):
                    cure = self.folder.cure_of_weights
                    storage.load_weights(self.model, self.folder.weights_file, cure)
                    self.history = read_metrics(self.folder)
                    return ended
                warnings.warn(
                    f"{self.folder.weights_file} is gone; it is made again from the newest resume point",
                    stacklevel=2,
                )
            found = checkpoint.load(self.folder.state, self.fingerprint)
            if found is not None:
                self._restore(found)
        watcher = Watcher(
            planned=self._planned(),
            folder=self.folder if self.fabric.is_global_zero else None,
            console=console if self.fabric.is_global_zero else None,
            first_epoch=self.epoch + 1,
            words=self.words,
        )
        # the caller's global random state is theirs: training seeds itself at every step
        with torch.random.fork_rng(devices=self._gpus()), watcher, Interrupt() as interrupt:
            if not resume:
                self._save()
            outcome = self._loop(watcher, interrupt)
            if outcome.status != INTERRUPTED:
                self._keep_good()
            if outcome.status not in self.reported:
                watcher.say(outcome.message)
            if outcome.status in (FINISHED, STOPPED):
                outcome = self._looked_at(watcher, outcome)
            self._write(lambda folder: folder.write_outcome(outcome))
        self.fabric.barrier()
        return outcome

    def _to_be_rebuilt(self, folder: RunFolder) -> bool:
        """Of a run that has ended: its weights are gone, and there is what they were made from."""
        return not folder.weights_file.exists() and checkpoint.exists(folder.state)

    def _loop(self, watcher: Watcher, interrupt: Interrupt) -> Outcome:
        started = time.monotonic() - self.seconds
        while self._goes_on():
            status = self._one_epoch(watcher, interrupt, started)
            if status == NON_FINITE:
                self.seconds = time.monotonic() - started
                ended = self._on_non_finite(watcher)
                if ended is not None:
                    return ended
                continue
            if status == INTERRUPTED:
                self._save()
                cure = (
                    f"continue it: hardball train --resume {self.folder.path}"
                    if self.folder
                    else "give out= a folder next time, to be able to continue"
                )
                return self._outcome(INTERRUPTED, f"interrupted in epoch {self.epoch + 1}; {cure}")
            ended = self._finish_epoch(watcher, started)
            if ended is not None:
                return ended
        return self._end()

    def _goes_on(self) -> bool:
        """Another epoch follows (overridden)."""
        return self.epoch < self.curriculum.total_epochs

    def _on_non_finite(self, watcher: Watcher) -> Outcome | None:
        """A loss or gradient is no number; the update was not taken (overridden)."""
        lr = self.settings.optimizer.lr
        return self._outcome(NON_FINITE, non_finite_message(self._eps(), self.epoch + 1, lr))

    def _end(self) -> Outcome:
        """After the last epoch (overridden)."""
        self._accept(self.curriculum.eps_at(max(0, self.epoch - 1)))
        return self._outcome(FINISHED, f"finished {self.epoch} epochs at ε={self.good_eps:g}")

    def _one_epoch(self, watcher: Watcher, interrupt: Interrupt, started: float) -> str | None:
        """The steps that are left of this epoch; a status if something ends them."""
        settings, size = self.settings, self.settings.batch_size
        order = torch.randperm(
            len(self.train),
            generator=torch.Generator().manual_seed(derive(settings.seed, self.epoch)),
        ).to(self.fabric.device)
        last_save = time.monotonic()
        if self.step == 0:
            with self._kept_weights():
                self.began = parameters_of(self.model)
        while self.step < self.steps:
            rows = order[self.step * size : (self.step + 1) * size]
            batch = self.train.images[rows], self.train.labels[rows]
            eps = self._eps()
            for group in self.optimizer.param_groups:
                group["lr"] = self._lr()
            if self.step == self.steps // 2:
                self.sums.restart_tail()
            seed = derive(settings.seed, self.epoch, self.step)
            done = self.update(
                *batch,
                threat=self.threat.at(eps),
                seed=seed,
                rows=rows,
                first=self.epoch == 0,
                finishing=self._finishing(self.epoch),
            )
            due = time.monotonic() - last_save > 60 * settings.machine.save_minutes
            bad, stop, save = agree(self.fabric, not done.finite, interrupt.requested, due)
            if bad:
                return NON_FINITE
            self.update.apply()
            if self.average is not None:
                self.average.add(self.model, self.epoch * self.steps + self.step)
            self.sums.add(done)
            self.sample_steps += done.attack_steps * len(rows)
            self.step += 1
            self.seconds = time.monotonic() - started
            if watcher.due:
                watcher.step(
                    done=self._done(),
                    sample_steps=self.sample_steps,
                    epoch=self.epoch,
                    eps=eps,
                    **self.sums.so_far(),
                )
            if stop:
                return INTERRUPTED
            if save and self.step < self.steps:
                self._save()
                last_save = time.monotonic()
        return None

    def _finish_epoch(self, watcher: Watcher, started: float) -> Outcome | None:
        """Measure, record, decide; an outcome if training ends here."""
        row, tail, attacked = self._measure(self._trained_eps())
        self.history.append(row)
        self.epoch, self.step, self.sums = self.epoch + 1, 0, Sums.zero(self.fabric.device)
        self.seconds = time.monotonic() - started
        row["seconds"] = self.seconds
        is_constant = stopping.collapsed(tail["loss"], tail["one_class"], self.floor)
        row["collapsed"] = float(is_constant and self.epoch * self.steps >= stopping.WARM_UP)
        watcher.epoch(row, attacked)
        self._write(lambda folder: write_metrics(folder, self.history))
        return self._judge(watcher, row, tail["loss"], is_constant=is_constant)

    def _judge(
        self, watcher: Watcher, row: Row, loss: float, *, is_constant: bool
    ) -> Outcome | None:
        """What follows from an epoch (overridden).

        Args:
            loss: of its second half; `is_constant`: there it was that of a constant predictor.
        """
        eps, is_collapsed = row["eps"], bool(row["collapsed"])
        losses = [r["val_adv_loss"] for r in self.history]
        classes = self.train.classes
        last_good = stopping.sudden_increase(losses, classes) if self.curriculum.may_stop else None
        if last_good is not None:
            # usually the epoch before the increase; an earlier one if that was in doubt itself
            kept = eps if self.good is None else self.good_eps
            return self._outcome(
                STOPPED,
                increase_message(self.curriculum.target, kept, losses[last_good], losses[-1]),
            )
        self._keep_epoch()
        waits = self.curriculum.may_stop and not stopping.good_before_increase(losses, classes)
        if not is_constant and not waits:
            self._accept(eps)
        if self.epoch > 1 and self.history[-2]["collapsed"] and not is_collapsed:
            watcher.say(f"the collapse ended in epoch {self.epoch} at ε={eps:g}")
        if is_collapsed:
            ended = self._on_collapse(watcher, eps, loss)
            if ended is not None:
                return ended
        self._save()
        return None

    def _keep_epoch(self) -> None:
        keep_every = self.settings.machine.keep_every
        if keep_every and self.epoch % keep_every == 0:
            self._write_weights(lambda folder: folder.epoch_file(self.epoch))

    def _on_collapse(self, watcher: Watcher, eps: float, loss: float) -> Outcome | None:
        in_a_row = 0
        for row in reversed(self.history):
            if not row["collapsed"]:
                break
            in_a_row += 1
        bounds = self.settings.objective.needs_bounds
        message = collapse_message(
            eps, self.epoch, loss, self.floor, self.curriculum, bounds=bounds
        )
        if in_a_row == 1:
            watcher.say(message)
        stopping = self.settings.stopping
        if stopping.on_collapse == "stop" and in_a_row >= stopping.collapse_patience:
            watcher.say(f"stopped after {in_a_row} collapsed epochs in a row")
            return self._outcome(COLLAPSED, message)
        if self.epoch == self.curriculum.total_epochs:
            return self._outcome(COLLAPSED, message)
        return None

    def _measure(self, eps: float) -> tuple[Row, dict[str, float], Attacked | None]:
        """The epoch's row of metrics, the means over its second half, and a validation batch to show."""
        self.sums.reduce(self.fabric)
        mean, tail = self.sums.means(), self.sums.tail_means()
        with self._kept_weights():
            held, attacked = validate(
                self.update, self.held, self.threat.at(eps), derive(self.settings.seed, 0, 0, 1)
            )
            moved = distance(self.model, self.began)
        before = self.history[-1] if self.history else {"sample_steps": 0.0, "seconds": 0.0}
        taken = self.sample_steps - before["sample_steps"]
        row = {
            "epoch": float(self.epoch + 1),
            "eps": eps,
            "lr": self.optimizer.param_groups[0]["lr"],
            "adv_loss": mean["loss"],
            "adv_accuracy": mean["accuracy"],
            "one_class": tail["one_class"],
            **held,
            "weight_distance": moved,
            "sample_steps": float(self.sample_steps),
            "sample_steps_per_second": taken / max(1e-9, self.seconds - before["seconds"]),
        }
        if "adv_loss" in before:  # the first epoch has none before it
            row["loss_change"] = row["adv_loss"] - before["adv_loss"]
        return row, tail, attacked

    def _kept_weights(self) -> AbstractContextManager[None]:
        """The weights that are measured and kept, in the model: their average if there is one."""
        return nullcontext() if self.average is None else self.average.inside(self.model)

    def _gpus(self) -> list[torch.device]:
        return [self.fabric.device] if self.fabric.device.type == "cuda" else []

    def _eps(self) -> float:
        """ε of the next step (overridden)."""
        return self.curriculum.eps_at(self.epoch, (self.step + 1) / self.steps)

    def _trained_eps(self) -> float:
        """ε at the end of this epoch (overridden)."""
        return self.curriculum.eps_at(self.epoch)

    def _lr(self) -> float:
        """Learning rate of the next step (overridden)."""
        done = (self.epoch + self.step / self.steps) / self.curriculum.total_epochs
        return self.settings.optimizer.lr_at(done)

    def _finishing(self, epoch: int) -> bool:
        return epoch >= self.curriculum.total_epochs - self.settings.attack.finish_epochs

    @cached_property
    def _cost(self) -> Cost:
        return Cost(
            curriculum=self.curriculum,
            update=self.update,
            threat=self.threat,
            images=len(self.train),
            held=len(self.held),
            finishing=self._finishing,
        )

    def _planned(self) -> float:
        """The whole training, for the time left (overridden)."""
        return self._cost.planned

    def _done(self) -> float:
        """What is behind us, in the same unit (overridden)."""
        return self._cost.done(self.epoch, self.step / self.steps)

    def _accept(self, eps: float) -> None:
        """The weights as they are now are good, at ε."""
        self.good_eps = eps
        with self._kept_weights():
            self.good = copied(self.model)
        self._write_weights(lambda folder: folder.weights_file)

    def _write_weights(self, place: Callable[[RunFolder], Path]) -> None:
        with self._kept_weights():
            self._write(lambda folder: storage.save_weights(self.model, place(folder)))

    def _keep_good(self) -> None:
        """Leave the last good weights in the model and the folder (the present ones if no epoch
        was good: they are finite, and there is nothing better)."""
        if self.good is not None:
            self.model.load_state_dict(self.good)
        self._write(lambda folder: storage.save_weights(self.model, folder.weights_file))

    def _looked_at(self, watcher: Watcher, outcome: Outcome) -> Outcome:
        """The outcome with a probe of the weights that are kept (overridden)."""
        asked, passes = self.settings.machine.final_probe, self._done()
        found = last_look(asked, self.update, self.held, self.threat.at(outcome.eps), passes=passes)
        if found is None:
            return outcome
        masked = is_masked(found, self.chance)
        outcome = replace(outcome, probe=asdict(found) | {"masked": masked})
        said = probe_message(outcome)
        watcher.say(said)
        return replace(outcome, message=f"{outcome.message}; {said}") if masked else outcome

    def _write(self, act: Callable[[RunFolder], object]) -> None:
        """Something into the run's folder, if there is one, by process 0."""
        folder = self.folder
        if folder is not None:
            in_first(self.fabric, lambda: act(folder))

    def _outcome(self, status: str, message: str) -> Outcome:
        return Outcome(
            status=status,
            message=self.words(message),
            epochs=self.epoch,
            eps=self.good_eps if self.good is not None else self._eps(),
            sample_steps=self.sample_steps,
            seconds=self.seconds,
        )

    def _save(self) -> None:
        """A resume point. All processes call this: the sums are theirs together."""
        if self.folder is None:
            return
        self.sums.reduce(self.fabric)
        if not self.fabric.is_global_zero:
            self.sums = Sums.zero(self.fabric.device)  # process 0 has them: not counted twice
        at, state = (self.epoch, self.step), self._state()
        self._write(lambda folder: checkpoint.save(folder.state, at, state))

    def _state(self) -> dict[str, Any]:
        """What a resume point holds (extended)."""
        return {
            "fingerprint": self.fingerprint,
            "position": [self.epoch, self.step],
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "good": self.good,
            "average": None if self.average is None else self.average.weights,
            "began": self.began if self.step else None,
            "carried": None if self.carried is None else self.carried.levels,
            "sums": self.sums.state(),
            "history": self.history,
            "numbers": [self.sample_steps, self.seconds, self.good_eps],
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Go on from a resume point (extended)."""
        self.epoch, self.step = state["position"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.good = state["good"]
        if self.average is not None:
            self.average.restore(state["average"])
        if self.carried is not None:
            self.carried.levels.copy_(state["carried"])
        if state["began"] is not None:
            self.began = {n: v.to(self.fabric.device) for n, v in state["began"].items()}
        self.history = state["history"]
        self.sample_steps, self.seconds, self.good_eps = state["numbers"]
        if self.fabric.is_global_zero:
            self.sums = Sums.of(state["sums"], self.fabric.device)
