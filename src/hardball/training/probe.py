"""A probe: are the weights as robust as the training attack says?

Attacks with more and smaller steps, on the cross entropy and on the margin, each from starts of its
own, and a search without gradients among the corners of the ball, on some images of the validation
part. Where the ball has no corners (other norms than ℓ∞), random perturbations take its place.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hardball.attacks import PGD, Attack, BehindFront, BruteForce, CornerSearch
from hardball.attacks.box import NORMS
from hardball.data import Dataset
from hardball.isolation import evaluating
from hardball.losses import correct
from hardball.seeding import derive, generators
from hardball.threats import ThreatModel
from hardball.training.attack import TrainingAttack
from hardball.training.curricula.steering import Probe
from hardball.training.update import Update

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SEED = 2
"""Last part of the path of a probe's seed; the validation attack has 1."""

QUERIES = 148
"""Of the search among corners: each costs a third of a sample-step."""

SAMPLES = 99
"""Random perturbations of an image: each costs the same."""

MORE = 5
"""The probe takes so many times the steps of the training attack, unless its own number is given."""


@dataclass(frozen=True, kw_only=True)
class ProbePlan:
    """What a probe does."""

    images: int
    steps: int | None
    restarts: int

    def attacks(self, training: PGD, norm: str) -> dict[str, Attack]:
        """The attacks of the probe, beside the training attack at this ε."""
        steps = self.steps or MORE * (training.steps or 1)
        found: dict[str, Attack] = {
            "cross_entropy": PGD(steps=steps, restarts=self.restarts),
            "margin": PGD(steps=steps, restarts=self.restarts, loss="margin"),
        }
        if norm in NORMS:
            return found | {"corners": CornerSearch(queries=QUERIES)}
        return found | {"random": BruteForce(samples=SAMPLES, corners=norm != "l0")}

    def cost(self, attack: TrainingAttack, eps: float, norm: str, held: int) -> int:
        """Sample-steps at most."""
        training = attack.at(eps)
        found = self.attacks(training, norm)
        # two passes forward more judge what a search without gradients found
        judged = sum(one.cost + (not one.uses_gradients) for one in found.values())
        each = (training.steps or 0) + judged
        return min(self.images, held) * each


def probe(
    plan: ProbePlan, update: Update, held: Dataset, threat: ThreatModel, *, seed: int
) -> Probe:
    """Attack the first images of the validation part. Every process takes its share of them, and each
    image has random numbers of its own, so the answer is the same for any number of processes."""
    fabric, total = update.fabric, min(plan.images, len(held))
    training = update.settings.attack.at(float(threat.eps))
    attacks = plan.attacks(training, threat.norm)
    if update.front is not None:
        behind = {n: BehindFront(attack=a) for n, a in attacks.items() if isinstance(a, PGD)}
        attacks |= behind
    rows = torch.arange(fabric.global_rank, total, fabric.world_size, device=held.images.device)
    images, labels = update.laid_out(held.images[rows]), held.labels[rows]
    right: list[int] = []
    spent = 0
    if len(rows):
        start = threat.sample(images, generators(seed, rows.tolist()))
        moved = update.perturb(training, images, labels, threat, start, watched=True)
        spent = (training.steps or 0) * len(rows)
        with evaluating(update.model), fabric.autocast():
            alive = _unbroken(update, moved, labels)
            right.append(int(alive.sum()))
            for place, attack in enumerate(attacks.values()):
                here = alive.nonzero().squeeze(1)
                if len(here):
                    own = generators(derive(seed, place), rows[here].tolist())
                    found = attack(update.model, images[here], labels[here], threat, generator=own)
                    alive[here] &= ~found.fooled
                    spent += found.backwards
                    spent += 0 if attack.uses_gradients else found.forwards // 3
                right.append(int(alive.sum()))
    counts = _summed(fabric, [*(right or [0] * (1 + len(attacks))), spent])
    shares = [count / total for count in counts[:-1]]
    return Probe(
        n=total,
        trained=shares[0],
        accuracy=shares[-1],
        by=dict(zip(attacks, shares[1:], strict=True)),
        sample_steps=counts[-1],
    )


@torch.no_grad()
def _unbroken(update: Update, images: Tensor, labels: Tensor) -> Tensor:
    return correct(update.model(images), labels)


def _summed(fabric: "Fabric", counts: list[int]) -> list[int]:
    """Over all processes."""
    if fabric.world_size == 1:
        return counts
    dtype = torch.float32 if fabric.device.type == "mps" else torch.float64
    values = torch.tensor(counts, dtype=dtype, device=fabric.device)
    total = fabric.all_reduce(values, reduce_op="sum")
    assert isinstance(total, Tensor)
    return [int(value) for value in total.tolist()]
