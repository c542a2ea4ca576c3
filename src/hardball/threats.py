"""Threat models: a norm, a radius ε and the box [0, 1], always in pixel space.

Shapes: B batch; images are [B, ...] (usually [B, C, H, W]); ε is a number or a tensor [B].

Each norm is one row of the table `GEOMETRIES`: four functions and its radii, nothing else. A new
norm is a new row.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hardball.errors import UserError, unknown

Generator = torch.Generator | Sequence[torch.Generator] | None
"""Source of randomness: one generator for the batch, or one per example (then what an example
receives does not depend on its companions), or torch's global one."""


def per_example(values: Tensor, like: Tensor) -> Tensor:
    """View [B] values so that they broadcast over the images `like` [B, ...]."""
    return values.reshape(-1, *([1] * (like.dim() - 1)))


def uniform(like: Tensor, generator: Generator = None) -> Tensor:
    """Uniform numbers in [0, 1) of the shape and device of `like`."""
    return _draw(torch.rand, like, generator)


def gaussian(like: Tensor, generator: Generator = None) -> Tensor:
    """Standard normal numbers of the shape and device of `like`."""
    return _draw(torch.randn, like, generator)


def _draw(sampler: Callable[..., Tensor], like: Tensor, generator: Generator) -> Tensor:
    if generator is None:
        return sampler(like.shape, device=like.device, dtype=like.dtype)
    if isinstance(generator, torch.Generator):
        device = generator.device
        numbers = sampler(like.shape, generator=generator, device=device, dtype=like.dtype)
    elif len(generator) != len(like):
        raise UserError(f"{len(generator)} generators for {len(like)} examples; pass one for each")
    elif not len(like):
        return torch.empty_like(like)
    else:
        numbers = torch.stack(
            [
                sampler(like.shape[1:], generator=g, device=g.device, dtype=like.dtype)
                for g in generator
            ]
        )
    return numbers.to(like.device, non_blocking=True)


BALL_BOX_ROUNDS = 8
"""Newton steps of the ℓ2 projection; each one that changes anything clips a further coordinate."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """What a norm must know. `eps` broadcasts over the images ([B, 1, ...] or a number)."""

    project: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(moved, centre, eps) → the point of ball ∩ box for `moved`; see each function for "nearest"."""
    sample: Callable[[Tensor, Tensor, Generator], Tensor]
    """(centre, eps, generator) → random points of ball ∩ box."""
    steepest: Callable[[Tensor], Tensor]
    """gradient → the direction of unit size that raises a linear function most."""
    size: Callable[[Tensor], Tensor]
    """perturbation [B, ...] → its norm [B]."""
    radii: tuple[float, float] = (0.0, math.inf)
    """Smallest and largest finite ε that makes sense for it."""


def _clip_linf(moved: Tensor, centre: Tensor, eps: Tensor) -> Tensor:
    """The nearest point of ball ∩ box (in every ℓp norm): both are boxes."""
    low, high = (centre - eps).clamp(min=0), (centre + eps).clamp(max=1)
    return torch.minimum(torch.maximum(moved, low), high)


def _shrink_l2(moved: Tensor, centre: Tensor, eps: Tensor) -> Tensor:
    """The nearest point of ball ∩ box: centre + clip(t·u), u the unit direction of the move, with
    the largest t ≤ ‖moved − centre‖ that stays in the ball (the KKT conditions give this form).

    Clipping shortens the move, so t may exceed ε. Newton's rule solves ‖clip(t·u)‖ = ε for the
    coordinates clipped so far; t grows towards the solution, so every iterate is feasible.
    """
    delta = moved - centre
    norm = per_example(_norm_l2(delta), delta)
    direction, low, high = _unit_l2(delta), -centre, 1 - centre
    reach = torch.minimum(norm, eps)
    for _ in range(BALL_BOX_ROUNDS):
        wanted = direction * reach
        clipped = torch.minimum(torch.maximum(wanted, low), high)
        free = clipped == wanted
        left = eps.square() - _sum(clipped.masked_fill(free, 0).square())
        share = _sum(direction.masked_fill(~free, 0).square())
        further = (left.clamp(min=0) / share.clamp(min=torch.finfo(norm.dtype).tiny)).sqrt()
        reach = torch.where(share > 0, torch.minimum(norm, torch.maximum(reach, further)), reach)
    return centre + torch.minimum(torch.maximum(direction * reach, low), high)


def _sum(values: Tensor) -> Tensor:
    return per_example(values.flatten(1).sum(dim=1), values)


def _keep_largest(moved: Tensor, centre: Tensor, eps: Tensor) -> Tensor:
    """The nearest point (ℓ2) of ball ∩ box: clip, and keep the ⌊ε⌋ coordinates (single colour
    values, not whole pixels) whose move brings the point closest to `moved`."""
    delta = (moved - centre).flatten(1)
    inside = (moved.clamp(0, 1) - centre).flatten(1)
    # = δ² − (δ − inside)², without its cancellation where a raw-gradient step goes far outside
    gain = inside * (2 * delta - inside)
    rank = gain.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    kept = torch.where(rank < eps.reshape(-1, 1).floor(), inside, 0.0)
    return centre + kept.reshape(centre.shape)


def _clip_box(moved: Tensor, centre: Tensor, eps: Tensor) -> Tensor:
    return moved.clamp(0, 1)


def _sample_linf(centre: Tensor, eps: Tensor, generator: Generator) -> Tensor:
    """Uniform in the ball, then clipped to the box (the random start of PGD)."""
    return _clip_linf(centre + (2 * uniform(centre, generator) - 1) * eps, centre, eps)


def _sample_l2(centre: Tensor, eps: Tensor, generator: Generator) -> Tensor:
    """Uniform in the ball (a random direction, radius ε·U^(1/d)), then clipped to the box."""
    # one draw gives both: a normal vector's direction and its last coordinate's quantile
    numbers = gaussian(torch.cat([centre.flatten(1), centre.flatten(1)[:, :1]], dim=1), generator)
    direction = _unit_l2(numbers[:, :-1]).reshape(centre.shape)
    quantile = torch.special.ndtr(numbers[:, -1]).pow(
        1 / max(1, centre[0].numel() if len(centre) else 1)
    )
    return (centre + direction * per_example(quantile, centre) * eps).clamp(0, 1)


def _sample_l0(centre: Tensor, eps: Tensor, generator: Generator) -> Tensor:
    """⌊ε⌋ coordinates chosen evenly, each set to a uniform value of the box."""
    numbers = uniform(torch.stack([centre, centre], dim=1), generator)
    order, values = numbers[:, 0], numbers[:, 1]
    rank = order.flatten(1).argsort(dim=1).argsort(dim=1).reshape(centre.shape)
    return torch.where(rank < eps.floor(), values, centre)


def _sample_box(centre: Tensor, eps: Tensor, generator: Generator) -> Tensor:
    return uniform(centre, generator)


def _unit_l2(gradient: Tensor) -> Tensor:
    norm = per_example(_norm_l2(gradient), gradient)
    return torch.where(norm > 0, gradient / norm.clamp(min=torch.finfo(norm.dtype).tiny), 0.0)


def _unit_largest(gradient: Tensor) -> Tensor:
    """The gradient scaled so that its largest coordinate moves by one. The ℓ0 ball puts no bound on
    a coordinate, so "steepest" has no answer there; after the projection this moves the ⌊ε⌋
    coordinates of largest gradient, as in Croce & Hein (2019), with the step size in pixel units."""
    top = gradient.abs().flatten(1).amax(dim=1) if gradient[0:1].numel() else gradient.new_zeros(0)
    top = per_example(top, gradient)
    return torch.where(top > 0, gradient / top.clamp(min=torch.finfo(top.dtype).tiny), 0.0)


def _norm_l2(delta: Tensor) -> Tensor:
    """Scaled by the largest coordinate, so that neither tiny nor huge gradients under- or overflow."""
    flat = delta.flatten(1)
    if not flat.numel():
        return flat.new_zeros(len(flat))
    scale = flat.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny)
    lengths: Tensor = torch.linalg.vector_norm(flat / scale, dim=1)
    return lengths * scale.squeeze(1)


def _norm_linf(delta: Tensor) -> Tensor:
    return delta.flatten(1).abs().amax(dim=1) if delta.numel() else delta.new_zeros(len(delta))


def _norm_l0(delta: Tensor) -> Tensor:
    return delta.flatten(1).ne(0).sum(dim=1).to(delta.dtype)


GEOMETRIES: dict[str, Geometry] = {
    "linf": Geometry(
        project=_clip_linf,
        sample=_sample_linf,
        steepest=torch.sign,
        size=_norm_linf,
        radii=(0.0, 1.0),
    ),
    "l2": Geometry(project=_shrink_l2, sample=_sample_l2, steepest=_unit_l2, size=_norm_l2),
    "l0": Geometry(project=_keep_largest, sample=_sample_l0, steepest=_unit_largest, size=_norm_l0),
    "unbounded": Geometry(
        project=_clip_box,
        sample=_sample_box,
        steepest=torch.sign,
        size=_norm_linf,
        radii=(1.0, 1.0),
    ),
}


@dataclass(frozen=True, eq=False)
class ThreatModel:
    """The set of images an adversary may choose: {x' ∈ [0,1]^d : ‖x' − x‖ ≤ ε}.

    Args:
        norm: a key of `GEOMETRIES`: "linf", "l2", "l0" or "unbounded".
        eps: radius in pixel units (ℓ0: number of coordinates); a number or one per example [B].

    Raises:
        UserError: unknown norm; ε negative, infinite, NaN or outside the norm's `radii`.

    Example:
        >>> hb.ThreatModel("l2", 1.5).eps
        1.5
        >>> hb.ThreatModel("linf", 8)
        Traceback (most recent call last):
            ...
        hardball.errors.UserError: x
    """

    norm: str
    eps: float | Tensor

    def __post_init__(self) -> None:
        if self.norm not in GEOMETRIES:
            raise unknown("norm", self.norm, GEOMETRIES)
        eps = torch.as_tensor(self.eps, dtype=torch.float64)
        low, high = self.geometry.radii
        if eps.dim() > 1 or not bool(((eps >= low) & (eps <= high) & eps.isfinite()).all()):
            hint = "; images live in [0, 1], so write 8/255 as 0.0314, not 8" if high == 1 else ""
            bounds = f"[{low:g}, {high:g}{']' if math.isfinite(high) else ')'}"
            allowed = f"a number (or one per example) in {bounds}"
            raise UserError(f"eps={_short(self.eps)} for {self.norm}; allowed is {allowed}{hint}")

    @property
    def geometry(self) -> Geometry:
        return GEOMETRIES[self.norm]

    def at(self, eps: float | Tensor) -> "ThreatModel":
        """The same norm at another radius."""
        return ThreatModel(self.norm, eps)

    def rows(self, index: Tensor) -> "ThreatModel":
        """The threat model of some of the examples."""
        return self.at(self.eps[index]) if isinstance(self.eps, Tensor) and self.eps.dim() else self

    def project(self, moved: Tensor, centre: Tensor) -> Tensor:
        """Bring `moved` [B, ...] back into the ball around `centre` [B, ...] and the box."""
        return self.geometry.project(moved, centre, self.radius(centre))

    def sample(self, centre: Tensor, generator: Generator = None) -> Tensor:
        """Random points of ball ∩ box around `centre` [B, ...]."""
        return self.geometry.sample(centre, self.radius(centre), generator)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The direction of unit size along which a linear function rises most (0 for gradient 0)."""
        return self.geometry.steepest(gradient)

    def size(self, delta: Tensor) -> Tensor:
        """The norm [B] of perturbations [B, ...] (ℓ∞ for the unbounded threat)."""
        return self.geometry.size(delta)

    def allows(self, moved: Tensor, centre: Tensor, *, slack: float = 1e-6) -> Tensor:
        """bool [B]: `moved` lies in ball ∩ box, up to `slack` of rounding."""
        in_box = ((moved >= 0) & (moved <= 1)).flatten(1).all(dim=1)
        radius = self.radius(centre).reshape(-1) * (1 + slack) + slack
        return in_box & (self.size(moved - centre) <= radius)

    def radius(self, like: Tensor) -> Tensor:
        """ε in the type and place of the images `like`: a scalar, or [B, 1, ...] if one for each."""
        if not isinstance(self.eps, Tensor):
            # a fill, not a copy from the host: training on a GPU must not wait here
            return like.new_full((), self.eps)
        eps = self.eps.to(like)
        if eps.dim() and len(eps) != len(like):
            raise UserError(f"{len(eps)} values of eps for {len(like)} examples; pass one for each")
        return per_example(eps, like) if eps.dim() else eps

    def __str__(self) -> str:
        return self.norm if self.norm == "unbounded" else f"{self.norm} ε={_short(self.eps)}"


def _short(eps: float | Tensor) -> str:
    values = torch.as_tensor(eps, dtype=torch.float64)
    return f"{values.item():.6g}" if values.dim() == 0 else f"{values.tolist()}"


def LInf(eps: float | Tensor) -> ThreatModel:
    """Every pixel moves by at most ε ∈ [0, 1].

    Example:
        >>> threat = hb.LInf(8 / 255)
        >>> moved = threat.project(test.images + 1, test.images)
        >>> print(threat.allows(moved, test.images).all())
        tensor(True)
    """
    return ThreatModel("linf", eps)


def L2(eps: float | Tensor) -> ThreatModel:
    """The Euclidean length of the perturbation is at most ε.

    Example:
        >>> threat = hb.L2(1.5)
        >>> moved = threat.project(test.images + 1, test.images)
        >>> print((moved - test.images).flatten(1).norm(dim=1).max() <= 1.5001)
        tensor(True)
    """
    return ThreatModel("l2", eps)


def L0(eps: float | Tensor) -> ThreatModel:
    """At most ε coordinates (colour values) change, by any amount inside the box.

    Example:
        >>> threat = hb.L0(12)
        >>> moved = threat.project(1 - test.images, test.images)
        >>> print((moved != test.images).flatten(1).sum(dim=1).max())
        tensor(12)
    """
    return ThreatModel("l0", eps)


def Unbounded() -> ThreatModel:
    """Any image of the box (so ‖δ‖∞ ≤ 1 = ε): what must bring every classifier to 0%.

    Example:
        >>> hb.Unbounded().norm
        'unbounded'
    """
    return ThreatModel("unbounded", 1.0)
