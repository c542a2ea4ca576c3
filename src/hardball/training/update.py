"""One update: attack, loss, gradient. Nothing here waits for the device except the finite check.

Shapes: B examples per update over all processes, of which each takes its share; K classes.
"""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hardball.attacks import PGD
from hardball.attacks.box import perturb_behind
from hardball.data import AUGMENTATIONS, Dataset
from hardball.errors import UserError
from hardball.fronts import Front, bent_front_of
from hardball.isolation import evaluating, untouched
from hardball.losses import LOSSES, Loss, correct, cross_entropy
from hardball.perf import Captured
from hardball.seeding import derive, seed_global_state
from hardball.threats import ThreatModel, gaussian
from hardball.training.atta import Carried
from hardball.training.live import Attacked
from hardball.training.settings import Settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True, kw_only=True)
class Done:
    """What one process saw in one update, as numbers on its device."""

    count: Tensor
    loss: Tensor
    """Sum over the examples of the adversarial cross entropy, whatever the objective."""
    correct: Tensor
    one_class: Tensor
    """Examples of the most predicted class."""
    finite: bool
    attack_steps: int


class Sums:
    """Running sums of an epoch, and of its second half (for the collapse detector)."""

    def __init__(self, values: Tensor) -> None:
        self._values = values  # [2, 4]: (epoch, tail) × (count, loss, correct, one_class)

    @classmethod
    def zero(cls, device: torch.device) -> "Sums":
        # float32 where float64 does not exist (mps)
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return cls(torch.zeros(2, 4, dtype=dtype, device=device))

    @classmethod
    def of(cls, state: list[list[float]], device: torch.device) -> "Sums":
        sums = cls.zero(device)
        sums._values += torch.tensor(state, dtype=torch.float64).to(sums._values)
        return sums

    def state(self) -> list[list[float]]:
        return [[float(v) for v in row] for row in self._values.tolist()]

    def add(self, done: Done) -> None:
        self._values += torch.stack([done.count, done.loss, done.correct, done.one_class])

    def restart_tail(self) -> None:
        self._values[1] = 0

    def reduce(self, fabric: "Fabric") -> None:
        """Add up what all processes saw."""
        if fabric.world_size > 1:
            total = fabric.all_reduce(self._values, reduce_op="sum")
            assert isinstance(total, Tensor)
            self._values = total

    def means(self) -> dict[str, float]:
        return self._means(0)

    def tail_means(self) -> dict[str, float]:
        return self._means(1)

    def so_far(self) -> dict[str, float]:
        means = self._means(0)
        return {"loss": means["loss"], "accuracy": means["accuracy"]}

    def _means(self, row: int) -> dict[str, float]:
        count, loss, right, one_class = self._values[row].tolist()
        count = max(1.0, count)
        return {"loss": loss / count, "accuracy": right / count, "one_class": one_class / count}


class Update:
    """Computes an update (`__call__`) and, once all processes agreed that it is sound, `apply`s it.

    Args:
        wrapped: `Passes` of the model as Fabric set it up, for the gradient of the parameters.
        model: the same model unwrapped, for the attack: its passes are no business of DDP's.
        largest: ε that the training goes up to.
        layout: the model's, to have its images in (see `engine.prefer_channels_last`).
        carried: where the last attacks on the training images ended, if attacks go on from there.
    """

    def __init__(
        self,
        wrapped: nn.Module,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        settings: Settings,
        fabric: "Fabric",
        layout: torch.memory_format,
        carried: Carried | None = None,
        *,
        largest: float = math.inf,
    ) -> None:
        self.wrapped, self.model, self.optimizer = wrapped, model, optimizer
        # noise needs no gradient to the images
        found = None if settings.objective.noisy else bent_front_of(model)
        if found is not None and settings.norm != "linf":
            if not found[0].continuous:
                raise UserError(
                    f"norm={settings.norm} with a front that jumps, through which no gradient leads; "
                    "train in linf, or behind a smooth front: `front_args={steepness: 40}`"
                )
            found = None
        self.front: Front | None = None if found is None else found[0]
        """The attack runs behind it, where there is one."""
        attacked = model if found is None else found[1]
        self.attacked = Captured(attacked) if settings.machine.compile else attacked
        self.settings, self.fabric, self.carried = settings, fabric, carried
        self.largest = largest
        self.layout = layout
        self.generator = torch.Generator(fabric.device)

    def laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=self.layout)

    def attack_at(self, threat: ThreatModel, *, finishing: bool = False) -> PGD | None:
        """The attack for this threat model; none at ε = 0 (standard training), or if the objective
        needs none."""
        eps = float(threat.eps) if self.settings.objective.needs_attack else 0.0
        return self.settings.attack.at(eps, finishing=finishing) if eps > 0 else None

    def attack_steps(self, threat: ThreatModel, *, finishing: bool = False) -> int:
        """Gradient steps per example at this ε; with noise, one for each noisy example."""
        if self.settings.objective.noisy:
            return 1
        starts = self.settings.attack.starts(finishing=finishing)
        return starts * _steps(self.attack_at(threat, finishing=finishing))

    def noised(self, images: Tensor, threat: ThreatModel) -> Tensor:
        """images + N(0, σ²I) with σ = `threat.eps`, not clipped to [0, 1]."""
        return images + float(threat.eps) * gaussian(images, self.generator)

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        threat: ThreatModel,
        seed: int,
        rows: Tensor | None = None,
        first: bool = True,
        finishing: bool = False,
    ) -> Done:
        """Gradients for one batch [B, ...]; every process gets the whole batch and takes its share,
        so the random numbers of an example do not depend on the number of processes.

        Args:
            threat: norm and ε of this update.
            rows: of these images [B], to find what was carried.
            first: their first attack, for which nothing was carried yet.
            finishing: in the last `finish_epochs` of the training, where nothing is carried.
        """
        seed_global_state(derive(seed, self.fabric.global_rank), self.fabric.device)
        self.generator.manual_seed(seed)
        total, attack = len(images), self.attack_at(threat, finishing=finishing)
        rows = None if finishing else rows
        images = AUGMENTATIONS[self.settings.augmentation](images, self.generator)
        starts = self.settings.attack.starts(finishing=finishing)
        batch = self._attacked(attack, images, labels, threat, rows, first, starts)
        self.optimizer.zero_grad(set_to_none=True)
        losses, logits = self._losses(batch, float(threat.eps))
        losses = losses * batch.weight
        # DDP averages over processes, whose shares may differ by one: sum, then scale
        self.fabric.backward(losses.sum() * (self.fabric.world_size / total))
        spent = self.attack_steps(threat, finishing=finishing)
        return self._done(losses.detach(), logits.detach(), batch, spent)

    def _losses(self, batch: "_Batch", eps: float) -> tuple[Tensor, Tensor]:
        """The objective's losses, and the logits by which training is watched: those of the adversarial
        examples, or the worst that bounds allow."""
        objective, labels = self.settings.objective, batch.labels
        if objective.needs_bounds:
            ends = objective.box(batch.clean, batch.adversarial, eps)
            left = 1 - eps / self.largest if self.largest else 0.0
            logits, worst, penalty = self.wrapped(
                batch.adversarial, ends=ends, labels=labels, left=left
            )
            return objective.bounded(logits, labels, worst) + left * penalty, worst
        if not objective.needs_clean:
            (logits,) = self.wrapped(batch.adversarial)
            return objective.loss(logits, labels, None), logits
        clean, logits = self.wrapped(batch.clean, batch.adversarial)
        return objective.loss(logits, labels, clean), logits

    def apply(self) -> None:
        """Take the optimiser's step, and process 0's buffers (batch-norm statistics), so that all
        processes go on with the same network, as they would after a resume."""
        self.optimizer.step()
        if self.fabric.world_size > 1:
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, 0)

    def _attacked(
        self,
        attack: PGD | None,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        rows: Tensor | None,
        first: bool,
        starts: int,
    ) -> "_Batch":
        """This process's share of the batch, attacked."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        mine = slice(rank, None, world) if rank < len(images) else slice(0, 1)
        share, labels = self.laid_out(images[mine]), labels[mine]
        weight = torch.full_like(labels, int(rank < len(images)), dtype=images.dtype)
        if self.settings.objective.noisy:
            noised = self.laid_out(self.noised(images, threat)[mine])
            return _Batch(clean=share, adversarial=noised, labels=labels, weight=weight)
        if attack is None:
            return _Batch(clean=share, adversarial=share, labels=labels, weight=weight)
        carried = self.carried
        if carried is not None and rows is not None and not first:
            start = carried.start(rows, images, threat)
        else:
            random_start = self.settings.attack.random_start
            start = threat.sample(images, self.generator) if random_start else images
        others = [threat.sample(images, self.generator)[mine] for _ in range(starts - 1)]
        found = self.perturb(
            attack, share, labels, threat, *map(self.laid_out, (start[mine], *others))
        )
        if carried is not None and rows is not None:
            carried.keep(rows, share, found, threat, self.fabric)
        return _Batch(clean=share, adversarial=found, labels=labels, weight=weight)

    def perturb(
        self,
        attack: PGD,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        *starts: Tensor,
        watched: bool = False,
    ) -> Tensor:
        """The training attack's final iterate, in the mode and precision the settings ask for: an image
        in ball and box, searched for in the box behind the model's front, if it has one. Of several
        starts, the one that ends at the highest loss.

        Args:
            starts: images in ball and box, one or more.
            watched: climb the attack's own loss, whatever the objective: for the validation part.
        """
        keep_mode = self.settings.attack.mode == "train"
        with nullcontext() if keep_mode else evaluating(self.model), self.fabric.autocast():
            climbed = None if watched or self.settings.attack.loss else self._climbed(images)
            found = [self._search(attack, images, labels, threat, one, climbed) for one in starts]
            if len(found) == 1:
                return found[0]
            judged = climbed or LOSSES[attack.loss]
            with untouched(self.model, random_state=False), torch.no_grad():
                heights = torch.stack([judged(self.model(end), labels) for end in found])
            best = heights.argmax(dim=0)
            return torch.stack(found)[best, torch.arange(len(images), device=best.device)]

    def _search(
        self,
        attack: PGD,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        start: Tensor,
        loss: Loss | None,
    ) -> Tensor:
        """From one start."""
        if self.front is None:
            return attack.perturb(self.attacked, images, labels, threat, start=start, loss=loss)
        return perturb_behind(
            attack, self.front, self.attacked, images, labels, threat, start=start, loss=loss
        )

    def _climbed(self, images: Tensor) -> Loss:
        """The objective's loss for the attack, as a function of logits and labels."""
        objective, clean = self.settings.objective, None
        if objective.needs_clean:
            with untouched(self.model, random_state=False), torch.no_grad():
                clean = self.model(images)
        return lambda logits, labels: objective.climbed(logits, labels, clean)

    def _done(self, losses: Tensor, logits: Tensor, batch: "_Batch", attack_steps: int) -> Done:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        counts = torch.bincount(logits.argmax(dim=1), minlength=logits.shape[1])
        weight, labels = batch.weight, batch.labels
        return Done(
            count=weight.sum(),
            loss=(cross_entropy(logits, labels) * weight).sum(),
            correct=(correct(logits, labels) * weight).sum(),
            one_class=counts.max() * weight.amax(),
            finite=bool(torch.isfinite(losses.sum() + norm)),
            attack_steps=attack_steps,
        )


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """One process's share of an update."""

    clean: Tensor
    adversarial: Tensor
    labels: Tensor
    weight: Tensor
    """[share], 0 for a filler where there are fewer examples than processes: DDP needs everyone to
    take part."""


def validate(
    update: Update, held: Dataset, threat: ThreatModel, seed: int
) -> tuple[Mapping[str, float], Attacked | None]:
    """Clean accuracy, and loss and accuracy under attack at ε (or noise of σ = ε), on the validation
    part; and this process's share of the last batch, if it was attacked.

    Always from the same random starts, so that epochs differ by their weights alone.
    """
    fabric, eps = update.fabric, float(threat.eps)
    noisy = update.settings.objective.noisy
    attack = update.settings.attack.validation_at(eps) if eps > 0 and not noisy else None
    totals = torch.zeros(3, dtype=torch.float64)
    attacked: Attacked | None = None
    update.generator.manual_seed(seed)
    for first in range(0, len(held), 500):
        images, labels = held.images[first : first + 500], held.labels[first : first + 500]
        start = update.noised(images, threat) if noisy else threat.sample(images, update.generator)
        share = slice(fabric.global_rank, None, fabric.world_size)
        labels = labels[share]
        images, start = (update.laid_out(each[share]) for each in (images, start))
        if not len(labels):
            continue
        adversarial = start if noisy else images
        if attack is not None:
            adversarial = update.perturb(attack, images, labels, threat, start, watched=True)
            attacked = Attacked(images=images, examples=adversarial, threat=threat)
        with evaluating(update.model), torch.no_grad(), fabric.autocast():
            clean, moved = update.model(images), update.model(adversarial)
        totals += torch.stack(
            [
                correct(clean, labels).sum(),
                correct(moved, labels).sum(),
                cross_entropy(moved, labels).sum(),
            ]
        ).to(totals)
    if fabric.world_size > 1:
        reduced = fabric.all_reduce(totals.to(fabric.device), reduce_op="sum")
        assert isinstance(reduced, Tensor)
        totals = reduced.cpu()
    clean_right, adv_right, loss = (totals / len(held)).tolist()
    measured = {"val_accuracy": clean_right, "val_adv_accuracy": adv_right, "val_adv_loss": loss}
    return measured, attacked


def _steps(attack: PGD | None) -> int:
    return 0 if attack is None else attack.steps or 0
