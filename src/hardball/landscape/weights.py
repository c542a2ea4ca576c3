"""The adversarial loss in weight space: on a segment, and on a plane.

Buffers: floating ones (batch-norm statistics) are interpolated like parameters along a segment. They
are then not the statistics that a network with the weights between would have collected. On a plane
they stay those of its centre. Counters are taken from the nearer end.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardball.data import Dataset
from hardball.errors import UserError
from hardball.landscape.convexity import barrier, chord_violation, convexity_violation
from hardball.landscape.loss import AdversarialLoss
from hardball.perf import measuring
from hardball.seeding import derive

Weights = dict[str, Tensor]
"""Parameters and buffers by name, as `state_dict` has them."""

Tick = Callable[[], object]
"""Called after each point, to show progress."""


def weights_of(model: nn.Module) -> Weights:
    """A model's parameters and buffers as tensors of their own."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def between(start: Weights, end: Weights, alpha: float) -> Weights:
    """(1 − α)·start + α·end, exact at both ends.

    Raises:
        UserError: the weights of two different networks.
    """
    _refuse_different(start, end)
    if alpha in (0, 1):
        return end if alpha else start
    return {
        name: torch.lerp(value, end[name], alpha)
        if value.is_floating_point()
        else (value if alpha < 0.5 else end[name])
        for name, value in start.items()
    }


def _refuse_different(start: Weights, end: Weights) -> None:
    shapes = [{name: tuple(value.shape) for name, value in w.items()} for w in (start, end)]
    differing = sorted(
        name for name in {*shapes[0], *shapes[1]} if shapes[0].get(name) != shapes[1].get(name)
    )
    if differing:
        one, other = (found.get(differing[0], "missing") for found in shapes)
        raise UserError(
            f"the two sets of weights are of different networks: {differing[0]} is {one} in the first "
            f"and {other} in the second; allowed are two of one architecture"
        )


@dataclass(frozen=True, kw_only=True)
class Segment:
    """ℓ(α), the adversarial loss at (1 − α)·start + α·end."""

    eps: float
    alpha: Sequence[float]
    """From 0 to 1, evenly."""
    loss: Sequence[float]

    @property
    def numbers(self) -> dict[str, float]:
        """What the picture shows, as numbers: see `hardball.landscape.convexity`."""
        return {
            "chord_violation": chord_violation(self.alpha, self.loss),
            "convexity_violation": convexity_violation(self.alpha, self.loss),
            "barrier": barrier(self.loss),
            "range": max(self.loss) - min(self.loss),
        }

    def as_json(self) -> dict[str, Any]:
        return {"eps": self.eps, "loss": list(self.loss), **self.numbers}


def segment(
    model: nn.Module,
    start: Weights,
    end: Weights,
    data: Dataset,
    loss: AdversarialLoss,
    *,
    points: int = 200,
    tick: Tick = lambda: None,
) -> Segment:
    """The adversarial loss on the segment between two sets of weights (Goodfellow et al. 2015).

    The attack is run anew at each point, each time from the same random starts.

    Args:
        model: the network that both sets of weights belong to; left as it is. It is measured in
            evaluation mode.
        start, end: see `weights_of`.
        data: the batch, on the model's device.
        loss: which attack at which ε; its random starts are the same at every point.
        points: how many, both ends included.

    Raises:
        UserError: fewer than two points, weights of different networks, a loss that is no number.
    """
    _at_least("points", points, 2)
    alpha = np.linspace(0, 1, points).tolist()
    with _walking(model, data, loss, tick) as loss_of:
        found = [loss_of(between(start, end, a), f"α = {a:.4g}") for a in alpha]
    return Segment(eps=float(loss.threat.eps), alpha=alpha, loss=found)


def filter_normalised(model: nn.Module, centre: Weights, seed: int) -> Weights:
    """A random direction of the size of the weights, filter by filter (Li et al. 2018).

    Of every parameter with two dimensions or more, each slice along the first one (a filter of a
    convolution, the weights of a neuron) is a normal vector scaled to the norm of that slice of
    `centre`: d ← d·‖w‖/‖d‖. Biases and batch-norm parameters, which have one dimension, and buffers
    are not moved: their direction is 0.

    Args:
        model: says which names are parameters.
        centre: the weights whose sizes are taken.
        seed: the direction is a function of it and the names' order alone.
    """
    generator = torch.Generator().manual_seed(derive(seed))
    parameters = {name for name, _ in model.named_parameters()}
    found = {}
    for name, value in centre.items():
        if name not in parameters or value.dim() < 2:
            found[name] = torch.zeros_like(value)
            continue
        noise = torch.randn(value.shape, generator=generator).to(value)
        slices = noise.flatten(1)
        sizes = value.flatten(1).norm(dim=1) / slices.norm(dim=1)
        found[name] = (slices * sizes[:, None]).reshape(value.shape)
    return found


@dataclass(frozen=True, kw_only=True)
class Plane:
    """The adversarial loss at centre + a·first + b·second."""

    eps: float
    steps: Sequence[float]
    """Values of a, and of b."""
    loss: Sequence[Sequence[float]]
    """[a][b]"""

    def as_json(self) -> dict[str, Any]:
        return {
            "eps": self.eps,
            "steps": list(self.steps),
            "loss": [list(row) for row in self.loss],
        }


def plane(
    model: nn.Module,
    centre: Weights,
    directions: tuple[Weights, Weights],
    data: Dataset,
    loss: AdversarialLoss,
    *,
    points: int = 25,
    span: float = 1.0,
    tick: Tick = lambda: None,
) -> Plane:
    """The adversarial loss on a grid of the plane centre + a·first + b·second: see `segment`.

    Args:
        directions: two, for instance of `filter_normalised`.
        points: per side of the grid.
        span: a and b go from −span to span.

    Raises:
        UserError: fewer than two points, a span that is not positive, a loss that is no number.
    """
    _at_least("plane", points, 2)
    if not 0 < span < float("inf"):
        raise UserError(f"`span={span}`; allowed is a positive number, 1 for the weights' own size")
    steps = np.linspace(-span, span, points).tolist()
    first, second = directions

    def at(a: float, b: float) -> Weights:
        return {
            name: value + a * first[name] + b * second[name] if value.is_floating_point() else value
            for name, value in centre.items()
        }

    with _walking(model, data, loss, tick) as loss_of:
        found = [[loss_of(at(a, b), f"({a:.4g}, {b:.4g})") for b in steps] for a in steps]
    return Plane(eps=float(loss.threat.eps), steps=steps, loss=found)


@contextmanager
def _walking(
    model: nn.Module, data: Dataset, loss: AdversarialLoss, tick: Tick
) -> Iterator[Callable[[Weights, str], float]]:
    """The loss as a function of weights, and of a name for them; afterwards the model has its own
    again."""

    def loss_of(weights: Weights, where: str) -> float:
        model.load_state_dict(weights)
        found = loss.mean(model, data)
        if not np.isfinite(found):
            raise UserError(
                f"the loss at {where} is {found}; see that both ends have finite weights and losses"
            )
        tick()
        return found

    own = weights_of(model)
    try:
        with measuring(model, data.images):
            yield loss_of
    finally:
        model.load_state_dict(own)


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise UserError(f"`{name}={value}`; allowed is {least} or more")
