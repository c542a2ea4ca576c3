"""A certificate: `--certify '[hardball_outside.certificate:Intervals]'`."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

import hardball as hb
from hardball.errors import CannotRun, Unsupported


@dataclass(frozen=True)
class Intervals(hb.Certificate):
    """Interval bounds (Gowal et al. 2018) for dense ReLU networks and the norm linf.

    In float64; what the network's own float32 rounds away is added to every interval.
    """

    def validate(self, images: Tensor, threat: hb.ThreatModel) -> None:
        if threat.norm != "linf":
            raise Unsupported(f"norm {threat.norm} for interval bounds; allowed is linf")

    def certify(self, model: Any, images: Tensor, labels: Tensor, threat: hb.ThreatModel) -> Tensor:
        if type(model).forward is not nn.Sequential.forward:
            raise CannotRun(f"interval bounds of {type(model).__name__}; allowed is nn.Sequential")
        images, eps = images.double(), threat.radius(images).double()
        reach = eps * (1 + 1e-6) + 1e-6  # as far as `threat.allows` goes
        low, high = (images - reach).clamp(min=0), (images + reach).clamp(max=1)
        for layer in model:
            if isinstance(layer, nn.Linear):
                weight, bias = layer.weight.double(), layer.bias.double()
                middle, radius = (low + high) / 2, (high - low) / 2
                terms = (middle.abs() + radius) @ weight.abs().T + bias.abs()
                rounding = (weight.shape[1] + 2) * 2.0**-23 * terms
                middle, radius = middle @ weight.T + bias, radius @ weight.abs().T + rounding
                low, high = middle - radius, middle + radius
            elif isinstance(layer, nn.ReLU | nn.Flatten):
                low, high = layer(low), layer(high)
            else:
                raise CannotRun(f"interval bounds of {layer}; allowed are Linear, ReLU, Flatten")
        true = low.gather(1, labels[:, None]).squeeze(1)
        others = high.scatter(1, labels[:, None], -float("inf")).amax(dim=1)
        return true > others
