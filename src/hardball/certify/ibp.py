"""Certificates by interval bound propagation (Gowal et al. 2018)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from hardball.certify.base import Certificate
from hardball.certify.folded import Folded
from hardball.certify.intervals import UNIT, Box, Intervals, Propagation, traced
from hardball.errors import Unsupported
from hardball.threats import ThreatModel

REACH = 1 + 1e-6, 1e-6
"""Factor and addition with which ε covers what `ThreatModel.allows` accepts."""


@dataclass(frozen=True, kw_only=True)
class IBP(Certificate):
    """min over j ≠ y of z_y − z_j > 0 on the whole box [x − ε, x + ε] ∩ [0, 1], by interval bounds.

    Fast (two passes of the network in float64) and sound for the float32 network: each bound is widened
    by what float32 rounding can change, in any order of summation. It is loose unless the network was
    trained for it; a network trained by PGD alone has next to nothing proved. The last linear layer is
    not bounded by itself: margins are bounded, which is tighter.

    Known are linear and convolution layers, batch norm in evaluation mode, ReLU and other monotone
    functions, max and average pooling, flatten, residual sums, and fronts (`hardball.fronts`), whose
    box is exact. The bound on rounding does not hold for convolutions by transform (Winograd, FFT) or
    in TF32 or half precision: certify on the CPU, or in full precision with direct convolutions.

    Example:
        >>> margins = hb.IBP().margins(model, test.images, test.labels, hb.LInf(0.0))
        >>> margins.shape
        torch.Size([20])
    """

    def validate(self, images: Tensor, threat: ThreatModel) -> None:
        """Refuse other norms."""
        if threat.norm != "linf":
            raise Unsupported(f"norm {threat.norm} for interval bounds; allowed is linf")

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
            return margins(traced(model), to_box(images, threat), labels, Propagation())


def to_box(images: Tensor, threat: ThreatModel) -> Box:
    """All that `ThreatModel.allows` accepts around the images, in float64."""
    images = images.double()
    factor, addition = REACH
    reach = threat.radius(images) * factor + addition
    return Box((images - reach).clamp(min=0), (images + reach).clamp(max=1))


def margins(graph: fx.GraphModule, box: Box, labels: Tensor, rule: Propagation) -> Tensor:
    """Lower bounds on min over j ≠ y of z_y − z_j [B]."""
    every = differences(graph, box, labels, rule)
    own = torch.zeros_like(every).scatter(1, labels[:, None], torch.inf)
    least: Tensor = (every + own).amin(1)
    return least


def differences(graph: fx.GraphModule, box: Box, labels: Tensor, rule: Propagation) -> Tensor:
    """Lower bounds on z_y − z_j [B, K], 0 at j = y; differentiable in the parameters."""
    return propagated(graph, box, labels, rule)[0]


def propagated(
    graph: fx.GraphModule, box: Box, labels: Tensor, rule: Propagation
) -> tuple[Tensor, list[Box]]:
    """`differences`, and the boxes before the ReLUs."""
    walking = Intervals if rule.rounding else Folded
    last = _last_linear(graph)
    if last is None:
        walk = walking(graph, rule)
        bounds = walk.run(box)
        every = bounds.low.gather(1, labels[:, None]) - bounds.high
    else:
        node, layer = last
        walk = walking(_without(graph, node), rule)
        every = _elided(walk.run(box), layer, labels, rule)
    return every.scatter(1, labels[:, None], 0.0), walk.rectified


def _last_linear(graph: fx.GraphModule) -> tuple[fx.Node, nn.Linear] | None:
    """The layer that gives the logits, if it is a linear one."""
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    node: Any = output.args[0]
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    layer = graph.get_submodule(str(node.target))
    return (node, layer) if isinstance(layer, nn.Linear) else None


def _without(graph: fx.GraphModule, node: fx.Node) -> fx.GraphModule:
    """The network up to the input of a node."""
    shorter = fx.Graph()
    shorter.graph_copy(graph.graph, {})
    copied = next(one for one in reversed(shorter.nodes) if one.target == node.target)
    before: Any = copied.args[0]
    shorter.erase_node(copied)
    shorter.output(before)
    return fx.GraphModule(graph, shorter)


def _elided(box: Box, layer: nn.Linear, labels: Tensor, rule: Propagation) -> Tensor:
    """Lower bounds on z_y − z_j [B, K]: the rows of the last layer are subtracted before the box is
    propagated, not after."""
    weight = layer.weight.to(box.low.dtype)
    difference = weight[labels][:, None] - weight  # [B, K, D]
    bound = torch.einsum("bkd,bd->bk", difference, box.middle)
    bound = bound - torch.einsum("bkd,bd->bk", difference.abs(), box.radius)
    bias = None if layer.bias is None else layer.bias.to(box.low.dtype)
    if bias is not None:
        bound = bound + bias[labels][:, None] - bias
    if rule.rounding:
        bulk = nn.functional.linear(box.largest, weight.abs(), None if bias is None else bias.abs())
        both = bulk + bulk.gather(1, labels[:, None])
        bound = bound - (layer.in_features + 2) * UNIT * both
    return bound
