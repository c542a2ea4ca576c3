"""Fronts: elementwise monotone layers before a network, and exactly what lies behind them.

Behind a front φ the ℓ∞ ball around an image becomes, pixel by pixel, the interval between φ(x − ε) and
φ(x + ε). So an attack or a proof on the rest of the network in that box loses nothing to the front,
however flat or steep φ is.

Shapes: B images [B, ...]; a front keeps them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

BISECTIONS = 30
"""Halvings of [0, 1] after which neighbours are closer than float32 tells apart (near ½ and above)."""


class Front(nn.Module):
    """A layer that maps each pixel by itself, monotonically: derive from this class and write `forward`.

    The shape must stay the same, and parameters may differ by channel or by pixel. Say by the class
    attributes what is not true of your layer by default.

    Example:
        >>> class Quarters(hb.Front):
        ...     continuous = False
        ...
        ...     def forward(self, images):
        ...         return (4 * images).floor() / 4
        >>> Quarters()(torch.tensor([0.3, 0.9]))
        tensor([0.2500, 0.7500])
        >>> front, body = hb.front_of(torch.nn.Sequential(Quarters(), torch.nn.Flatten()))
    """

    increasing: bool = True
    """It never decreases (True), or never increases."""
    continuous: bool = True
    """Without jumps, so that everything between two of its values is a value too."""
    affine: bool = False
    """a·x + b: image-space attacks see through it, and need no help."""

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest value on pixels between `low` and `high`."""
        ends: tuple[Tensor, Tensor] = self(low), self(high)
        return ends if self.increasing else (ends[1], ends[0])

    def pull_back(self, values: Tensor, images: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Pixels between `low` and `high` whose image under the front is nearest to `values`.

        By bisection, so any monotone front will do. Of pixels with the same image the one in
        `images` is taken, else an end of the interval: nothing moves without need, and what moves
        lies far from the jumps of the front.
        """
        one, other = (low, high) if self.increasing else (high, low)
        for _ in range(BISECTIONS):
            middle = (one + other) / 2
            below = self(middle) <= values
            one, other = torch.where(below, middle, one), torch.where(below, other, middle)
        nearer = (self(one) - values).abs() <= (self(other) - values).abs()
        found = torch.where(nearer, one, other)
        return self._plainest(found, images, low, high)

    def nearest(self, values: Tensor) -> Tensor:
        """The values that the front can take which lie next to these."""
        blank = torch.zeros_like(values)
        found: Tensor = self(self.pull_back(values, blank, blank, blank + 1))
        return found

    def _plainest(self, found: Tensor, images: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """The image's own pixel, or an end, where it does as well as what was found."""
        value = self(found)
        for same in (high, low, images):
            found = torch.where(self(same) == value, same, found)
        return found


class Chain(Front):
    """Several fronts in turn: a front again."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        parts = [_as_front(layer) for layer in layers]
        self.increasing = sum(not part.increasing for part in parts) % 2 == 0
        self.continuous = all(part.continuous for part in parts)
        self.affine = all(part.affine for part in parts)

    def forward(self, images: Tensor) -> Tensor:
        for layer in self.layers:
            images = layer(images)
        return images


class Known(Front):
    """A layer of PyTorch's that is a front."""

    def __init__(self, layer: nn.Module, *, affine: bool = False) -> None:
        super().__init__()
        self.layer, self.affine = layer, affine

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.layer(images)
        return found


MONOTONE: tuple[type[nn.Module], ...] = (
    nn.Identity,
    nn.Sigmoid,
    nn.Tanh,
    nn.ReLU,
    nn.Hardtanh,
    nn.Hardsigmoid,
)
"""Layers of PyTorch's that are fronts, all of them increasing and continuous."""


def _as_front(layer: nn.Module) -> Front:
    if isinstance(layer, Front):
        return layer
    return Known(layer, affine=type(layer) is nn.Identity)


def _is_front(layer: nn.Module) -> bool:
    return isinstance(layer, Front) or type(layer) in MONOTONE


def front_of(model: object) -> tuple[Front, nn.Module] | None:
    """(front, body) with model(x) = body(front(x)), if the model is an nn.Sequential that begins with
    fronts: layers derived from `Front`, or those in `MONOTONE`. None for every other model.

    Both are views: the layers are the model's own. A model of another class says the same by a method
    `front_and_body` that returns the two, or None.

    Example:
        >>> front, body = hb.front_of(torch.nn.Sequential(hb.Rounding(), model))
        >>> print(hb.front_of(model))
        None
    """
    asked: Callable[[], Any] | None = getattr(model, "front_and_body", None)
    if asked is not None:
        found: tuple[Front, nn.Module] | None = asked()
        return found
    layers = _flat(model)
    count = next((i for i, layer in enumerate(layers) if not _is_front(layer)), len(layers))
    if not 0 < count < len(layers):
        return None
    first, rest = layers[:count], layers[count:]
    front = _as_front(first[0]) if count == 1 else Chain(first)
    return front.train(first[0].training), rest[0] if len(rest) == 1 else nn.Sequential(*rest)


def bent_front_of(model: object) -> tuple[Front, nn.Module] | None:
    """The same, where the front is not affine: then attacks in image space may be blind."""
    found = front_of(model)
    return None if found is None or found[0].affine else found


def _flat(model: object) -> list[nn.Module]:
    """The layers of nested nn.Sequential in their order; the model itself where it is none."""
    if not isinstance(model, nn.Module):
        return []
    if isinstance(model, Front) or type(model).forward is not nn.Sequential.forward:
        return [model]
    return [layer for child in model.children() for layer in _flat(child)]
