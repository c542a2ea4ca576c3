"""What a training costs, in forward and backward passes of one image: for the time left."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from hardball.threats import ThreatModel
from hardball.training.curricula import Curriculum
from hardball.training.update import Update

FORWARD = 1 / 3
"""A forward pass alone, as a share of both."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of each epoch of a curriculum whose ε are known beforehand."""

    curriculum: Curriculum
    update: Update
    threat: ThreatModel
    images: int
    """In an epoch."""
    held: int
    """In the validation part."""
    finishing: Callable[[int], bool]
    """The epoch is one of the last, which have an attack of their own."""

    @cached_property
    def planned(self) -> float:
        """All epochs."""
        return sum(self._epoch(epoch) for epoch in range(self.curriculum.total_epochs))

    def done(self, epoch: int, share: float) -> float:
        """The epochs before `epoch`, counted from 0, and that share of its training."""
        before = sum(self._epoch(e) for e in range(epoch))
        running = share * self._training(epoch) if epoch < self.curriculum.total_epochs else 0.0
        return before + running

    def _epoch(self, epoch: int) -> float:
        eps = self.curriculum.eps_at(epoch)
        settings = self.update.settings
        attacked = eps > 0 and not settings.objective.noisy
        attack = settings.attack.validation_at(eps) if attacked else None
        steps = (attack.steps or 0) if attack is not None else 0
        return self._training(epoch) + (steps + FORWARD) * self.held

    def _training(self, epoch: int) -> float:
        """The attack's passes, and the update's."""
        threat = self.threat.at(self.curriculum.eps_at(epoch))
        return (
            self.update.attack_steps(threat, finishing=self.finishing(epoch)) + 1.0
        ) * self.images
