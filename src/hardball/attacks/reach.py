"""The ℓ∞ ball behind a front, as a ball of its own in which every attack can move.

Shapes: B images [B, C, ...]; points [B, 3C, ...].
"""

import torch
from torch import Tensor, nn

from hardball.attacks.result import Classifier
from hardball.fronts import Front
from hardball.threats import Generator, ThreatModel, uniform


class Reach:
    """What an ℓ∞ adversary can do behind a front, as a ball of its own.

    Every image becomes a *point* [3C, ...]: the place u ∈ [0, 1] of each pixel in its interval, and the
    interval's two ends (scaled by φ(0) and φ(1) to lie in [0, 1]). Attacks move u and nothing else, by
    `InBox`, on `network(body)`. So the box travels with its image, and an attack may drop images as it
    goes. A step of so much is that part of each pixel's own interval.

    Args:
        front: of the model.
        images: [B, C, ...].
        threat: ℓ∞, or unbounded.
    """

    def __init__(self, front: Front, images: Tensor, threat: ThreatModel) -> None:
        self.front, self.images = front, images
        self.low, self.high = threat.project(images - 1, images), threat.project(images + 1, images)
        blank = torch.zeros_like(images[:1])
        with torch.no_grad():
            least, largest = front.interval(blank, blank + 1)
            ends = front.interval(self.low, self.high)
            self.least, self.span = least, largest - least
            self.ends = tuple(self._share(end, least, self.span) for end in ends)
            self.points = self._with_ends(self._share(front(images), ends[0], ends[1] - ends[0]))

    @staticmethod
    def _share(values: Tensor, low: Tensor, span: Tensor) -> Tensor:
        share = (values - low) / span
        return torch.where(span > 0, share, 0.0).clamp(0, 1)

    def _with_ends(self, place: Tensor) -> Tensor:
        return torch.cat([place, *self.ends], dim=1)

    def from_pixels(self, pixels: Tensor) -> Tensor:
        """Points where u is the place of each pixel between x − ε and x + ε, itself a number in [0, 1]
        as behind a front that is the identity: where to start."""
        place = self._share(pixels, self.low, self.high - self.low)
        return self._with_ends(place if self.front.increasing else 1 - place)

    def network(self, body: Classifier, *, relaxed: bool = False) -> "Behind":
        """The body, on points.

        Args:
            relaxed: on all points of the box, also those that a front with jumps does not reach.
        """
        rounding = None if relaxed or self.front.continuous else self.front
        return Behind(body, self.least, self.span, rounding)

    def pull_back(self, points: Tensor) -> Tensor:
        """Images in ball and box whose image under the front is the point, or, where the front jumps
        over it, the reachable one next to it."""
        with torch.no_grad():
            values = placed(points, self.least, self.span)
            return self.front.pull_back(values, self.images, self.low, self.high)


class Behind(nn.Module):
    """Points (see `Reach`) → logits of the body.

    Args:
        front: if given, the body sees the reachable values next to the point's; the gradient there is
            handed on as that of the point.
    """

    def __init__(
        self, body: Classifier, least: Tensor, span: Tensor, front: Front | None = None
    ) -> None:
        super().__init__()
        self.body = body
        self.scale, self.rounding = (least, span), front

    def forward(self, points: Tensor) -> Tensor:
        values = placed(points, *self.scale)
        if self.rounding is not None:
            with torch.no_grad():
                rounded = self.rounding.nearest(values)
            values = rounded + (values - values.detach())
        logits: Tensor = self.body(values)
        return logits


def placed(points: Tensor, least: Tensor, span: Tensor) -> Tensor:
    """The values behind the front [B, C, ...] of points [B, 3C, ...]; a gradient flows to u alone."""
    place, low, high = points.chunk(3, dim=1)
    low, high = low.detach(), high.detach()
    return least + span * (low + place * (high - low))


HALF = 0.5
"""Half an interval: what ε is in units of u."""


class InBox(ThreatModel):
    """u ∈ [0, 1], whatever the image's own: see `Reach`. Its ε is half the interval, as that of a ball
    is, so that rules for step sizes mean the same."""

    def __init__(self) -> None:
        super().__init__("linf", HALF)

    def project(self, moved: Tensor, centre: Tensor) -> Tensor:
        place = moved.chunk(3, dim=1)[0].clamp(0, 1)
        return torch.cat([place, *centre.chunk(3, dim=1)[1:]], dim=1)

    def sample(self, centre: Tensor, generator: Generator = None) -> Tensor:
        return self.project(uniform(centre, generator), centre)
