"""Bounds by linear relaxation (CROWN-IBP), computed a second time by another way than
`hardball.certify`: autograd carries the coefficients back. Every operation becomes a linear one whose
*gradient* is its relaxation, so one backward pass of z_y − z_j gives the coefficients of all nodes, and
what each node adds to the bound is noted as the gradient goes by.

Shapes: B images; spans [B, ...] as in the network.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from hardball.verification import bounds
from hardball.verification.bounds import PLUS, Span, Walk

OWN = 2.0**-40
"""Of all terms: more than float64 rounds away."""


class _Book:
    """What the nodes add to the bound of each image, [B], and the sizes of these terms."""

    def __init__(self, count: int) -> None:
        self.total, self.size = torch.zeros(count).double(), torch.zeros(count).double()

    def add(self, terms: Tensor) -> None:
        flat = terms.flatten(1)
        self.total += flat.sum(1)
        self.size += flat.abs().sum(1)


class _Noted(torch.autograd.Function):
    """The identity; its gradient is changed by a rule, which may note terms on the way."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, rule: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.rule = rule
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *rows: Tensor) -> Any:
        return ctx.rule(rows[0]), None


def _noted(value: Tensor, rule: Callable[[Tensor], Tensor]) -> Tensor:
    found: Tensor = _Noted.apply(value, rule)
    return found


class _Spans(Walk):
    """Keeps the span of every node."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.spans: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        found = self.spans[n] = super().run_node(n)
        return found


class _Lines(fx.Interpreter):
    """Runs the network made linear. Values mean nothing; gradients do."""

    def __init__(self, module: fx.GraphModule, spans: Mapping[fx.Node, Any], book: _Book) -> None:
        super().__init__(module)
        self.spans, self.book = spans, book
        self.leaves: list[Tensor] = []
        """Where gradients end."""

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "output":
            return super().run_node(n)
        span = self.spans[n]
        args = [one for one in n.args if isinstance(one, fx.Node)]
        values = [self.env[one] for one in args]
        known = isinstance(span, Span) and all(isinstance(self.spans[one], Span) for one in args)
        step = self._step(n) if known and args else None
        if step is None:
            return self._by_its_span(span) if isinstance(span, Span) else super().run_node(n)
        return step(n, span, values)

    def _step(self, n: fx.Node) -> Callable[[fx.Node, Span, list[Any]], Tensor] | None:
        if n.op == "call_module":
            kind = type(self.fetch_attr(str(n.target)))
            return next(
                (getattr(self, name) for name, kinds in LAYERS.items() if kind in kinds), None
            )
        if n.target in PLUS:
            both = len(n.args) == 2 and all(isinstance(arg, fx.Node) for arg in n.args)
            return self._sum if both else None
        name = CALLS.get(n.target)
        return getattr(self, name) if name else None

    def _plain(self, n: fx.Node, span: Span, values: list[Any]) -> Tensor:
        found: Tensor = super().run_node(n)
        return found

    def _sum(self, n: fx.Node, span: Span, values: list[Any]) -> Tensor:
        return self._with_constant(values[0] + values[1], torch.zeros(1).double(), span)

    def _average(self, n: fx.Node, span: Span, values: list[Any]) -> Tensor:
        return self._with_constant(super().run_node(n), torch.zeros(1).double(), span)

    def _affine(self, n: fx.Node, span: Span, values: list[Any]) -> Tensor:
        """The same without its constant, which is noted."""
        layer = self.fetch_attr(str(n.target))
        with torch.no_grad():
            constant = layer(torch.zeros_like(values[0]))
        return self._with_constant(layer(values[0]) - constant, constant, span)

    def _with_constant(self, found: Tensor, constant: Tensor, span: Span) -> Tensor:
        """A linear operation; its constant and its rounding are noted."""
        error = span.error

        def rule(rows: Tensor) -> Tensor:
            self.book.add(rows * constant)
            if error is not None:
                self.book.add(-rows.abs() * error)
            return rows

        return _noted(found, rule)

    def _relu(self, n: fx.Node, span: Span, values: list[Any]) -> Tensor:
        """Between the line through (l, 0), (u, u) and the line x where u > −l, else 0."""
        before: Span = self.spans[_first(n)]
        low, high = before.low.clamp(max=0), before.high.clamp(min=0)
        crossing = high - low > 0
        upper = torch.where(crossing, high / torch.where(crossing, high - low, 1.0), 0.0)
        lower = (before.high > -before.low).double()

        def rule(rows: Tensor) -> Tensor:
            below = rows.clamp(max=0)
            self.book.add(-below * upper * low)
            return rows.clamp(min=0) * lower + below * upper

        return _noted(values[0], rule)

    def _max_pool(self, n: fx.Node, span: Span, values: list[Any]) -> Tensor:
        """At least the value of highest lower bound; that value, if no other can be higher; and at
        most the highest upper bound."""
        before, window = self.spans[_first(n)], self._window(n)
        least, index = F.max_pool2d(before.low, return_indices=True, **window)
        place = index.flatten(2)
        others = before.high.flatten(2).scatter(2, place, -torch.inf).view_as(before.high)
        surely = F.max_pool2d(others, **window) <= least
        if window["stride"] not in (None, window["kernel_size"]) or len(window) > 2:
            surely = torch.zeros_like(surely)  # a pixel may be in two windows
        most = F.max_pool2d(before.high, **window)
        value: Tensor = values[0]
        chosen = value.flatten(2).gather(2, place).view_as(least)

        def rule(rows: Tensor) -> Tensor:
            below = rows.clamp(max=0)
            self.book.add(torch.where(surely, 0.0, below * most))
            return rows.clamp(min=0) + torch.where(surely, below, 0.0)

        return _noted(chosen, rule)

    def _window(self, n: fx.Node) -> dict[str, Any]:
        """Kernel and stride, and whatever else is not as usual."""
        usual = {"padding": 0, "dilation": 1, "ceil_mode": False}
        names = ("kernel_size", "stride", *usual)
        if n.op == "call_module":
            layer = self.fetch_attr(str(n.target))
            given = {name: getattr(layer, name) for name in names}
        else:
            given = dict(zip(names, n.args[1:], strict=False)) | dict(n.kwargs)
            given.pop("return_indices", None)
        given = {"stride": None} | given
        return {k: v for k, v in given.items() if k not in usual or v != usual[k]}

    def _by_its_span(self, span: Span) -> Tensor:
        """A new beginning: nothing before it matters."""

        def rule(rows: Tensor) -> Tensor:
            self.book.add(rows.clamp(min=0) * span.low)
            self.book.add(rows.clamp(max=0) * span.high)
            return rows

        self.leaves.append(torch.zeros_like(span.low, requires_grad=True))
        return _noted(self.leaves[-1], rule)


LAYERS: Mapping[str, tuple[type[nn.Module], ...]] = {
    "_affine": (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d),
    "_average": (nn.AvgPool2d, nn.AdaptiveAvgPool2d),
    "_plain": (nn.Flatten, nn.Identity, nn.Dropout),
    "_relu": (nn.ReLU,),
    "_max_pool": (nn.MaxPool2d,),
}
"""Step → the layers it takes; any other is taken by its span."""

CALLS: Mapping[Any, str] = {
    F.relu: "_relu",
    torch.relu: "_relu",
    "relu": "_relu",
    torch.flatten: "_plain",
    "flatten": "_plain",
    F.max_pool2d: "_max_pool",
}
"""Function or method → step."""


def _first(n: fx.Node) -> fx.Node:
    (found, *_) = (arg for arg in n.args if isinstance(arg, fx.Node))
    return found


def margins(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    reach: float,
    *,
    exact: bool,
) -> Tensor:
    """Lower bounds on min over j ≠ y of z_y − z_j, float64 [B]: for each j the higher of this relaxation
    and the interval bound.

    Args: as `bounds.margins`.

    Raises:
        Unknown: the network cannot be followed.
    """
    every = bounds.differences(network, images, labels, reach, exact=exact)
    graph = bounds.graph_of(copy.deepcopy(network).double())
    walk = _Spans(graph)
    with torch.no_grad():
        walk.run(bounds.span_of(images, reach, exact=exact))
    columns = []
    for j in range(every.shape[1]):
        book = _Book(len(images))
        with torch.enable_grad():
            lines = _Lines(graph, walk.spans, book)
            logits = lines.run(images.double())
            lead = logits.gather(1, labels[:, None]).squeeze(1) - logits[:, j]
            torch.autograd.grad(lead.sum(), lines.leaves, allow_unused=True)
        columns.append(book.total - (0.0 if exact else OWN) * book.size)
    return bounds.least_lead(torch.maximum(every, torch.stack(columns, dim=1)), labels)
