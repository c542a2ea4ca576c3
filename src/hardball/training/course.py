"""A curriculum in a training loop of one's own: ε for every step, and what an epoch's result means."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from hardball.attacks import PGD
from hardball.errors import UserError
from hardball.training.curricula import Adaptive, Curriculum
from hardball.training.curricula.base import check_course
from hardball.training.curricula.steering import Decision, Evidence, Probe, State
from hardball.training.stopping import (
    collapsed,
    constant_loss,
    good_before_increase,
    sudden_increase,
)


@dataclass(kw_only=True)
class Course:
    """Where a training is on its curriculum, for loops that hardball does not run.

    ::

        course = hb.Course(curriculum=hb.Adaptive(0.45), labels=train_labels, classes=10)
        while course.running:
            for step, (images, labels) in enumerate(loader):
                eps = course.eps((step + 1) / len(loader))
                moved = course.attack(attack).perturb(model, images, labels, hb.LInf(eps))
                ...  # one update on `moved`
            decision = course.see(logits, labels)  # of validation images under the attack
            if decision.learned:
                good = copy.deepcopy(model.state_dict())
            if decision.restore:
                model.load_state_dict(good)

    It holds no model and no optimiser: `Decision` says what to do with them. `state_dict` is plain
    values for your own checkpoint.

    Example:
        >>> ramp = hb.Iterative(0.4, ramp_epochs=4)
        >>> course = hb.Course(curriculum=ramp, labels=test.labels, classes=10)
        >>> course.eps()
        0.1
        >>> decision = course.see(model(test.images), test.labels)
        >>> course.eps()
        0.2
    """

    curriculum: Curriculum
    """How ε moves."""
    labels: Tensor
    """Of the training part, int64 [N]: what a constant prediction is worth."""
    classes: int
    """K."""
    patience: int = 3
    """Collapsed epochs in a row after which a curriculum without a rule of its own ends."""
    epoch: int = field(default=0, init=False)
    """Epochs seen."""
    losses: list[float] = field(default_factory=list, init=False)
    """Validation adversarial loss of each."""
    running: bool = field(default=True, init=False)
    """Another epoch follows."""
    steered: State | None = field(default=None, init=False)
    """Of an adaptive curriculum: where its search is."""
    _collapsed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.labels.numel() == 0 or self.classes < 2:
            raise UserError(
                f"`labels` of {self.labels.numel()} examples with `classes={self.classes}`; pass the "
                "labels of the training part and 2 classes or more"
            )
        if isinstance(self.curriculum, Adaptive):
            self.steered = self.curriculum.begin()
        else:
            check_course(self.curriculum)

    def eps(self, fraction: float = 1.0) -> float:
        """ε of a training step.

        Args:
            fraction: share of the epoch that is done after the step, in (0, 1].
        """
        if isinstance(self.curriculum, Adaptive):
            assert self.steered is not None
            return self.curriculum.eps_of(self.steered, fraction)
        return self.curriculum.eps_at(self.epoch, fraction)

    def attack(self, attack: PGD) -> PGD:
        """The training attack as the curriculum wants it now: stronger where masking was found."""
        return attack if self.steered is None else attack.finer(self.steered.doublings)

    def lr_factor(self, fraction: float = 0.0) -> float:
        """Factor on your learning rate, `fraction` ∈ [0, 1) into the epoch."""
        if isinstance(self.curriculum, Adaptive):
            assert self.steered is not None
            return self.curriculum.lr_factor(self.steered, fraction)
        return 1.0

    def see(
        self,
        logits: Tensor,
        labels: Tensor,
        *,
        probe: Callable[[], Tensor] | None = None,
    ) -> Decision:
        """Judge the epoch that has just ended.

        Args:
            logits: [n, K] of validation images under the training attack at ε = `eps()`.
            labels: theirs, int64 [n].
            probe: called only if the curriculum asks for it: logits of the same images under a
                stronger attack, each the worst that it found. Without it an adaptive curriculum
                believes the training attack.

        Returns:
            What to do: `learned` (these weights are good: keep a copy), `restore` (go back to the
            copy and to the optimiser's state that belongs to it), `action` and `reason`. After
            action "end" `running` is False.

        Raises:
            UserError: logits and labels of different lengths, or an epoch after the end.
        """
        if not self.running:
            raise UserError("the curriculum has ended; start another Course")
        if logits.ndim != 2 or len(logits) != len(labels) or not len(labels):
            raise UserError(
                f"`logits` of shape {list(logits.shape)} for {len(labels)} labels; pass [n, K] and [n]"
            )
        seen = self._evidence(logits.detach().float(), labels)
        if isinstance(self.curriculum, Adaptive):
            decision = self._steered(self.curriculum, seen, labels, probe)
        else:
            decision = self._judged(seen)
        self.epoch += 1
        self.running = decision.action != "end"
        return decision

    def _evidence(self, logits: Tensor, labels: Tensor) -> Evidence:
        loss = float(F.cross_entropy(logits, labels))
        predicted = logits.argmax(1)
        one_class = float(predicted.bincount(minlength=self.classes).max()) / len(labels)
        counts = self.labels.bincount(minlength=self.classes)
        floor = constant_loss(self.labels, self.classes)
        finite = math.isfinite(loss)
        return Evidence(
            finite=finite,
            loss=loss if finite else 0.0,
            accuracy=float((predicted == labels).float().mean()),
            collapsed=finite and collapsed(loss, one_class, floor),
            one_class=one_class,
            floor=floor,
            chance=float(counts.max()) / int(counts.sum()),
        )

    def _steered(
        self,
        rule: Adaptive,
        seen: Evidence,
        labels: Tensor,
        probe: Callable[[], Tensor] | None,
    ) -> Decision:
        assert self.steered is not None
        if rule.epochs is not None:
            left = float(rule.epochs - self.epoch - 1)
            seen = replace(seen, epochs_left=left, epochs_planned=left)
        if probe is not None and rule.asks_probe(self.steered, seen):
            right = float((probe().argmax(1) == labels).float().mean())
            seen = replace(
                seen,
                probe=Probe(
                    n=len(labels),
                    trained=seen.accuracy,
                    accuracy=min(right, seen.accuracy),
                    by={"probe": right},
                    sample_steps=0,
                ),
            )
        self.steered, decision = rule.decide(self.steered, seen)
        return decision

    def _judged(self, seen: Evidence) -> Decision:
        """What ends a training along a curriculum that knows its length."""
        at = f"ε={self.eps():g}: validation loss {seen.loss:.3f}, accuracy {seen.accuracy:.1%}"
        if not seen.finite:
            return Decision(action="end", reason="the loss is no finite number", restore=True)
        self.losses.append(seen.loss)
        self._collapsed = self._collapsed + 1 if seen.collapsed else 0
        if self._collapsed >= self.patience:
            return Decision(action="end", reason=f"{at}: collapsed", restore=True)
        if self.curriculum.may_stop and sudden_increase(self.losses, self.classes) is not None:
            return Decision(action="end", reason=f"{at}: a sudden increase", restore=True)
        last = self.epoch + 1 >= self.curriculum.total_epochs
        rising = self.curriculum.may_stop and not good_before_increase(self.losses, self.classes)
        return Decision(
            action="end" if last else "hold",
            reason=at,
            learned=not seen.collapsed and not rising,
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "epoch": self.epoch,
            "losses": list(self.losses),
            "running": self.running,
            "collapsed": self._collapsed,
            "steered": None if self.steered is None else vars(self.steered).copy(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.epoch, self.running = state["epoch"], state["running"]
        self.losses, self._collapsed = list(state["losses"]), state["collapsed"]
        self.steered = None if state["steered"] is None else State.of(state["steered"])
