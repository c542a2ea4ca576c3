"""The loss around an image, on the plane of an adversarial and a random direction.

Shapes: image [C, H, W], grid of n × n points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardball.attacks import Classifier
from hardball.data import Dataset
from hardball.errors import Unsupported, UserError
from hardball.landscape.loss import AdversarialLoss
from hardball.losses import cross_entropy
from hardball.perf import measuring
from hardball.seeding import derive
from hardball.threats import ThreatModel
from hardball.validation import validate_logits

NORMS = ("linf", "l2", "unbounded")
"""Norms in which a direction has a length."""


def sudden_jump(loss: NDArray[np.float64]) -> float:
    """How much rougher a grid is at its worst place than it usually is:

        max |Δ²ℓ| / median |Δ²ℓ|,  Δ²ℓ = ℓ₋₁ − 2ℓ₀ + ℓ₊₁ along each axis of the grid [n, n].

    Where the loss has a slope everywhere, Δ² shrinks with the distance of the points, in steps of a
    staircase it does not. The median counts as at least `FLAT` of the loss's range, so that a plane
    that is flat but for a step has a large ratio and not an infinite one. 0 for a constant.
    """
    bends = np.concatenate([np.abs(np.diff(loss, 2, axis=axis)).ravel() for axis in (0, 1)])
    span = float(np.ptp(loss))
    return float(bends.max() / max(float(np.median(bends)), FLAT * span)) if span else 0.0


FLAT = 1e-5
"""Share of the loss's range below which a second difference counts as none: single precision."""


def largest_step(loss: NDArray[np.float64]) -> float:
    """The largest difference of two neighbours on the grid [n, n], as a share of the loss's range: near
    1 where one step holds the whole change, near 1/n where the change is spread. 0 for a constant."""
    steps = max(float(np.abs(np.diff(loss, axis=axis)).max()) for axis in (0, 1))
    span = float(np.ptp(loss))
    return steps / span if span else 0.0


@dataclass(frozen=True, kw_only=True)
class InputPlane:
    """The cross entropy at clip(image + a·adversarial + b·random)."""

    index: int
    label: int
    steps: Sequence[float]
    """Values of a, and of b, in pixel units."""
    loss: NDArray[np.float64]
    """[a][b]"""
    prediction: NDArray[np.int64]
    """[a][b]: the class predicted."""

    @property
    def numbers(self) -> dict[str, float]:
        """What the picture shows, as numbers: see `sudden_jump` and `largest_step`."""
        return {
            "sudden_jump": sudden_jump(self.loss),
            "largest_step": largest_step(self.loss),
            "wrong": float((self.prediction != self.label).mean()),
            "range": float(np.ptp(self.loss)),
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "label": self.label,
            "prediction": int(self.prediction[tuple(n // 2 for n in self.prediction.shape)]),
            **self.numbers,
            "loss": [[float(f"{value:.6g}") for value in row] for row in self.loss.tolist()],
        }


def input_plane(
    model: nn.Module,
    data: Dataset,
    index: int,
    loss: AdversarialLoss,
    *,
    reach: float,
    points: int = 100,
    batch_size: int = 500,
) -> InputPlane:
    """The loss on a grid around an image, in evaluation mode (the paper's Figure 5).

    The first direction is that of the attack's perturbation, the second one a vector of random signs
    (Rademacher). Both have size 1 in the threat's norm, so a and b are in pixel units, and at
    reach ε/2 no point of an ℓ∞ plane leaves the ball. Points outside [0, 1] are clipped to it.

    Args:
        model: images → logits.
        data: its images, on the model's device.
        index: of the image in `data`.
        loss: the attack and ε whose perturbation gives the direction; the plane's own loss is the
            cross entropy.
        reach: a and b go from −reach to reach.
        points: per side of the grid.
        batch_size: points at a time; changes the speed, not the answer.

    Raises:
        UserError: no such image, fewer than three points, a reach that is not positive, an attack that
            finds no perturbation.
        Unsupported: a norm without lengths (ℓ0).
    """
    if not 0 <= index < len(data):
        raise UserError(f"`index={index}` of {len(data)} images; allowed is 0 … {len(data) - 1}")
    if points < 3:
        raise UserError(f"`grid={points}`; allowed is 3 or more")
    if not 0 < reach < float("inf"):
        raise UserError(f"`reach={reach}`; allowed is a positive number in pixel units")
    one = data.rows(slice(index, index + 1))
    steps = np.linspace(-reach, reach, points)
    with measuring(model, one.images):
        adversarial = _adversarial(model, one, index, loss)
        random = _rademacher(one.images, loss.threat, derive(loss.seed, index))
        found, predicted = _grid(model, one, (adversarial, random), steps, batch_size)
    if not np.isfinite(found).all():
        raise UserError(f"the loss around image {index} is no number in places; check the weights")
    return InputPlane(
        index=index,
        label=int(one.labels[0]),
        steps=steps.tolist(),
        loss=found,
        prediction=predicted,
    )


def _adversarial(model: Classifier, one: Dataset, index: int, loss: AdversarialLoss) -> Tensor:
    """The attack's perturbation [1, ...], of size 1."""
    if loss.threat.norm not in NORMS:
        raise Unsupported(
            f"a plane in {loss.threat.norm}, whose perturbations have no length; allowed is "
            f"{', '.join(NORMS)}: pass `norm`"
        )
    examples, _ = loss.examples(model, one)
    moved = examples.detach() - one.images
    size = float(loss.threat.size(moved))
    if size == 0:
        raise UserError(
            f"the attack leaves image {index} as it is, so there is no adversarial direction; use "
            "another `attack` (pgd-20) or a larger `eps`"
        )
    return moved / size


def _rademacher(images: Tensor, threat: ThreatModel, seed: int) -> Tensor:
    """Random signs, scaled to size 1."""
    source = torch.Generator().manual_seed(seed)
    signs = 2 * torch.randint(2, images.shape, generator=source).to(images) - 1
    return signs / float(threat.size(signs))


@torch.no_grad()
def _grid(
    model: Classifier,
    one: Dataset,
    directions: tuple[Tensor, Tensor],
    steps: NDArray[np.float64],
    batch_size: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Losses and predictions at all points, [n, n] each."""
    first, second = directions
    grid = torch.as_tensor(steps, dtype=one.images.dtype, device=one.images.device)
    places = torch.cartesian_prod(grid, grid)
    losses, classes = [], []
    for part in places.split(batch_size):  # type: ignore[no-untyped-call]
        a, b = (part[:, k].view(-1, *(1,) * (one.images.dim() - 1)) for k in (0, 1))
        images = (one.images + a * first + b * second).clamp(0, 1)
        logits = validate_logits(model(images), len(images))
        # in float32 the loss of a confident network is a staircase with steps of 10⁻⁷
        losses.append(cross_entropy(logits.double(), one.labels.expand(len(images))).cpu())
        classes.append(logits.argmax(dim=1).cpu())
    shape = (len(steps), len(steps))
    return (
        torch.cat(losses).numpy().reshape(shape),
        torch.cat(classes).numpy().reshape(shape),
    )
