"""Everything about a training except the model, the data and the curriculum."""

from dataclasses import dataclass, replace
from typing import Literal

from hardball.attacks import PGD
from hardball.errors import UserError, unknown
from hardball.threats import GEOMETRIES, ThreatModel
from hardball.training.optim import OPTIMIZERS, SCHEDULES

PRECISIONS = ("32-true", "tf32", "bf16-mixed")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a network is trained."""

    norm: str = "linf"
    """Threat model: linf, l2 or l0."""
    steps: int | None = None
    """Steps of the training attack; with step_size unset, each is 2.5·ε/steps."""
    step_size: float | None = None
    """Step size α of the training attack in pixel units; with steps unset, there are 2.5·ε/α."""
    reach: float | None = None
    """Steps × step size ÷ ε of the training attack where step_size is unset (2.5 by default): how far
    its steps could go in all, in radii."""
    direction: str = "steepest"
    """Direction of the training attack's steps: steepest, signed, raw or l2."""
    random_start: bool = True
    """Start the training attack at a random point of the ball."""
    carry: bool = False
    """From the second epoch on start the attack where the last one on the same image ended, moved
    along with ε (ATTA), so that few steps do; takes one byte per pixel of the training set."""
    finish_epochs: int = 0
    """Let so many epochs at the end take finish_steps steps (of 2.5·ε/steps, nothing carried): few
    large steps early, more and smaller ones late."""
    finish_steps: int | None = None
    """Steps of the training attack in the last finish_epochs."""
    attack_mode: Literal["eval", "train"] = "eval"
    """Mode of batch norm and dropout while attacking (the paper's code: train)."""
    batch_size: int = 128
    """Examples per update, over all processes together."""
    optimizer: str = "adam"
    """adam, adamw or sgd."""
    lr: float = 1e-3
    """Learning rate."""
    schedule: str = "constant"
    """Learning rate over time: constant, steps (÷10 at 1/3 and 2/3), linear-tail or cosine."""
    momentum: float = 0.9
    """Momentum of sgd."""
    weight_decay: float = 0.0
    """Weight decay."""
    average: float = 0.0
    """Measure and keep a moving average of the weights with this decay per update (e.g. 0.998)."""
    augment: bool = False
    """Random crops (padding 4) and horizontal flips."""
    validation: int | None = None
    """Training images held out, by seed, for every decision made during training (by default a
    tenth of them, at most 1000)."""
    validation_steps: int | None = None
    """Steps of the attack on the validation part (those of training by default, which flatters where
    they are few)."""
    seed: int = 0
    """Seed of the order, the random starts, the held-out part and the initial weights."""
    on_collapse: Literal["stop", "continue"] = "stop"
    """Stop when the loss stays pinned at that of a constant prediction, or go on regardless."""
    collapse_patience: int = 3
    """Collapsed epochs in a row after which on_collapse acts."""
    save_minutes: float = 5.0
    """Minutes between resume points inside an epoch (one is also made after each epoch)."""
    keep_every: int | None = None
    """Keep the weights of every so many epochs too, in the run's folder epochs/."""
    accelerator: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""
    devices: int = 1
    """Processes, one per device; on the CPU each gets its share of the cores."""
    num_nodes: int = 1
    """Machines (start the same command on each with torchrun or a cluster's launcher)."""
    strategy: str = "auto"
    """Lightning Fabric's strategy; auto takes ddp for several processes."""
    precision: str = "32-true"
    """32-true, tf32 (float32 whose matrix products round to 10 bits, on GPUs that can) or
    bf16-mixed."""
    compile: bool = False
    """Compile the attack's passes into one captured graph (CUDA graphs on a GPU; on a CPU this needs
    a C++ compiler and is seldom faster)."""

    def __post_init__(self) -> None:
        choices = {
            "optimizer": tuple(OPTIMIZERS),
            "schedule": tuple(SCHEDULES),
            "precision": PRECISIONS,
            "attack_mode": ("eval", "train"),
            "on_collapse": ("stop", "continue"),
        }
        for field, allowed in choices.items():
            if getattr(self, field) not in allowed:
                raise unknown(field, getattr(self, field), allowed)
        for field in (
            "batch_size",
            "validation",
            "collapse_patience",
            "devices",
            "num_nodes",
            "keep_every",
            "validation_steps",
            "finish_steps",
        ):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise UserError(f"{field}={value}; allowed is 1 or more")
        if not 0 < self.lr < float("inf"):
            raise UserError(f"lr={self.lr}; allowed is a positive number")
        if self.weight_decay < 0 or not 0 <= self.momentum < 1:
            raise UserError(
                f"weight_decay={self.weight_decay}, momentum={self.momentum}; allowed are "
                "weight_decay ≥ 0 and momentum in [0, 1)"
            )
        if not 0 <= self.average < 1:
            raise UserError(f"average={self.average}; allowed is a number in [0, 1), 0 for none")
        for field in ("seed", "save_minutes"):
            if not getattr(self, field) >= 0:
                raise UserError(f"{field}={getattr(self, field)}; allowed is 0 or more")
        self._check_attack()

    def _check_attack(self) -> None:
        self.attack.at(1.0)
        if self.reach is not None and not 0 < self.reach < float("inf"):
            raise UserError(f"reach={self.reach}; allowed is a positive number, in radii")
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
        if self.carry and self.augment:
            raise UserError(
                "carry with augment: an image moves from epoch to epoch and its perturbation would "
                "not; leave one of them out"
            )
        trainable = [name for name, geometry in GEOMETRIES.items() if geometry.radii[0] == 0]
        if self.norm not in trainable:
            raise unknown("norm to train with", self.norm, trainable)

    @property
    def attack(self) -> PGD:
        """The attack inside training (10 steps if neither steps nor step_size is set)."""
        return PGD(
            steps=10 if self.steps is None and self.step_size is None else self.steps,
            step_size=self.step_size,
            direction=self.direction,
            random_start=self.random_start,
            keep="last",
        )

    def attack_at(self, eps: float, *, finishing: bool = False) -> PGD:
        """The training attack at ε > 0: one step at least.

        Args:
            finishing: in the last `finish_epochs`.
        """
        if finishing:
            return replace(self.attack, steps=self.finish_steps, step_size=None)
        attack = self.attack.at(eps, at_least_one=True)
        if self.reach is None:
            return attack
        assert attack.steps is not None
        return replace(attack, step_size=self.reach * eps / attack.steps)

    def validation_attack_at(self, eps: float) -> PGD:
        """The attack on the validation part at ε > 0: the same in all epochs."""
        if self.validation_steps is None:
            return self.attack_at(eps)
        return replace(self.attack, steps=self.validation_steps, step_size=None)

    def check_target(self, eps: float) -> None:
        """Refuse a target ε outside the threat model, or at which no step would be left.

        Raises:
            UserError: see `ThreatModel` and `PGD.at`.
        """
        ThreatModel(self.norm, eps)
        if eps > 0:
            self.attack.at(eps)
