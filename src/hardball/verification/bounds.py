"""Interval bounds of a network's margins, computed a second time: what `verify` holds certified margins
against. Nothing of `hardball.certify` is used: weights are split by sign, fronts are taken apart into
their operations, and rounding is bounded by the classical γ.

All in float64. A float32 sum of n products is off by at most γ_m·Σ|terms|, γ_m = m·u/(1 − m·u), with
u = 2⁻²⁴ and m = n + 1 roundings on the longest way, in any order of summation (Higham 2002, section
3.1). u is taken a millionth larger, which covers the rounding of float64 here.

Shapes: B images; intervals [B, ...] as in the network.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

ROUNDOFF = 2.0**-24 * (1 + 2.0**-20)
"""Of float32, and the little that float64 adds."""

TINY = 2.0**-126
"""What a product below float32's normal numbers may lose."""

LIBRARY = 8
"""Roundings that a library's sigmoid or tanh may be off by."""


class Unknown(Exception):
    """An operation that has no bound here; the message names it."""


@dataclass(frozen=True)
class Span:
    """Everything between two tensors of float64."""

    low: Tensor
    high: Tensor
    unit: float
    """Roundoff of the network's arithmetic; 0 for exact arithmetic."""
    error: Tensor | None = None
    """What the network's rounding may have added last; None: nothing."""

    @property
    def size(self) -> Tensor:
        return torch.maximum(self.low.abs(), self.high.abs())

    def through(self, function: Callable[[Tensor], Tensor], roundings: int = 0) -> "Span":
        """Through a function that never decreases, and so many roundings of its value."""
        return self.put(function(self.low), function(self.high)).rounded(roundings)

    def put(self, low: Tensor, high: Tensor) -> "Span":
        return replace(self, low=low, high=high, error=None)

    def rounded(self, times: int) -> "Span":
        """A relative error, which changes no sign."""
        share = times * self.unit
        if not share:
            return self
        low, high = self.low - share * self.low.abs(), self.high + share * self.high.abs()
        return replace(self, low=low, high=high, error=share * self.size)

    def widened(self, roundings: int, terms: Tensor) -> "Span":
        """By the error of a sum with that longest way, and that sum of absolute values."""
        if not self.unit:
            return self
        gamma = roundings * self.unit / (1 - roundings * self.unit)
        error = gamma * terms + roundings * TINY
        return replace(self, low=self.low - error, high=self.high + error, error=error)


def _weighted(span: Span, layer: Any, apply: Callable[[Tensor, Tensor, Any], Tensor]) -> Span:
    """Through Σ w·x + b: the positive weights take the end's own side, the negative the other."""
    weight = layer.weight.double()
    bias = None if layer.bias is None else layer.bias.double()
    up, down = weight.clamp(min=0), weight.clamp(max=0)
    low = apply(span.low, up, bias) + apply(span.high, down, None)
    high = apply(span.high, up, bias) + apply(span.low, down, None)
    terms = apply(span.size, weight.abs(), None if bias is None else bias.abs())
    return span.put(low, high).widened(weight[0].numel() + 1, terms)


def _linear(layer: nn.Linear, span: Span) -> Span:
    return _weighted(span, layer, F.linear)


def _conv(layer: nn.Conv2d, span: Span) -> Span:
    if layer.padding_mode != "zeros":
        raise Unknown(f"padding_mode={layer.padding_mode!r}")

    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        how = (layer.stride, layer.padding, layer.dilation, layer.groups)
        return F.conv2d(x, weight, bias, *how)  # type: ignore[arg-type]

    return _weighted(span, layer, apply)


def _batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, span: Span) -> Span:
    """(x − mean)/√(var + ε)·γ + β: eight roundings in any of the usual orders."""
    if layer.running_mean is None or layer.running_var is None:
        raise Unknown("batch norm without running statistics")
    shape = [1, -1, *[1] * (span.low.dim() - 2)]
    mean, factor = layer.running_mean.double(), (layer.running_var.double() + layer.eps).rsqrt()
    factor = factor if layer.weight is None else factor * layer.weight.double()
    beta = torch.zeros_like(mean) if layer.bias is None else layer.bias.double()
    mean, factor, beta = (value.view(shape) for value in (mean, factor, beta))
    ends = (span.low - mean) * factor + beta, (span.high - mean) * factor + beta
    terms = (span.size + mean.abs()) * factor.abs() + beta.abs()
    return span.put(torch.minimum(*ends), torch.maximum(*ends)).widened(8, terms)


def _average(layer: Any, span: Span) -> Span:
    kernel = getattr(layer, "kernel_size", None)
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel or span.low.shape[2:]
    area = sides[0] * sides[1]
    return span.through(layer).widened(area + 1, layer(span.size))


def _same(layer: nn.Module, span: Span) -> Span:
    return span.through(layer)


def _smooth(layer: nn.Module, span: Span) -> Span:
    return span.through(layer, LIBRARY)


def _dropout(layer: nn.Module, span: Span) -> Span:
    if layer.training:
        raise Unknown("dropout in training mode")
    return span


LAYERS: Mapping[type[nn.Module], Callable[[Any, Span], Span]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.AvgPool2d: _average,
    nn.AdaptiveAvgPool2d: _average,
    nn.MaxPool2d: _same,
    nn.AdaptiveMaxPool2d: _same,
    nn.ReLU: _same,
    nn.Hardtanh: _same,
    nn.Flatten: _same,
    nn.Identity: _same,
    nn.Dropout: _dropout,
    nn.Sigmoid: _smooth,
    nn.Tanh: _smooth,
    nn.Hardsigmoid: _smooth,
}
"""Class → its bound; nothing else, subclasses included, is known."""

MONOTONE: Mapping[Any, int] = {
    F.relu: 0,
    torch.relu: 0,
    "relu": 0,
    torch.sign: 0,
    "sign": 0,
    torch.clamp: 0,
    "clamp": 0,
    torch.flatten: 0,
    "flatten": 0,
    F.max_pool2d: 0,
    torch.sigmoid: LIBRARY,
    F.sigmoid: LIBRARY,
    "sigmoid": LIBRARY,
    torch.tanh: LIBRARY,
    "tanh": LIBRARY,
}
"""Functions and methods that never decrease in their first argument → roundings of their value."""

PLUS = (operator.add, operator.iadd, torch.add, "add")
MINUS = (operator.sub, torch.sub, "sub")
TIMES = (operator.mul, torch.mul, "mul")
OVER = (operator.truediv, torch.div, "div")


def _arithmetic(target: Any, args: tuple[Any, ...]) -> Span | None:
    """+, −, ×, ÷ of an interval and a constant, or of two intervals; None for anything else."""
    if target not in (*PLUS, *MINUS, *TIMES, *OVER) or len(args) != 2:
        return None
    one, other = (_constant(arg) for arg in args)
    span = one if isinstance(one, Span) else other
    assert isinstance(span, Span)
    if not isinstance(one, Span) or not isinstance(other, Span):
        return _with_constant(target, one, other, span)
    if target in PLUS:
        return span.put(one.low + other.low, one.high + other.high).rounded(1)
    if target in MINUS:
        return span.put(one.low - other.high, one.high - other.low).rounded(1)
    return None


def _with_constant(target: Any, one: Any, other: Any, span: Span) -> Span | None:
    if target in OVER and one is not span:
        return None
    kind = next(
        function
        for names, function in (
            (PLUS, torch.add),
            (MINUS, torch.sub),
            (TIMES, torch.mul),
            (OVER, torch.div),
        )
        if target in names
    )
    ends = [kind(end, other) if one is span else kind(one, end) for end in (span.low, span.high)]
    return span.put(torch.minimum(*ends), torch.maximum(*ends)).rounded(1)


def _constant(value: Any) -> Any:
    """A constant as float32 arithmetic sees it, in float64."""
    if isinstance(value, int | float):
        return torch.tensor(value, dtype=torch.float32).double()
    return value.double() if isinstance(value, Tensor) else value


class Walk(fx.Interpreter):
    """Runs a traced network on intervals.

    Raises:
        Unknown: an operation without a bound.
    """

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = self.fetch_attr(target)
        known = LAYERS.get(type(layer))
        if known is None:
            raise Unknown(type(layer).__name__)
        return known(layer, args[0])

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        if not any(isinstance(arg, Span) for arg in args):
            raise Unknown(name)
        found = None if kwargs else _arithmetic(target, args)
        if found is not None:
            return found
        first, *rest = args
        if target not in MONOTONE or any(isinstance(arg, Span) for arg in rest):
            raise Unknown(name)
        plain = {key: value for key, value in kwargs.items() if key != "inplace"}
        function = getattr(torch, target) if isinstance(target, str) else target
        return first.through(lambda x: function(x, *rest, **plain), MONOTONE[target])

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.call_function(target, args, kwargs)


def margins(
    network: nn.Module, images: Tensor, labels: Tensor, reach: float, *, exact: bool
) -> Tensor:
    """Lower bounds on min over j ≠ y of z_y − z_j where no pixel moves by more than `reach`, float64
    [B].

    Args:
        network: in evaluation mode.
        images: [B, C, H, W].
        labels: int64 [B].
        reach: ε, with its slack.
        exact: of exact arithmetic, instead of the network's own in float32.

    Raises:
        Unknown: the network cannot be followed.
    """
    return least_lead(differences(network, images, labels, reach, exact=exact), labels)


def least_lead(every: Tensor, labels: Tensor) -> Tensor:
    """Of z_y − z_j [B, K] the least over j ≠ y, [B]."""
    own = torch.zeros_like(every).scatter(1, labels[:, None], torch.inf)
    return (every + own).amin(dim=1)


def differences(
    network: nn.Module, images: Tensor, labels: Tensor, reach: float, *, exact: bool
) -> Tensor:
    """Lower bounds on z_y − z_j [B, K], as `margins`."""
    graph, span = graph_of(network), span_of(images, reach, exact=exact)
    last = _linear_at_the_end(graph)
    with torch.no_grad():
        found = Walk(graph).run(span)
        if last is not None:
            return _differences(found, last, labels)
        every: Tensor = found.low.gather(1, labels[:, None]) - found.high
    return every


def graph_of(network: nn.Module) -> fx.GraphModule:
    """Raises:
    Unknown: it cannot be traced.
    """
    try:
        return fx.symbolic_trace(network)
    except Exception as error:
        raise Unknown(str(error).splitlines()[0][:60]) from error


def span_of(images: Tensor, reach: float, *, exact: bool) -> Span:
    """The pixels."""
    centre = images.double()
    low, high = (centre - reach).clamp(min=0), (centre + reach).clamp(max=1)
    return Span(low, high, 0.0 if exact else ROUNDOFF)


def _linear_at_the_end(graph: fx.GraphModule) -> nn.Linear | None:
    """The linear layer that gives the logits, taken off the graph; None if there is no such."""
    output = next(node for node in graph.graph.nodes if node.op == "output")
    node = output.args[0]
    if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.users) > 1:
        return None
    layer = graph.get_submodule(str(node.target))
    if type(layer) is not nn.Linear:
        return None
    output.args = (node.args[0],)
    graph.graph.erase_node(node)
    graph.recompile()
    return layer


def _differences(span: Span, layer: nn.Linear, labels: Tensor) -> Tensor:
    """Lower bounds on z_y − z_j [B, K], from the differences of rows, class by class."""
    weight = layer.weight.double()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.double()
    columns = []
    terms = F.linear(span.size, weight.abs(), bias.abs())
    own = terms.gather(1, labels[:, None]).squeeze(1)
    for j in range(len(weight)):
        row = weight[labels] - weight[j]
        least = (row.clamp(min=0) * span.low + row.clamp(max=0) * span.high).sum(dim=1)
        least = least + bias[labels] - bias[j]
        error = span.put(least, least).widened(weight.shape[1] + 1, own + terms[:, j])
        columns.append(error.low)
    return torch.stack(columns, dim=1)
