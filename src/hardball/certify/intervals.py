"""Interval bounds of a network (interval bound propagation; Gowal et al. 2018): a box goes in, a box
comes out that holds every output.

The network is traced by torch.fx and each of its operations is replaced by its interval form. Shapes: B
boxes; [B, ...] as in the network.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from hardball.errors import CannotRun
from hardball.fronts import MONOTONE, Front

UNIT = 2.0**-23
"""Twice the unit roundoff of float32: what one rounding of the network's own arithmetic changes."""


@dataclass(frozen=True)
class Box:
    """Everything between two tensors, elementwise."""

    low: Tensor
    high: Tensor
    rounding: Tensor | None = None
    """By how much it was widened last for what float32 rounds; None: not at all."""

    @property
    def middle(self) -> Tensor:
        return (self.low + self.high) / 2

    @property
    def radius(self) -> Tensor:
        return (self.high - self.low) / 2

    @property
    def largest(self) -> Tensor:
        """Of the absolute value."""
        return torch.maximum(self.low.abs(), self.high.abs())

    def map(self, function: Callable[[Tensor], Tensor]) -> "Box":
        """Through a function that never decreases in any of its inputs."""
        return Box(function(self.low), function(self.high))

    def wider(self, by: Tensor) -> "Box":
        return Box(self.low - by, self.high + by, by)


@dataclass(frozen=True)
class Propagation:
    """How boxes go through operations.

    With `rounding` each box is widened by what float32 arithmetic may change in the network itself:
    a sum of n products is off by at most (n + 2)·2⁻²³ times the sum of their absolute values, in any
    order of summation. The boxes are then computed in float64, whose own rounding is far below.
    """

    rounding: bool = True

    def affine(self, box: Box, weight: Tensor, bias: Tensor | None, product: "Product") -> Box:
        """Through x ↦ product(x, weight, bias), sums of as many products as weight[0] has numbers."""
        # the halves of middle and radius are taken of the weights, which are fewer
        middle = product(box.low + box.high, weight / 2, bias)
        radius = product(box.high - box.low, weight.abs() / 2, None)
        found = Box(middle - radius, middle + radius)
        if not self.rounding:
            return found
        bulk = product(box.largest, weight.abs(), None if bias is None else bias.abs())
        return found.wider((weight[0].numel() + 2) * UNIT * bulk)

    def slack(self, box: Box, roundings: int = 1) -> Box:
        """The box, after so many roundings."""
        return box.wider(roundings * UNIT * box.largest) if self.rounding else box


def _own(layer: nn.Module, name: str, like: Tensor) -> Tensor | None:
    found = getattr(layer, name)
    return None if found is None else found.to(like.dtype)


Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(x, weight, bias) ↦ what a layer computes of them."""


def product_of(layer: nn.Linear | nn.Conv2d) -> Product:
    """Raises:
    CannotRun: a convolution that pads with something else than zeros.
    """
    if isinstance(layer, nn.Linear):
        return F.linear
    if layer.padding_mode != "zeros":
        raise CannotRun(
            f"interval bounds of a convolution with padding_mode={layer.padding_mode!r}; allowed is "
            "zeros"
        )
    names = ("stride", "padding", "dilation", "groups")
    return partial(F.conv2d, **{name: getattr(layer, name) for name in names})


def _affine(rule: Propagation, layer: nn.Linear | nn.Conv2d, box: Box) -> Box:
    weight, bias = layer.weight.to(box.low.dtype), _own(layer, "bias", box.low)
    return rule.affine(box, weight, bias, product_of(layer))


def normalised(layer: nn.BatchNorm2d, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, scale γ/√(var + ε) and shift β − mean·scale of each channel, in evaluation mode, in the type
    of `like`.

    Raises:
        CannotRun: no running statistics.
    """
    mean, var = _own(layer, "running_mean", like), _own(layer, "running_var", like)
    if mean is None or var is None:
        raise CannotRun("interval bounds of batch norm without running statistics")
    gamma, beta = _own(layer, "weight", like), _own(layer, "bias", like)
    scale = (1.0 if gamma is None else gamma) / (var + layer.eps).sqrt()
    return mean, scale, (0.0 if beta is None else beta) - mean * scale


def _batch_norm(rule: Propagation, layer: nn.BatchNorm2d, box: Box) -> Box:
    """In evaluation mode: x·scale + shift, per channel."""
    size = [1, -1] + [1] * (box.low.dim() - 2)
    mean, scale, shift = (value.reshape(size) for value in normalised(layer, box.low))
    middle, radius = box.middle * scale + shift, box.radius * scale.abs()
    found = Box(middle - radius, middle + radius)
    if not rule.rounding:
        return found
    # mean, root, quotient, product, sum; the library may do them in another order
    bulk = (box.largest + mean.abs()) * scale.abs() + shift.abs()
    return found.wider(8 * UNIT * bulk)


def _front(rule: Propagation, layer: Front, box: Box) -> Box:
    """In float32, as the network computes it, a threshold included; the ends are rounded outwards."""
    low = torch.nextafter(box.low.float(), torch.tensor(-torch.inf))
    high = torch.nextafter(box.high.float(), torch.tensor(torch.inf))
    low, high = layer.interval(low, high)
    found = Box(low.to(box.low.dtype), high.to(box.low.dtype))
    return rule.slack(found, 4) if layer.continuous else found


def _monotone(rule: Propagation, layer: nn.Module, box: Box) -> Box:
    return rule.slack(box.map(layer), 4)


def _unchanged(rule: Propagation, layer: nn.Module, box: Box) -> Box:
    return box.map(layer)


def _averaged(rule: Propagation, layer: nn.Module, box: Box) -> Box:
    size = getattr(layer, "kernel_size", None)
    count = box.low[0, 0].numel() if size is None else _area(size)
    found = box.map(layer)
    # the error of a sum is a share of the sum of absolute values: terms may cancel
    return found.wider((count + 2) * UNIT * layer(box.largest)) if rule.rounding else found


def _area(size: int | tuple[int, ...]) -> int:
    return size * size if isinstance(size, int) else size[0] * size[-1]


def _dropped(rule: Propagation, layer: nn.Module, box: Box) -> Box:
    return box  # evaluation mode


LAYERS: dict[type[nn.Module], Callable[[Propagation, Any, Box], Box]] = {
    **dict.fromkeys(MONOTONE, _monotone),
    Front: _front,
    nn.Linear: _affine,
    nn.Conv2d: _affine,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: _unchanged,
    nn.MaxPool2d: _unchanged,
    nn.AdaptiveMaxPool2d: _unchanged,
    nn.AvgPool2d: _averaged,
    nn.AdaptiveAvgPool2d: _averaged,
    nn.Flatten: _unchanged,
    nn.Identity: _unchanged,
    nn.Dropout: _dropped,
}
"""Class of a layer → its interval form; a subclass has that of its class."""

RELU = (F.relu, torch.relu, "relu")

FUNCTIONS: Mapping[Any, Callable[..., Any]] = {
    **dict.fromkeys(RELU, torch.relu),
    torch.flatten: torch.flatten,
    "flatten": torch.flatten,
    F.max_pool2d: F.max_pool2d,
}
"""Functions and methods that never decrease in their first argument and round nothing."""

SUMS = (operator.add, operator.iadd, torch.add, "add")


class Tracer(fx.Tracer):
    """Stops at the layers whose interval form is known."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, tuple(LAYERS)) or super().is_leaf_module(m, module_qualified_name)


class Intervals(fx.Interpreter):
    """Runs a traced network on boxes.

    Raises:
        CannotRun: an operation without an interval form.
    """

    def __init__(self, module: fx.GraphModule, rule: Propagation) -> None:
        super().__init__(module)
        self.rule = rule
        self.rectified: list[Box] = []
        """What entered each ReLU, in their order."""

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = self.fetch_attr(target)
        if isinstance(layer, nn.ReLU):
            self.rectified.append(args[0])
        for kind in type(layer).__mro__:
            if kind in LAYERS:
                return LAYERS[kind](self.rule, layer, args[0])
        raise CannotRun(f"interval bounds of {type(layer).__name__}; {_known()}")

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._called(target, args, kwargs)

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._called(target, args, kwargs)

    def _called(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        boxes = [one for one in args if isinstance(one, Box)]
        if not boxes:
            return target(*args, **kwargs) if callable(target) else getattr(args[0], target)()
        if target in SUMS and len(args) == 2 and not kwargs:
            return self._sum(*args)
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        function = FUNCTIONS.get(target)
        if function is None or len(boxes) > 1:
            raise CannotRun(f"interval bounds of {name}; {_known()}")
        if target in RELU:
            self.rectified.append(args[0])
        return args[0].map(lambda x: function(x, *args[1:], **_plain(kwargs)))

    def _sum(self, one: Any, other: Any) -> Box:
        if not (isinstance(one, Box) and isinstance(other, Box)):
            box, value = (one, other) if isinstance(one, Box) else (other, one)
            return self.rule.slack(box.map(lambda x: x + value))
        return self.rule.slack(Box(one.low + other.low, one.high + other.high))


def _plain(kwargs: dict[str, Any]) -> dict[str, Any]:
    """In place and out of place are the same here."""
    return {name: value for name, value in kwargs.items() if name != "inplace"}


def _known() -> str:
    return "known are " + ", ".join(
        ["sums, flatten, relu, max_pool2d", *sorted(kind.__name__ for kind in LAYERS)]
    )


def traced(model: object) -> fx.GraphModule:
    """The network as a graph of its operations.

    Raises:
        CannotRun: it is no nn.Module, or what it does depends on its input.
    """
    if not isinstance(model, nn.Module):
        raise CannotRun(f"interval bounds of a {type(model).__name__}; they need an nn.Module")
    try:
        return fx.GraphModule(model, Tracer().trace(model))
    except (fx.proxy.TraceError, TypeError, NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CannotRun(f"torch.fx cannot trace the network: {reason}") from error
