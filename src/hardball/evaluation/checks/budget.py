"""How much each check spends: one table of numbers.

`full` takes the paper's numbers where it gives them (2000 steps, ten restarts, 10⁸ random samples on
each of 128 images: weeks). ZOO takes weight 1000 in all of them: at its library's default of 0.001 it
breaks almost nothing. How long `standard` and `quick` take is measured: docs/checklist.md, "Budgets".
"""

from dataclasses import dataclass

from hardball.errors import unknown


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Images (drawn by the seed from those measured) and effort of each check."""

    name: str
    images: int
    """Of the checks that cost little for an image."""
    restarts: int
    """Check 4: random starts."""
    restart_images: int
    long_steps: int
    """Check 5."""
    long_images: int
    radius_steps: int
    """Check 6: steps at each of its radii."""
    targeted_steps: int
    """Check 7, for each wrong class."""
    targeted_images: int
    samples: int
    """Check 8: random perturbations of an image."""
    sample_images: int
    distortion_steps: int
    """Check 9: steps of each attack of the bisection."""
    distortion_images: int
    zoo_iterations: int
    """Check 10; each changes 128 pixels."""
    zoo_images: int
    hop_queries: int
    """Check 10: queries of HopSkipJump for an image."""
    hop_images: int
    transfer_steps: int
    """Checks 11 and 12."""
    small_steps: int
    """Section 3.3, of size ε/50: 0.01 at ε=0.5."""
    small_images: int
    raw_steps: int
    """Section 3.3, along the gradient itself."""
    raw_images: int
    planted_images: int
    """Of the active test."""


BUDGETS = {
    "quick": Budget(
        name="quick",
        images=40,
        restarts=10,
        restart_images=10,
        long_steps=1000,
        long_images=10,
        radius_steps=20,
        targeted_steps=50,
        targeted_images=20,
        samples=1_000,
        sample_images=10,
        distortion_steps=20,
        distortion_images=20,
        zoo_iterations=10,
        zoo_images=5,
        hop_queries=2_000,
        hop_images=5,
        transfer_steps=50,
        small_steps=500,
        small_images=10,
        raw_steps=500,
        raw_images=10,
        planted_images=20,
    ),
    "standard": Budget(
        name="standard",
        images=100,
        restarts=10,
        restart_images=40,
        long_steps=2000,
        long_images=40,
        radius_steps=40,
        targeted_steps=100,
        targeted_images=50,
        samples=10_000,
        sample_images=20,
        distortion_steps=40,
        distortion_images=40,
        zoo_iterations=20,
        zoo_images=20,
        hop_queries=5_000,
        hop_images=20,
        transfer_steps=200,
        small_steps=1000,
        small_images=40,
        raw_steps=2000,
        raw_images=25,
        planted_images=50,
    ),
    "full": Budget(
        name="full",
        images=1000,
        restarts=10,
        restart_images=1000,
        long_steps=2000,
        long_images=1000,
        radius_steps=200,
        targeted_steps=200,
        targeted_images=1000,
        samples=10**8,
        sample_images=128,
        distortion_steps=200,
        distortion_images=1000,
        zoo_iterations=100,
        zoo_images=128,
        hop_queries=25_000,
        hop_images=128,
        transfer_steps=200,
        small_steps=1000,
        small_images=1000,
        raw_steps=2000,
        raw_images=1000,
        planted_images=200,
    ),
}
"""name → numbers."""


def budget(name: str) -> Budget:
    """The budget of that name.

    Raises:
        UserError: there is none.
    """
    if name not in BUDGETS:
        raise unknown("budget", name, BUDGETS)
    return BUDGETS[name]
