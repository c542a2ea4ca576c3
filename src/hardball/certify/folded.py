"""Interval bounds for training, where speed counts and rounding does not: a batch norm is made part of the
layer before it, so that no box between the two goes through memory.
"""

from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from hardball.certify.intervals import Box, Intervals, normalised, product_of

BEFORE = (nn.Linear, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class _Waiting:
    """A layer whose batch norm is still to come, and the box that enters it."""

    layer: nn.Linear | nn.Conv2d
    box: Box


class Folded(Intervals):
    """The same boxes as `Intervals` (in exact arithmetic)."""

    def run_node(self, n: fx.Node) -> Any:
        layer = self._layer(n)
        if isinstance(layer, BEFORE) and isinstance(self._layer(_only_user(n)), NORMS):
            (box,), _ = self.fetch_args_kwargs_from_env(n)
            return _Waiting(layer, box) if isinstance(box, Box) else super().run_node(n)
        return super().run_node(n)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        before = args[0]
        if not isinstance(before, _Waiting):
            return super().call_module(target, args, kwargs)
        layer, box = before.layer, before.box
        _, scale, shift = normalised(self.fetch_attr(target), box.low)
        weight = layer.weight.to(box.low.dtype)
        weight = weight * scale.view(-1, *[1] * (weight.dim() - 1))
        if layer.bias is not None:
            shift = shift + layer.bias * scale
        return self.rule.affine(box, weight, shift, product_of(layer))

    def _layer(self, node: fx.Node | None) -> nn.Module | None:
        if node is None or node.op != "call_module":
            return None
        found: nn.Module = self.fetch_attr(str(node.target))
        return found


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None
