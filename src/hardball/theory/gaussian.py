"""Two Gaussian classes: the best robust classifier in closed form.

x | y ~ N(μ_y, σ²I) in R^d, y = ±1 equally likely, an adversary who moves x by δ with ‖δ‖_p ≤ ε.
Let m = (μ₁ − μ₋₁)/2 and z the point of the ε-ball nearest to m (in ℓ2). The linear rule with
normal w = m − z, through the midpoint of the means, errs with probability

    Φ(−‖m − z‖₂ / σ),

and no classifier does better: the adversary can shift the two classes towards each other by ±z,
after which they are Gaussians only 2‖m − z‖ apart. For p = 2 this is Theorem 2 of the paper (arXiv
2003.13370), Φ((−‖w‖ + 2ε)/2σ), without its assumption that the decision boundary is continuous;
for other norms it is due to Bhagoji, Cullina and Mittal (2019). Once m lies in the ball, the
classes can be made equal and the error is ½: for p = 2 from ε_max = ‖μ₁ − μ₋₁‖/2 on.

N samples, d dimensions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardball.errors import UserError, unknown
from hardball.theory.arguments import as_array, positive_int, radius

Floats = NDArray[np.float64]


def _into_l2(m: Floats, eps: float) -> Floats:
    length = float(np.linalg.norm(m))
    return m * min(1.0, eps / length) if length > 0 else m


@dataclass(frozen=True)
class _Ball:
    nearest: Callable[[Floats, float], Floats]
    """(m, ε) → the point of the ε-ball nearest to m in ℓ2."""
    size: Callable[[Floats], float]
    """The norm itself: the ε from which m lies in the ball."""
    dual: Callable[[Floats], float]
    """w → max wᵀδ over the unit ball: how far an adversary moves a linear score."""


_BALLS: dict[str, _Ball] = {
    "l2": _Ball(_into_l2, lambda m: float(np.linalg.norm(m)), lambda w: float(np.linalg.norm(w))),
    "linf": _Ball(
        lambda m, eps: np.clip(m, -eps, eps),
        lambda m: float(np.abs(m).max()),
        lambda w: float(np.abs(w).sum()),
    ),
}


@dataclass(frozen=True, eq=False)
class LinearRule:
    """x ↦ +1 where wᵀx + b ≥ 0, else −1. w [d]; call it on points [N, d], get labels [N]."""

    weight: Floats
    offset: float

    def __call__(self, points: object) -> NDArray[np.int64]:
        score = as_array(points, "points") @ self.weight + self.offset
        return np.where(score >= 0, 1, -1)


@dataclass(frozen=True, eq=False)
class Gaussian:
    """The model: class means [d] and the common standard deviation σ.

    Raises:
        UserError: means of different shape, NaN, equal means, or σ ≤ 0.

    Example:
        >>> from hardball.theory import Gaussian
        >>> two = Gaussian(positive=[1.0, 1.0], negative=[-1.0, -1.0], sigma=1.0)
        >>> print(round(two.largest_eps("linf"), 4), round(two.bayes_error(), 4))
        1.0 0.0786
        >>> print(round(two.robust_error(0.5, "linf"), 4))
        0.2398
    """

    positive: Floats
    negative: Floats
    sigma: float = 1.0

    def __post_init__(self) -> None:
        for name in ("positive", "negative"):
            mean = as_array(getattr(self, name), name).astype(np.float64)
            object.__setattr__(self, name, mean)
        if self.positive.ndim != 1 or self.positive.shape != self.negative.shape:
            raise UserError(
                f"means have shapes {self.positive.shape} and {self.negative.shape}; "
                "give two vectors of one length"
            )
        if np.array_equal(self.positive, self.negative):
            raise UserError("the two means are equal; move one, or there is nothing to classify")
        if not (self.sigma > 0 and np.isfinite(self.sigma)):
            raise UserError(f"`sigma={self.sigma}`; give a positive standard deviation")

    @property
    def half_gap(self) -> Floats:
        """m = (μ₁ − μ₋₁)/2. [d]"""
        return (self.positive - self.negative) / 2

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64]]:
        """Points [N, d] and labels ±1 [N]."""
        labels = rng.choice(np.array([-1, 1]), size=positive_int(count, "count"))
        means = np.where(labels[:, None] > 0, self.positive, self.negative)
        return means + self.sigma * rng.standard_normal(means.shape), labels

    def largest_eps(self, norm: str = "l2") -> float:
        """ε_max, from which on no classifier beats guessing."""
        return _ball(norm).size(self.half_gap)

    def rule(self, eps: float = 0.0, norm: str = "l2") -> LinearRule:
        """An optimal robust classifier; for ε = 0 or ℓ2 it is the Bayes rule wᵀx, w = μ₁ − μ₋₁.

        Beyond ε_max, where every classifier's error is at least ½, it is a constant.
        """
        m = self.half_gap
        weight = m - _ball(norm).nearest(m, radius(eps))
        if eps >= self.largest_eps(norm):
            return LinearRule(np.zeros_like(m), 0.0)
        return LinearRule(weight, -float(weight @ (self.positive + self.negative)) / 2)

    def bayes_error(self) -> float:
        """Φ(−‖μ₁ − μ₋₁‖/2σ)."""
        return self.robust_error(0.0)

    def robust_error(self, eps: float, norm: str = "l2") -> float:
        """The least robust error of any classifier, at most ½."""
        from scipy.special import ndtr

        return float(ndtr(-self._distance(eps, norm)))

    def log_robust_error(self, eps: float, norm: str = "l2") -> float:
        """Its natural logarithm, finite where the error itself is too small for a float."""
        from scipy.special import log_ndtr

        return float(log_ndtr(-self._distance(eps, norm)))

    def _distance(self, eps: float, norm: str) -> float:
        """‖m − z‖/σ."""
        m = self.half_gap
        if radius(eps) >= self.largest_eps(norm):
            return 0.0
        return float(np.linalg.norm(m - _ball(norm).nearest(m, eps))) / self.sigma


def rule_error(rule: LinearRule, model: Gaussian, eps: float, norm: str = "l2") -> float:
    """The robust error of any linear rule: ½ Σ_y Φ((−y(wᵀμ_y + b) + ε‖w‖*) / σ‖w‖₂).

    ‖·‖* is the dual norm (ℓ2 for ℓ2, ℓ1 for ℓ∞). A constant rule errs on half.
    """
    reach = radius(eps) * _ball(norm).dual(rule.weight)
    length = float(np.linalg.norm(rule.weight))
    if length == 0:
        return 0.5
    margins = np.array(
        [rule.weight @ model.positive + rule.offset, -(rule.weight @ model.negative + rule.offset)]
    )
    from scipy.special import ndtr

    return float(ndtr((reach - margins) / (model.sigma * length)).mean())


def _ball(norm: str) -> _Ball:
    if norm not in _BALLS:
        raise unknown("norm", norm, _BALLS)
    return _BALLS[norm]
