"""How much of the paper's effort a reproduction spends."""

from collections.abc import Mapping
from dataclasses import dataclass

from hardball.errors import unknown
from hardball.presets import Values, merged, preset


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Data, network and numbers of one size of reproduction."""

    name: str
    about: str
    """What it is for."""
    cut: str
    """What it leaves out of the paper's settings; stands on every result."""
    data: str
    """Data set."""
    training: Values
    """Nested values that every training has in common (see `TrainConfig.of`)."""
    epochs: Mapping[str, int]
    """By kind: standard, direct (at one ε from random weights), extended."""
    without: frozenset[str] = frozenset()
    """Trainings that are left out, and what needs them."""
    increment: float
    """ε added in each epoch of an iterative training."""
    n: int
    """Test images of a measurement under attack."""
    n_strong: int
    """… under attacks that take long."""
    n_explained: int
    """Images whose saliency is measured."""
    points: int
    """Points on the way between two sets of weights."""
    grid: int
    """Points per side of a plane around an image."""
    long_points: int
    """Points on that way under an attack of 200 steps."""


# the network of the authors' code: that of the paper's text keeps the image size in its convolutions,
# costs 2.3 times as much and has the paper's figures no more than this one
_MNIST: Values = merged(preset("mnist-paper", ""), {"model": {"args": {"padding": False}}})

BUDGETS: dict[str, Budget] = {
    "quick": Budget(
        name="quick",
        about="8×8 digits, minutes: shows that everything runs, not what the paper claims",
        cut="black-and-white 8×8 digits instead of MNIST, and a network of 20,000 parameters",
        data="digits-bw",
        training={
            "data": {"name": "digits-bw"},
            "model": {"name": "digits_cnn", "args": {"width": 16}},
            "attack": {"steps": 10},
            "batch_size": 32,
            "optimizer": {"lr": 2e-3},
        },
        epochs={"standard": 10, "direct": 20, "extended": 10},
        increment=0.02,
        n=200,
        n_strong=50,
        n_explained=100,
        points=21,
        grid=30,
        long_points=6,
    ),
    "short": Budget(
        name="short",
        about="MNIST, hours on two cores: shortened trainings",
        cut="6 epochs instead of 30, none at ε=0.2, 3 instead of 5 for extensions, ε raised by 0.1 per "
        "epoch instead of 0.01, 51 points instead of 200 between weights (11 under 200 steps)",
        data="mnist",
        training=_MNIST,
        epochs={"standard": 5, "direct": 6, "extended": 3},
        without=frozenset({"at-0.2"}),
        increment=0.1,
        n=1000,
        n_strong=300,
        n_explained=500,
        points=51,
        grid=100,
        long_points=11,
    ),
    "full": Budget(
        name="full",
        about="MNIST, as in the paper",
        cut="",
        data="mnist",
        training=_MNIST,
        epochs={"standard": 5, "direct": 30, "extended": 5},
        increment=0.01,
        n=10000,
        n_strong=1000,
        n_explained=1000,
        points=200,
        grid=100,
        long_points=200,
    ),
}
"""name → budget."""


def budget(name: str) -> Budget:
    """The budget of that name.

    Raises:
        UserError: there is none.
    """
    if name not in BUDGETS:
        raise unknown("budget", name, BUDGETS)
    return BUDGETS[name]
