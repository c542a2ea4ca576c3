"""The attack inside training."""

from dataclasses import dataclass, replace
from typing import Literal

from hardball.attacks import PGD, DecayingPGD
from hardball.errors import UserError, unknown
from hardball.losses import LOSSES


@dataclass(frozen=True, kw_only=True)
class TrainingAttack:
    """The attack inside training: PGD, whose final iterate is trained on.

    Example:
        >>> hb.Settings(attack=hb.TrainingAttack(steps=2, carry=True)).attack.carry
        True
    """

    steps: int | None = None
    """Steps of the training attack; with step_size unset, each is 2.5·ε/steps (10 if both are unset)."""
    step_size: float | None = None
    """Step size α of the training attack in pixel units; with steps unset, there are 2.5·ε/α."""
    reach: float | None = None
    """Steps × step size ÷ ε of the training attack where step_size is unset (2.5 by default): how far
    its steps could go in all, in radii."""
    direction: str = "steepest"
    """Direction of the training attack's steps: steepest, signed, raw or l2."""
    loss: str | None = None
    """Loss that the training attack climbs: cross_entropy, margin or dlr; by default the objective's."""
    random_start: bool = True
    """Start the training attack at a random point of the ball."""
    carry: bool = False
    """From the second epoch on start the attack where the last one on the same image ended, moved
    along with ε (ATTA), so that few steps do; takes one byte per pixel of the training set."""
    finish_epochs: int = 0
    """Let so many epochs at the end take finish_steps steps (of finish_reach·ε/steps, nothing carried):
    few large steps early, more and smaller ones late. With an adaptive curriculum: as many as its
    finish."""
    finish_steps: int | None = None
    """Steps of the training attack in the last finish_epochs."""
    finish_reach: float | None = None
    """Steps × step size ÷ ε in the last finish_epochs (2.5 by default)."""
    step_decay: bool = False
    """Let the step size fall linearly over the steps, with the same sum: large steps first, small ones
    last."""
    restarts: int = 1
    """Starts of the training attack, each of all its steps; the end of highest loss is trained on.
    Behind a front that jumps, two starts of half the steps find more than one of all."""
    finish_restarts: int | None = None
    """The same in the last finish_epochs (by default restarts)."""
    mode: Literal["eval", "train"] = "eval"
    """Mode of batch norm and dropout while attacking (the paper's code: train)."""
    validation_steps: int | None = None
    """Steps of the attack on the validation part (those of training by default, which flatters where
    they are few)."""
    validation_leap: bool = False
    """Let these steps fall from 2ε to 0, in place of 2.5·ε in all: at a large ε they find more."""

    def __post_init__(self) -> None:
        if self.mode not in ("eval", "train"):
            raise unknown("attack mode", self.mode, ("eval", "train"))
        if self.loss is not None and self.loss not in LOSSES:
            raise unknown("loss", self.loss, LOSSES)
        for field in ("validation_steps", "finish_steps", "restarts", "finish_restarts"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise UserError(f"{field}={value}; allowed is 1 or more")
        if max(self.restarts, self.finish_restarts or 1) > 1 and not self.random_start:
            raise UserError(
                f"restarts={self.restarts} and finish_restarts={self.finish_restarts} without a random "
                "start would repeat one search; allow the random start or use 1"
            )
        for field in ("finish_restarts", "finish_reach"):
            value = getattr(self, field)
            if value is not None and not self.finish_epochs:
                raise UserError(
                    f"{field}={value} with finish_epochs=0; give finish_epochs and finish_steps too, or "
                    "leave it out"
                )
        self.pgd.at(1.0)
        for field in ("reach", "finish_reach"):
            value = getattr(self, field)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{field}={value}; allowed is a positive number, in radii")
        if self.reach is not None and self.step_size is not None:
            raise UserError(
                f"reach={self.reach:g} with step_size={self.step_size:g}, which it would set; leave "
                "one of them out"
            )
        if self.finish_epochs < 0:
            raise UserError(f"finish_epochs={self.finish_epochs}; allowed is 0 or more")
        if bool(self.finish_epochs) != (self.finish_steps is not None):
            raise UserError(
                f"finish_epochs={self.finish_epochs} with finish_steps={self.finish_steps}; give both, "
                "or neither (0 and null)"
            )

    @classmethod
    def of(cls, attack: "PGD | TrainingAttack") -> "TrainingAttack":
        """The training attack with the settings of a PGD.

        Raises:
            UserError: a PGD with restarts, which no training attack has.
        """
        if isinstance(attack, TrainingAttack):
            return attack
        if attack.restarts > 1:
            raise UserError(
                f"restarts={attack.restarts} in a training attack, which has one start; use restarts=1"
            )
        return cls(
            steps=attack.steps,
            step_size=attack.step_size,
            direction=attack.direction,
            random_start=attack.random_start,
            loss=None if attack.loss == "cross_entropy" else attack.loss,
        )

    @property
    def pgd(self) -> PGD:
        """PGD with these settings, its steps not yet fixed for an ε."""
        kind = DecayingPGD if self.step_decay else PGD
        return kind(
            steps=10 if self.steps is None and self.step_size is None else self.steps,
            step_size=self.step_size,
            direction=self.direction,
            loss=self.loss or "cross_entropy",
            random_start=self.random_start,
            keep="last",
        )

    def starts(self, *, finishing: bool = False) -> int:
        """Searches for each image, of which the best counts."""
        return self.restarts if not finishing else self.finish_restarts or self.restarts

    def at(self, eps: float, *, finishing: bool = False) -> PGD:
        """The attack at ε > 0: one step at least.

        Args:
            finishing: in the last `finish_epochs`.
        """
        if finishing:
            attack = replace(self.pgd, steps=self.finish_steps, step_size=None)
        else:
            attack = self.pgd.at(eps, at_least_one=True)
        reach = self.finish_reach if finishing else self.reach
        if reach is None:
            return attack
        assert attack.steps is not None
        return replace(attack, step_size=reach * eps / attack.steps)

    def stronger(self, doublings: int) -> "TrainingAttack":
        """The same reach in 2^doublings times as many, smaller steps."""
        if doublings == 0:
            return self
        finer = self.pgd.finer(doublings)
        last = self.finish_steps
        if last is not None and finer.steps is not None:
            last = max(last, finer.steps)  # the last epochs' attack is no weaker than the others'
        return replace(self, steps=finer.steps, step_size=finer.step_size, finish_steps=last)

    def validation_at(self, eps: float) -> PGD:
        """The attack on the validation part at ε > 0: the same in all epochs, on the cross entropy."""
        attack = replace(self.at(eps), loss="cross_entropy")
        if self.validation_leap:
            return DecayingPGD(
                steps=self.validation_steps or attack.steps,
                direction=self.direction,
                random_start=self.random_start,
                keep="last",
                leap=True,
            )
        if self.validation_steps is None:
            return attack
        return replace(attack, steps=self.validation_steps, step_size=None)
