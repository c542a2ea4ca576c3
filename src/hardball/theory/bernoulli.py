"""Two Bernoulli classes: Bayes and robust errors, in log space.

Each feature x_i equals θ_i^(y) with probability ½ + t and −θ_i^(y) otherwise; y = ±1 equally likely
(Definition 7 of the paper, arXiv 2003.13370). Only the k features where the two θ differ matter.
Among them the number that agree with one's own θ is M ~ Bin(k, ½+t). F(m) = P(M ≤ m), with F = 0
below 0 and 1 from k on.

* Bayes (Theorem 3): the nearer θ; error P(M < k/2) + ½ P(M = k/2).
* ℓ0, ε whole flips (Theorem 4): +1 where at most s of the k features differ from θ^(1);
  error(s) = ½ F(s+ε) + ½ F(k−s+ε−1) for 0 ≤ s < k. The paper lets s = k as well, but the formula
  fails there: all points are then +1, nothing of the other class is left to be attacked towards,
  and the error is exactly ½, as for s = −1 (all −1). So the least error never exceeds ½.
* ℓ∞ (Theorem 5): for ε < 1 rounding to signs undoes any attack, so the robust error is the Bayes
  error; from ε = 1 on every point can be moved to 0 and it is ½. For features in {0,1} instead of
  {−1,1} that limit is ½.

The paper's assumption that an optimal ℓ0 rule depends on the Hamming distance alone is not proved
there; the tests confirm it against all classifiers, by minimum cuts, for small k.

Accuracy: logarithms are right to 1e-9, also where the probabilities underflow, up to k = 10⁵.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardball.errors import UserError
from hardball.theory.arguments import Array, advantage, as_array, exact, flips, positive_int, radius

Floats = NDArray[np.float64]
Signs = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Bernoulli:
    """The model: the classes' sign vectors θ^(1), θ^(−1) [d] and t.

    Raises:
        UserError: θ of different shape, not of ±1, nowhere different (k < 1), or t outside (0, ½].
    """

    positive: Signs
    negative: Signs
    t: float

    def __post_init__(self) -> None:
        advantage(self.t)
        for name in ("positive", "negative"):
            theta = as_array(getattr(self, name), name)
            if theta.ndim != 1 or not np.isin(theta, (-1, 1)).all():
                raise UserError(f"`{name}` must be a vector of −1 and 1; got {theta!r:.60}")
            object.__setattr__(self, name, theta.astype(np.int64))
        if self.positive.shape != self.negative.shape:
            raise UserError(
                f"theta have {len(self.positive)} and {len(self.negative)} features; "
                "give two vectors of one length"
            )
        if self.k < 1:
            raise UserError("`k=0`: the two theta are equal; let at least one feature differ")

    @property
    def effective(self) -> NDArray[np.bool_]:
        """Where the two θ differ. [d]"""
        return np.not_equal(self.positive, self.negative)

    @property
    def k(self) -> int:
        """The effective dimension."""
        return int(self.effective.sum())

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Signs, Signs]:
        """Points [N, d] of ±1 and labels ±1 [N]."""
        labels = rng.choice(np.array([-1, 1]), size=positive_int(count, "count"))
        theta = np.where(labels[:, None] > 0, self.positive, self.negative)
        agree = rng.random(theta.shape) < 0.5 + self.t
        return np.where(agree, theta, -theta), labels

    def misses(self, points: object) -> NDArray[np.int64]:
        """‖x′ − θ′^(1)‖₀ on the effective features. [N, d] → [N]"""
        x = as_array(points, "points")
        if x.ndim != 2 or x.shape[1] != len(self.positive):
            raise UserError(f"points have shape {x.shape}; give [N, {len(self.positive)}]")
        return np.asarray((x != self.positive)[:, self.effective].sum(axis=1), dtype=np.int64)

    def bayes_rule(self, points: object) -> Signs:
        """The nearer θ in Hamming distance, +1 on ties. [N, d] → [N]"""
        return np.where(2 * self.misses(points) <= self.k, 1, -1)

    def l0_rule(self, points: object, threshold: int) -> Signs:
        """+1 where at most `threshold` effective features differ from θ^(1). [N, d] → [N]"""
        return np.where(self.misses(points) <= threshold, 1, -1)

    def linf_rule(self, points: object) -> Signs:
        """The Bayes rule after rounding to signs (0 counts as +1). [N, d] → [N]"""
        return self.bayes_rule(np.where(as_array(points, "points") >= 0, 1, -1))


def log_distribution(k: int, p: float) -> Floats:
    """log P(Bin(k, p) ≤ m) for m = 0 … k. [k+1]"""
    from scipy.special import gammaln, xlogy

    m = np.arange(k + 1)
    choose = gammaln(k + 1) - gammaln(m + 1) - gammaln(k - m + 1)
    return np.minimum(np.logaddexp.accumulate(choose + xlogy(m, p) + xlogy(k - m, 1 - p)), 0.0)


def _at(table: Floats, m: Array) -> Floats:
    """log F(m) with F = 0 below 0 and 1 from k on."""
    inside = table[np.clip(m, 0, len(table) - 1)]
    return np.where(m < 0, -np.inf, np.where(m >= len(table) - 1, 0.0, inside))


def log_bayes_error(k: int, t: float) -> float:
    """log of P(M < k/2) + ½ P(M = k/2)."""
    return _log_tie_error(k, t, positive_int(k, "k"))


def bayes_error(k: int, t: float) -> float:
    """P(M < k/2) + ½ P(M = k/2): the error of the nearer θ."""
    return math.exp(log_bayes_error(k, t))


def _log_tie_error(k: int, t: float, double: int) -> float:
    """log of P(2M < double) + ½ P(2M = double) = ½ F(⌈double/2⌉ − 1) + ½ F(⌊double/2⌋)."""
    table = log_distribution(k, 0.5 + advantage(t))
    below, upto = _at(table, np.array([-(-double // 2) - 1, double // 2]))
    return float(np.logaddexp(below, upto)) - math.log(2)


def l0_log_errors(k: int, t: float, eps: float) -> Floats:
    """log error(s) for s = −1, 0, …, k. [k+2]"""
    table = log_distribution(positive_int(k, "k"), 0.5 + advantage(t))
    return _l0_log_errors(table, flips(eps))


def _l0_log_errors(table: Floats, eps: int) -> Floats:
    k = len(table) - 1
    s = np.arange(-1, k + 1)
    errors = np.logaddexp(_at(table, s + eps), _at(table, k - s + eps - 1)) - math.log(2)
    errors[[0, -1]] = -math.log(2)  # a constant answer is wrong on half, and cannot be attacked
    return errors


def l0_error(k: int, t: float, eps: float) -> tuple[int, float]:
    """The optimal threshold s and its robust error against ε flips, which is at most ½.

    Raises:
        UserError: k < 1, t outside (0, ½], ε negative or not whole.
    """
    errors = l0_log_errors(k, t, eps)
    if eps > l0_largest_eps(k, t):
        return k, 0.5
    best = int(errors.argmin())
    return best - 1, math.exp(errors[best])


def l0_surface(k: int, t: float) -> Floats:
    """error(s) for ε = 0 … k by s = −1 … k: the paper's Figure 12 (k = 50, t = 0.30). [k+1, k+2]"""
    table = log_distribution(positive_int(k, "k"), 0.5 + advantage(t))
    return np.exp(np.stack([_l0_log_errors(table, eps) for eps in range(k + 1)]))


def l0_largest_eps(k: int, t: float) -> int:
    """The largest number of flips at which some rule still errs on less than half.

    With G the distribution of Bin(k, ½−t), error(s) = ½ − ½ [G(s−ε) − F(s+ε)], and the sign of the
    bracket is decided from logarithms of whichever tail is small. It is about t·k.
    """
    q = 0.5 - advantage(t)
    agree, differ = (log_distribution(positive_int(k, "k"), p) for p in (1 - q, q))
    possible, impossible = 0, k + 1
    while impossible - possible > 1:
        eps = (possible + impossible) // 2
        if _beats_guessing(agree, differ, eps):
            possible = eps
        else:
            impossible = eps
    return possible


def _beats_guessing(agree: Floats, differ: Floats, eps: int) -> bool:
    k = len(agree) - 1
    s = np.arange(eps, k)
    lower = _at(differ, s - eps), _at(agree, s + eps)
    upper = _at(differ, k - s - eps - 1), _at(agree, k - s + eps - 1)  # P(M > s+ε), 1 − G(s−ε)
    small = lower[0] < -math.log(2)
    return bool(np.where(small, lower[0] > lower[1], upper[0] > upper[1]).any())


def linf_error(k: int, t: float, eps: float) -> float:
    """The least robust error against ‖δ‖_∞ ≤ ε, features in {−1, 1}."""
    return bayes_error(k, t) if radius(eps) < 1 else 0.5


def unrounded_linf_error(k: int, t: float, eps: float) -> float:
    """The robust error of the Bayes rule as a linear score, without rounding: why it must round.

    The adversary takes kε off the score 2M − k, so it is P(2M < k(1+ε)) + ½ P(2M = k(1+ε)), ties
    counting half: past ε = 2t, where M's mean lies, most points fall.
    """
    positive_int(k, "k")
    double = k * (1 + exact(radius(eps)))
    # 2M is even: what matters of a fractional bound is the whole number above it, made odd.
    whole = double.numerator if double.denominator == 1 else 2 * (math.ceil(double / 2)) - 1
    return math.exp(_log_tie_error(k, t, int(whole)))
