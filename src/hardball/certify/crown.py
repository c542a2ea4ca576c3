"""Certificates by CROWN-IBP (Zhang et al. 2020): linear bounds, backwards, between interval bounds.

Each margin z_y − z_j is bounded from below by a linear function of an earlier layer, layer by layer back
to the input, where its least value on a box is known. A ReLU between l < 0 < u lies above α·x, α = 1
where u > −l and else 0, and below the line through (l, 0) and (u, u); l and u are interval bounds. What
cancels between neurons is seen this way, and not by intervals.

Shapes: B boxes, R rows of the specification, K classes; coefficients [B, R, ...], as the node's value.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.grad import conv2d_input

from hardball.certify.ibp import IBP, propagated, to_box
from hardball.certify.intervals import RELU, SUMS, Box, Intervals, Propagation, traced
from hardball.threats import ThreatModel

OWN = 2.0**-40
"""Of all terms: more than float64 rounds away here."""

ELEMENTS = 2**22
"""Coefficients of the largest layer at a time: 32 MiB in float64."""

LEAST = 1e-30
"""No division by less."""


@dataclass(frozen=True, kw_only=True)
class CROWNIBP(IBP):
    """`IBP` with the margins bounded by linear relaxation as well: for each rival class the higher of
    the two bounds counts, so it proves all that `IBP` proves.

    It costs about as many passes as there are classes. Layers as in `IBP`; ReLU, linear and convolution
    layers, batch norm, average and max pooling, flatten and sums are relaxed, anything else (fronts,
    sigmoids) is taken as its box, which for a front at the input is exact.

    Sound for the float32 network: the ReLUs' intervals hold what float32 computes, and each layer's
    rounding is charged to the bound with the weight that the layer has in it.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
        >>> found = hb.evaluate(
        ...     network, test, eps=0.01, attacks={"fgsm": hb.fgsm()}, certify={"crown": hb.CROWNIBP()}
        ... )
        >>> found.certified[0.01].right <= found.worst[0.01].right
        True
    """

    def margins(
        self,
        model: Callable[[Tensor], Tensor],
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
    ) -> Tensor:
        """Lower bounds on min over j ≠ y of z_y − z_j, float64 [B].

        Raises:
            CannotRun: an operation of the network without an interval form.
        """
        with torch.no_grad():
            return _margins(traced(model), to_box(images, threat), labels)


def _margins(graph: fx.GraphModule, box: Box, labels: Tensor) -> Tensor:
    """In parts, so that no layer's coefficients are more than `ELEMENTS`."""
    rule, found = Propagation(), []
    start, size = 0, 1
    while start < len(labels):
        rows = slice(start, start + size)
        part = Box(box.low[rows], box.high[rows])
        bounds, largest = relaxed(graph, part, labels[rows], rule)
        every = torch.maximum(bounds, propagated(graph, part, labels[rows], rule)[0])
        found.append(_least(every, labels[rows]))
        start, size = start + size, max(1, ELEMENTS // (largest * bounds.shape[1]))
    return torch.cat(found)


def _least(every: Tensor, labels: Tensor) -> Tensor:
    own = torch.zeros_like(every).scatter(1, labels[:, None], torch.inf)
    return (every + own).amin(1)


class _Boxes(Intervals):
    """Keeps the box of every node."""

    def __init__(self, module: fx.GraphModule, rule: Propagation) -> None:
        super().__init__(module, rule)
        self.boxes: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        found = self.boxes[n] = super().run_node(n)
        return found


def relaxed(
    graph: fx.GraphModule, box: Box, labels: Tensor, rule: Propagation
) -> tuple[Tensor, int]:
    """Lower bounds on z_y − z_j [B, K] by linear relaxation, 0 at j = y, and the size of the largest
    layer; differentiable in the parameters.

    Raises:
        CannotRun: an operation without an interval form.
    """
    walk = _Boxes(graph, rule)
    logits = walk.run(box).low
    rows = torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)
    rows = rows[labels][:, None] - rows
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    back = _Backward(graph, walk.boxes, rows, rule)
    found = back.run(output.args[0])
    return found.scatter(1, labels[:, None], 0.0), back.largest


class _Backward:
    """Substitutes node after node by its linear bounds, the last one first."""

    def __init__(
        self,
        graph: fx.GraphModule,
        boxes: Mapping[fx.Node, Any],
        rows: Tensor,
        rule: Propagation,
    ) -> None:
        self.graph, self.boxes, self.rule = graph, boxes, rule
        self.rows = rows
        self.pending: dict[fx.Node, Tensor] = {}
        self.constant = rows.new_zeros(rows.shape[:2])
        self.size = rows.new_zeros(rows.shape[:2])
        self.largest = 1

    def run(self, output: Any) -> Tensor:
        """Least values of rows·output, [B, R]."""
        self.pending[output] = self.rows
        for node in reversed(self.graph.graph.nodes):
            rows = self.pending.pop(node, None)
            if rows is None:
                continue
            self.largest = max(self.largest, rows[0, 0].numel())
            step = self._step(node)
            if step is None:
                self.add(_product(rows.clamp(min=0), self.boxes[node].low))
                self.add(_product(rows.clamp(max=0), self.boxes[node].high))
                continue
            if self.boxes[node].rounding is not None:
                self.add(-_product(rows.abs(), self.boxes[node].rounding))
            step(self, node, rows)
        return self.constant - OWN * self.size if self.rule.rounding else self.constant

    def add(self, value: Tensor) -> None:
        """A constant [B, R] of the bound."""
        self.constant = self.constant + value
        self.size = self.size + value.detach().abs()

    def hand(self, node: Any, rows: Tensor) -> None:
        """Coefficients of an earlier node; those of several users add up."""
        before = self.pending.get(node)
        self.pending[node] = rows if before is None else before + rows

    def layer(self, node: fx.Node) -> Any:
        return self.graph.get_submodule(str(node.target))

    def _step(self, node: fx.Node) -> "Step | None":
        """How to substitute a node; None: by its box."""
        if node.op == "call_module":
            kinds = type(self.layer(node)).__mro__
            return next((STEPS[kind] for kind in kinds if kind in STEPS), None)
        if node.op not in ("call_function", "call_method"):
            return None
        if node.target in SUMS:
            boxes = [isinstance(self.boxes.get(arg), Box) for arg in _nodes(node)]
            return _sum if boxes == [True, True] else None
        return CALLS.get(node.target)


Step = Callable[[_Backward, fx.Node, Tensor], None]


def _nodes(node: fx.Node) -> list[fx.Node]:
    return [arg for arg in node.args if isinstance(arg, fx.Node)]


def _product(rows: Tensor, values: Tensor) -> Tensor:
    """Σ over a node's numbers: [B, R, ...] × [B, ...] → [B, R]."""
    return torch.einsum("brn,bn->br", rows.flatten(2), values.flatten(1))


def _linear(back: _Backward, node: fx.Node, rows: Tensor) -> None:
    layer = back.layer(node)
    if layer.bias is not None:
        back.add(rows @ layer.bias.to(rows.dtype))
    back.hand(node.args[0], rows @ layer.weight.to(rows.dtype))


def _conv(back: _Backward, node: fx.Node, rows: Tensor) -> None:
    """The transposed convolution; padding as numbers."""
    layer, before = back.layer(node), back.boxes[_nodes(node)[0]].low
    if layer.bias is not None:
        back.add(rows.flatten(3).sum(3) @ layer.bias.to(rows.dtype))
    weight, flat = layer.weight.to(rows.dtype), rows.flatten(0, 1)
    size = (len(flat), *before.shape[1:])
    found = conv2d_input(  # type: ignore[no-untyped-call]
        size, weight, flat, layer.stride, layer.padding, layer.dilation, layer.groups
    )
    back.hand(node.args[0], found.view(*rows.shape[:2], *before.shape[1:]))


def _adjoint(back: _Backward, node: fx.Node, rows: Tensor) -> None:
    """Of a linear layer without parameters: the product of its Jacobian, transposed."""
    layer, before = back.layer(node), back.boxes[_nodes(node)[0]].low
    flat = rows.flatten(0, 1)
    with torch.enable_grad():
        zero = flat.new_zeros(len(flat), *before.shape[1:], requires_grad=True)
        (found,) = torch.autograd.grad(layer(zero), zero, flat, create_graph=flat.requires_grad)
    back.hand(node.args[0], found.view(*rows.shape[:2], *before.shape[1:]))


def _batch_norm(back: _Backward, node: fx.Node, rows: Tensor) -> None:
    layer = back.layer(node)
    mean, var = (value.to(rows.dtype) for value in (layer.running_mean, layer.running_var))
    scale = (var + layer.eps).rsqrt()
    if layer.weight is not None:
        scale = scale * layer.weight.to(rows.dtype)
    shift = -mean * scale
    if layer.bias is not None:
        shift = shift + layer.bias.to(rows.dtype)
    back.add((rows if rows.dim() == 3 else rows.flatten(3).sum(3)) @ shift)
    back.hand(node.args[0], rows * scale.view(1, 1, -1, *[1] * (rows.dim() - 3)))


def _reshaped(back: _Backward, node: fx.Node, rows: Tensor) -> None:
    before = back.boxes[_nodes(node)[0]].low
    back.hand(node.args[0], rows.reshape(*rows.shape[:2], *before.shape[1:]))


def _same(back: _Backward, node: fx.Node, rows: Tensor) -> None:
    back.hand(node.args[0], rows)


def _sum(back: _Backward, node: fx.Node, rows: Tensor) -> None:
    for arg in _nodes(node):
        back.hand(arg, rows)


def _relu(back: _Backward, node: fx.Node, rows: Tensor) -> None:
    before = back.boxes[_nodes(node)[0]]
    low, high = before.low.clamp(max=0), before.high.clamp(min=0)
    upper = high / (high - low).clamp(min=LEAST)
    lower = (before.high > -before.low).to(rows)
    positive, negative = rows.clamp(min=0), rows.clamp(max=0)
    back.add(-_product(negative, upper * low))
    back.hand(node.args[0], positive * lower[:, None] + negative * upper[:, None])


def _max_pool(back: _Backward, node: fx.Node, rows: Tensor) -> None:
    """max ≥ x_i for the i of the highest lower bound; and max = x_i if that bound is above all others'
    upper bounds, else max ≤ the highest upper bound."""
    before, window = back.boxes[_nodes(node)[0]], _window(back, node)
    least, index = F.max_pool2d(before.low, return_indices=True, **window)
    place = index.flatten(2)
    sides = window["kernel_size"], window["stride"]
    apart = sides[0] == sides[1] and not window["padding"] and window["dilation"] == 1
    if apart:  # then no pixel is in two windows
        others = before.high.flatten(2).scatter(2, place, -torch.inf).view_as(before.high)
        surely = F.max_pool2d(others, **window) <= least
    else:
        surely = torch.zeros_like(least, dtype=torch.bool)
    most = F.max_pool2d(before.high, **window).masked_fill(surely, 0.0)
    negative = rows.clamp(max=0)
    back.add(_product(negative, most))
    kept = (rows.clamp(min=0) + negative * surely[:, None]).flatten(3)
    spread = kept.new_zeros(*rows.shape[:3], before.low[0, 0].numel())
    spread = spread.scatter_add(3, place[:, None].expand_as(kept), kept)
    back.hand(node.args[0], spread.view(*rows.shape[:2], *before.low.shape[1:]))


def _window(back: _Backward, node: fx.Node) -> dict[str, Any]:
    """Arguments of a max pooling, a layer or a function."""
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    if node.op == "call_module":
        layer = back.layer(node)
        given = {name: getattr(layer, name) for name in names}
    else:
        given = dict(zip(names, node.args[1:], strict=False))
        given |= {name: node.kwargs[name] for name in names if name in node.kwargs}
    plain = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False} | given
    plain["stride"] = plain["stride"] or plain["kernel_size"]
    return plain


STEPS: Mapping[type[nn.Module], Step] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.AvgPool2d: _adjoint,
    nn.AdaptiveAvgPool2d: _adjoint,
    nn.Flatten: _reshaped,
    nn.Identity: _same,
    nn.Dropout: _same,
    nn.ReLU: _relu,
    nn.MaxPool2d: _max_pool,
}
"""Class of a layer → its substitution; any other is taken as its box."""

CALLS: Mapping[Any, Step] = {
    **dict.fromkeys(RELU, _relu),
    torch.flatten: _reshaped,
    "flatten": _reshaped,
    F.max_pool2d: _max_pool,
}
"""The same of functions and methods."""
