"""Everything about a training except the model, the data and the curriculum: composed of parts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self, get_type_hints

from hardball import names
from hardball.attacks import PGD
from hardball.data import AUGMENTATIONS, Dataset, split_validation
from hardball.errors import UserError, unknown
from hardball.threats import GEOMETRIES, ThreatModel
from hardball.training.attack import TrainingAttack
from hardball.training.machine import Machine
from hardball.training.objectives import Adversarial, Objective, objective_from, objective_spec
from hardball.training.optim import Optimizer
from hardball.training.stopping import Stopping

PARTS: dict[str, type[Any]] = {
    "attack": TrainingAttack,
    "optimizer": Optimizer,
    "stopping": Stopping,
    "machine": Machine,
}
"""The parts with fixed fields. The fields of `objective` depend on its name."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a network is trained.

    Example:
        >>> how = hb.Settings(batch_size=64, optimizer=hb.Optimizer(lr=2e-3), seed=1)
        >>> how.objective
        Adversarial(label_smoothing=0.0)
    """

    norm: str = "linf"
    """Threat model: linf, l2 or l0 (always l2 in training with noise, whose certificates are in it)."""
    attack: TrainingAttack = field(default_factory=TrainingAttack)
    objective: Objective = field(default_factory=Adversarial)
    optimizer: Optimizer = field(default_factory=Optimizer)
    stopping: Stopping = field(default_factory=Stopping)
    machine: Machine = field(default_factory=Machine)
    batch_size: int = 128
    """Examples per update, over all processes together."""
    augment: bool | str = False
    """Random changes of training images: none (false), crops with padding 4 and horizontal flips
    (true); for grey images shifts (by a pixel), affine (shifts, rotations and scalings) or affine-sharp
    (made as sharp again as MNIST is)."""
    validation: int | None = None
    """Training images held out, by seed, for every decision made during training (by default a
    tenth of them, at most 1000)."""
    seed: int = 0
    """Seed of the order, the random starts, the held-out part and the initial weights."""
    validation_seed: int | None = None
    """Seed of the held-out part, where it is not `seed`: that of the run that is extended, so that
    nothing is held out which its weights were trained on."""

    def __post_init__(self) -> None:
        if self.augmentation not in AUGMENTATIONS:
            raise unknown("augmentation", self.augment, ("true", "false", *AUGMENTATIONS))
        for name in ("batch_size", "validation"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name}={value}; allowed is 1 or more")
        for name in ("seed", "validation_seed"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 2**63:
                raise UserError(f"{name}={value}; allowed is 0 or more, below 2⁶³")
        if self.attack.carry and self.augmentation != "none":
            raise UserError(
                "carry with augment: an image moves from epoch to epoch and its perturbation would "
                "not; leave one of them out"
            )
        if self.objective.needs_clean and not self.attack.random_start and self.attack.loss is None:
            raise UserError(
                f"random_start=False with {type(self.objective).__name__}, whose attack may have no "
                "gradient at the image itself; allow the random start"
            )
        if self.objective.noisy:
            self._check_noise()
        if self.objective.needs_bounds and self.norm != "linf":
            raise UserError(
                f"norm={self.norm} with {type(self.objective).__name__}, whose bounds are those of "
                "linf; use norm=linf, or another objective"
            )
        trainable = [name for name, geometry in GEOMETRIES.items() if geometry.radii[0] == 0]
        if self.norm not in trainable:
            raise unknown("norm to train with", self.norm, trainable)

    def _check_noise(self) -> None:
        """Refuse what only an attack could use.

        Raises:
            UserError: a field of the attack that is not its default, or the norm l0.
        """
        usual = TrainingAttack()
        for name, value in asdict(self.attack).items():
            if value != getattr(usual, name):
                raise UserError(
                    f"{name}={value} in training with noise, where no attack runs; leave it out, or "
                    "train with `eps` and without noise"
                )
        if self.norm not in ("linf", "l2"):
            raise UserError(
                f"norm={self.norm} in training with noise, whose certificates are in l2; leave it out"
            )
        object.__setattr__(self, "norm", "l2")  # what config.yaml says: linf was no choice

    @property
    def augmentation(self) -> str:
        """A key of `AUGMENTATIONS`. (The field is kept as it is given: it is part of a run's identity.)"""
        if isinstance(self.augment, bool):
            return "crops" if self.augment else "none"
        return self.augment

    @property
    def held_out_by(self) -> int:
        """The seed of the held-out part."""
        return self.seed if self.validation_seed is None else self.validation_seed

    def held_of(self, whole: int) -> int:
        """How many of so many training images are held out."""
        return self.validation or max(1, min(1000, whole // 10))

    def hold_out(self, data: Dataset) -> tuple[Dataset, Dataset]:
        """(training part, validation part)

        Raises:
            UserError: nothing would be left to train on.
        """
        return split_validation(data, self.held_of(len(data)), self.held_out_by)

    def check_target(self, eps: float) -> None:
        """Refuse a target ε outside the threat model, or at which no step would be left.

        Raises:
            UserError: see `ThreatModel` and `PGD.at`.
        """
        ThreatModel(self.norm, eps)
        if eps > 0 and not self.objective.noisy:
            self.attack.pgd.at(eps)
        if eps == 0 and self.objective.noisy:
            raise UserError("noise=0; allowed is a σ above 0 (`eps=0` is training without noise)")

    def given(
        self, *, attack: PGD | TrainingAttack | None = None, objective: Objective | None = None
    ) -> Self:
        """The same with another attack or objective, where one is given."""
        found = self if attack is None else replace(self, attack=TrainingAttack.of(attack))
        return found if objective is None else replace(found, objective=objective)

    def as_config(self) -> dict[str, Any]:
        """Nested plain values: what config.yaml says."""
        parts = {name: asdict(getattr(self, name)) for name in PARTS}
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | parts | {"objective": objective_spec(self.objective)}

    @classmethod
    def of(cls, config: Mapping[str, Any], *, trusted: bool = True) -> Self:
        """The settings that `as_config` describes; other keys are left alone.

        Args:
            trusted: False where a file names the objective, and not the user.

        Raises:
            UserError: values that are refused, keys that do not exist.
            Untrusted: an objective of somebody's own code, unasked.
        """
        known = {f.name for f in fields(cls)} - {"objective", *PARTS}
        plain = {name: config[name] for name in known if name in config}
        hints = get_type_hints(cls)
        names.check_types("settings", {name: hints[name] for name in known}, plain)
        names.check_types("settings", dict.fromkeys((*PARTS, "objective"), dict | None), config)
        parts = {
            name: names.made(name, name, part, **(config.get(name) or {}))
            for name, part in PARTS.items()
        }
        objective = objective_from(
            config.get("objective") or {"name": "adversarial"}, trusted=trusted
        )
        return cls(**plain, **parts, objective=objective)
