"""Training along a curriculum that decides after each epoch (`Adaptive`): it measures what the rule
asks for and does what the rule says.

Every decision is made in process 0 from numbers that all processes have summed up, and sent to the
others. The state is part of every resume point, so a resumed run decides alike.
"""

import json
import math
import time
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hardball import storage
from hardball.errors import UserError
from hardball.isolation import evaluating
from hardball.perf import fast
from hardball.runs import Outcome, RunFolder, write_json
from hardball.seeding import derive
from hardball.training.curricula import Adaptive
from hardball.training.curricula.steering import Decision, Evidence, Probe, Record, State
from hardball.training.ema import copied
from hardball.training.logging import Row, Watcher
from hardball.training.loop import Trainer
from hardball.training.messages import search_outcome
from hardball.training.probe import SEED, ProbePlan, probe
from hardball.training.settings import Settings


class Steered(Trainer):
    """A `Trainer` whose next ε, attack and learning rate follow from what the last epoch measured."""

    curriculum: Adaptive
    reported = ()

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.state = self.curriculum.begin()
        self.plan = probe_plan(self.curriculum)
        self.records: list[dict[str, Any]] = []
        self.ladder: list[dict[str, Any]] = []
        self.anchor = self._snapshot()
        if self.curriculum.budget_minutes is not None:
            self._check_minutes(60 * self.curriculum.budget_minutes)

    def _check_minutes(self, budget: float) -> None:
        """Time a few steps of the attack, and refuse a probe that would take longer than the budget.

        Raises:
            UserError: it would; nothing is written yet.
        """
        if self.settings.objective.noisy:
            return  # it has no probe
        attack = self.settings.attack
        threat = self.threat.at(self.curriculum.eps_max)
        some = self.held.rows(slice(0, min(100, len(self.held))))
        timed = replace(attack.at(self.curriculum.eps_max), steps=3)
        with evaluating(self.model), fast(self.model):
            for _ in range(2):  # the first one warms up
                began = time.monotonic()
                moved = timed.perturb(
                    self.model, some.images, some.labels, threat, start=some.images
                )
                moved.sum().item()  # waits for the device
                each = (time.monotonic() - began) / (3 * len(some))
        steps = probe_cost(self.curriculum, self.settings, len(self.held))
        shares = min(self.fabric.world_size, len(some))
        seconds = self.fabric.broadcast(each * steps / shares)
        if seconds > budget:
            raise UserError(
                f"a probe of about {seconds:.0f} seconds ({steps:,} sample-steps) with "
                f"budget_minutes={self.curriculum.budget_minutes:g}; use fewer probe_images, "
                "probe_steps or probe_restarts, or a larger budget"
            )

    # --- where the next step is

    def _goes_on(self) -> bool:
        return self.state.phase != "over"

    def _eps(self) -> float:
        return self.curriculum.eps_of(self.state, (self.step + 1) / self.steps)

    def _finishing(self, epoch: int) -> bool:
        return self._own_attack(self.state)

    def _own_attack(self, state: State) -> bool:
        """The epoch from this state on is one of the finish, which has an attack of its own."""
        return state.phase == "finish" and self.settings.attack.finish_epochs > 0

    def _trained_eps(self) -> float:
        return self.state.trial

    def _lr(self) -> float:
        factor = self.curriculum.lr_factor(self.state, self.step / self.steps)
        return self.settings.optimizer.lr * factor

    def _planned(self) -> float:
        """The budget, or what is used if every ε is learned at once."""
        budget, rule = self.curriculum.budget_steps, self.curriculum
        if budget is not None:
            return float(budget)
        rungs = (rule.eps_max - rule.start) / rule.first_increment
        own = self.settings.attack.finish_epochs > 0
        return rungs * self._epoch_cost() + rule.finish * self._epoch_cost(finishing=own)

    def _done(self) -> float:
        """Of the budget, which counts sample-steps."""
        return float(self.sample_steps)

    # --- what follows from an epoch

    def _judge(
        self, watcher: Watcher, row: Row, loss: float, *, is_constant: bool
    ) -> Outcome | None:
        self._keep_epoch()
        seen = Evidence(
            finite=math.isfinite(row["val_adv_loss"]),
            loss=row["val_adv_loss"] if math.isfinite(row["val_adv_loss"]) else 0.0,
            accuracy=row["val_adv_accuracy"],
            collapsed=bool(row["collapsed"]),
            one_class=row["one_class"],
            floor=self.floor,
            chance=self.chance,
        )
        return self._decided(watcher, seen, row)

    def _on_non_finite(self, watcher: Watcher) -> Outcome | None:
        self.epoch, self.step = self.epoch + 1, 0  # other random numbers from here on
        self.sums = type(self.sums).zero(self.fabric.device)
        return self._decided(watcher, Evidence(finite=False, floor=self.floor, chance=self.chance))

    def _decided(self, watcher: Watcher, seen: Evidence, row: Row | None = None) -> Outcome | None:
        """Ask for a decision on what was seen, act on it, record it; the outcome if it is the last."""
        before = self.state
        planned = self._epochs_planned()
        by_clock = self._epochs_in_time()
        seen = replace(
            seen,
            epochs_left=min((one for one in (planned, by_clock) if one is not None), default=None),
            epochs_planned=planned,
            finish_price=self._finish_price(),
        )
        seen = self.fabric.broadcast(seen)
        # noise is drawn, not searched for: there is no better search to compare it with
        if not self.settings.objective.noisy and self.curriculum.asks_probe(before, seen):
            seen = replace(seen, probe=self.fabric.broadcast(self._probed()))
        self.state, decision = self.curriculum.decide(before, seen)
        decision = replace(decision, reason=self.words(decision.reason))
        if decision.learned:
            self._keep_rung(before, seen, row)
        if decision.restore:
            self._go_back()
        self._use_attack()
        record = Record(
            epoch=self.epoch, state=before, evidence=seen, decision=decision, next=self.state
        )
        self.records.append(record.as_json())
        self._write(self._write_records)
        self._say(watcher, decision)
        self._save()
        return self._end() if self.state.phase == "over" else None

    def _say(self, watcher: Watcher, decision: Decision) -> None:
        if decision.action not in ("hold", "raise"):
            following = f" → ε={self.state.trial:g}" if self.state.phase != "over" else ""
            watcher.say(f"{decision.action}: {decision.reason}{following}")

    def _end(self) -> Outcome:
        status, message = search_outcome(self.state, self.curriculum, self.ladder)
        found = self._outcome(status, message)
        return replace(
            found,
            eps=self.state.learned if self.state.learned is not None else self.curriculum.start,
            failed_eps=self.state.failed,
            failed_how=self.state.how,
        )

    def _looked_at(self, watcher: Watcher, outcome: Outcome) -> Outcome:
        # every ε above 0 that was learned has been probed, and was not masked
        rung = next((one for one in self.ladder if one["eps"] == outcome.eps), {})
        found = rung.get("probe")
        return outcome if found is None else replace(outcome, probe=found | {"masked": False})

    def _probed(self) -> Probe:
        seed = derive(self.settings.seed, 0, 0, SEED)
        threat = self.threat.at(self.state.trial)
        with self._kept_weights():
            found = probe(self.plan, self.update, self.held, threat, seed=seed)
        self.sample_steps += found.sample_steps
        return found

    # --- budgets

    def _epoch_cost(self, *, finishing: bool = False) -> int:
        """Sample-steps; the attack costs the same at every ε unless its step size is fixed."""
        threat = self.threat.at(self.curriculum.eps_max)
        return self.update.attack_steps(threat, finishing=finishing) * len(self.train)

    def _finish_price(self) -> float:
        """An epoch of the finish, with its own attack, in epochs of the search, which have a probe each."""
        if self.state.phase == "finish" or not self.settings.attack.finish_epochs:
            return 1.0
        usual = self._epoch_cost() + self._probe_cost
        return self._epoch_cost(finishing=True) / max(usual, 1)

    @property
    def _probe_cost(self) -> int:
        return probe_cost(self.curriculum, self.update.settings, len(self.held))

    def _epochs_planned(self) -> float | None:
        """Epochs like this one that the budgets of steps and epochs pay for, with a probe each and one at
        the end; None: there are none."""
        rule, left = self.curriculum, []
        if rule.epochs is not None:
            left.append(float(rule.epochs - self.epoch))
        if rule.budget_steps is not None:
            last = self._probe_cost
            each = 0 if self.state.phase == "finish" else last
            rest = rule.budget_steps - self.sample_steps - each - last
            cost = self._epoch_cost(finishing=self._finishing(self.epoch))
            left.append(rest / (cost + each))
        return min(left, default=None)

    def _epochs_in_time(self) -> float | None:
        """… and the budget of wall time."""
        minutes = self.curriculum.budget_minutes
        if minutes is None:
            return None
        return (60 * minutes - self.seconds) / max(self._seconds_of_an_epoch(), 1e-9)

    def _seconds_of_an_epoch(self) -> float:
        """The last one, with the probe before it, or the mean, whichever is more."""
        ends = [0.0, *(row["seconds"] for row in self.history)]
        last = ends[-1] - ends[-2] if len(ends) > 1 else 0.0
        return max(last, self.seconds / self.epoch)

    # --- weights

    def _snapshot(self) -> dict[str, Any]:
        """Everything that training goes on from."""
        return {
            "model": copied(self.model),
            "optimizer": deepcopy(self.optimizer.state_dict()),
            "average": None if self.average is None else _cloned(self.average.weights),
        }

    def _go_back(self) -> None:
        self.model.load_state_dict(self.anchor["model"])
        self.optimizer.load_state_dict(deepcopy(self.anchor["optimizer"]))
        if self.average is not None:
            self.average.restore(self.anchor["average"])

    def _use_attack(self) -> None:
        attack = self.settings.attack.stronger(self.state.doublings)
        self.update.settings = replace(self.settings, attack=attack)

    def _keep_rung(self, state: State, seen: Evidence, row: Row | None) -> None:
        """These weights, trained in this state, are the ones to go back to, and a rung of the ladder."""
        assert row is not None
        eps, threat = state.trial, self.threat.at(state.trial)
        self.anchor = self._snapshot()
        self._accept(eps)
        name = f"{eps:g}"
        self._write_weights(lambda folder: folder.rung_file(name))
        rung = {
            "eps": eps,
            "epoch": self.epoch,
            "attack_steps": self.update.attack_steps(threat, finishing=self._own_attack(state)),
            "val_accuracy": row["val_accuracy"],
            "val_adv_accuracy": seen.accuracy,
            "val_adv_loss": seen.loss,
            "probe": None if seen.probe is None else asdict(seen.probe),
            "sample_steps": self.sample_steps,
            "weights": str(Path("rungs") / f"{name}.safetensors"),
        }
        self.ladder = [*(r for r in self.ladder if r["eps"] != eps), rung]

    # --- files and resume points

    def _write_records(self, folder: RunFolder) -> None:
        """Whole files, written anew: a resumed run leaves no line twice."""
        lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in self.records)
        storage.write_atomically(folder.decisions_file, lines.encode())
        write_json(folder.ladder_file, {"norm": self.settings.norm, "rungs": self.ladder})

    def _state(self) -> dict[str, Any]:
        return super()._state() | {
            "steered": {
                "state": asdict(self.state),
                "anchor": self.anchor,
                "records": self.records,
                "ladder": self.ladder,
            }
        }

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        found = state["steered"]
        self.state = State.of(found["state"])
        self.anchor, self.records, self.ladder = found["anchor"], found["records"], found["ladder"]
        self._use_attack()


def probe_plan(curriculum: Adaptive) -> ProbePlan:
    """The probe that a curriculum asks for."""
    return ProbePlan(
        images=curriculum.probe_images,
        steps=curriculum.probe_steps,
        restarts=curriculum.probe_restarts,
    )


def probe_cost(curriculum: Adaptive, settings: Settings, held: int) -> int:
    """Sample-steps of a probe at most; training with noise has none."""
    if settings.objective.noisy:
        return 0
    plan = probe_plan(curriculum)
    return plan.cost(settings.attack, curriculum.eps_max, settings.norm, held)


def check_search(curriculum: Adaptive, settings: Settings, train: int, held: int) -> None:
    """See that settings and budget allow the search, before anything is trained or written.

    Args:
        train, held: examples to train on and to validate with.

    Raises:
        UserError: a schedule or a finish that needs to know the length, a budget that one epoch and
            one probe exceed, an ℓ0 ball that would not grow.
    """
    if settings.optimizer.schedule != "constant":
        raise UserError(
            f"schedule={settings.optimizer.schedule} with an adaptive curriculum, whose length is not "
            "known beforehand; use schedule=constant: its finish lowers the learning rate"
        )
    if settings.attack.finish_epochs not in (0, curriculum.finish):
        raise UserError(
            f"finish_epochs={settings.attack.finish_epochs} with an adaptive curriculum whose finish "
            f"has {curriculum.finish}; give the same number to both, or leave finish_epochs out"
        )
    if settings.norm == "l0" and curriculum.least_increment < 1:
        raise UserError(
            f"resolution={curriculum.least_increment:g} with the norm l0, whose ε counts colour "
            "values; use increment and resolution of 1 or more"
        )
    if curriculum.budget_steps is None:
        return
    attack = settings.attack.at(curriculum.eps_max)
    epoch = train * (1 if settings.objective.noisy else attack.steps or 0)
    probed = probe_cost(curriculum, settings, held)
    if probed > curriculum.budget_steps:
        raise UserError(
            f"a probe of up to {probed:,} sample-steps with budget_steps={curriculum.budget_steps}; "
            "use fewer probe_images, probe_steps or probe_restarts, or a larger budget"
        )
    if epoch + probed > curriculum.budget_steps:
        raise UserError(
            f"budget_steps={curriculum.budget_steps} for an epoch of {epoch:,} sample-steps and a "
            f"probe of up to {probed:,}; use a larger budget"
        )


@torch.no_grad()
def _cloned(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in weights.items()}
