"""Where "a few" ends and "too many" begins.

A check asks one question of n images: how many of them does another attack (or another look at the
model) decide otherwise? Both answers are known for each image, so the comparison is paired.
"""

from dataclasses import dataclass

CONFIDENCE = 0.95
"""One-sided, of the bound that a count must have to be believed."""


def at_least(count: int, n: int) -> float:
    """The share that `count` of `n` images proves: the lower end of Clopper and Pearson's one-sided 95%
    interval. 0 of no images."""
    from scipy.stats import beta

    return float(beta.ppf(1 - CONFIDENCE, count, n - count + 1)) if count else 0.0


@dataclass(frozen=True)
class Limit:
    """A share of images that may differ.

    A count exceeds the limit when, with 95% confidence, the share in the population does: of few images
    more than the share itself may differ.
    """

    share: float
    """In [0, 1)."""

    def exceeded(self, count: int, n: int) -> bool:
        """`count` of `n` prove a share above the limit."""
        return at_least(count, n) > self.share

    def first(self, n: int) -> int:
        """The smallest count of `n` that exceeds the limit; n + 1 where none does."""
        return next((k for k in range(1, n + 1) if self.exceeded(k, n)), n + 1)

    def short(self, n: int) -> str:
        """For a table's column."""
        return f"<{self.first(n)}" if self.share else "0"

    def words(self, n: int) -> str:
        """For a sentence."""
        if not self.share:
            return "none"
        return (
            f"fewer than {self.first(n)} of {n} images: {self.share:.3g} of them and what sampling "
            "explains (95%, one-sided)"
        )


FEW = Limit(0.02)
"""Two points of accuracy: what an attack that is no stronger may find by luck."""

CLAIM_LIMIT = Limit(0.01)
"""One point of accuracy: what the strongest attacks may take from the claim."""

MASKED_POINTS = 0.10
MASKED_SHARE = 0.25


def masked_beyond(claimed: float) -> Limit:
    """The share of images that attacks of another kind may break beyond the gradient attacks, where
    `claimed` is the accuracy claimed."""
    return Limit(min(MASKED_POINTS, MASKED_SHARE * claimed))
