"""How much of the paper's effort a reproduction spends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hardball.errors import unknown
from hardball.presets import Values, merged, preset
from hardball.reproduction import appendix_b


@dataclass(frozen=True, kw_only=True)
class Side:
    """Data, network and numbers for one of the paper's two data sets."""

    cut: str
    """What it leaves out of the paper's settings; stands on every result."""
    data: str
    """Data set."""
    training: Values
    """Nested values that every training has in common (see `TrainConfig.of`)."""
    by_kind: Mapping[str, Values] = field(default_factory=dict)
    """Further ones, by kind of training."""
    code: Mapping[str, Values]
    """What the authors' code has otherwise, by kind."""
    epochs: Mapping[str, int]
    """By kind: standard, direct (at one ε from random weights), extended."""
    n: int
    """Test images of a measurement under attack."""
    n_strong: int
    """… under attacks that take long."""
    grid: int
    """Points per side of a plane around an image."""


@dataclass(frozen=True, kw_only=True)
class Budget(Side):
    """One size of reproduction; its own numbers are those for MNIST."""

    name: str
    about: str
    """What it is for."""
    cifar: Side
    """The numbers for CIFAR-10."""
    without: frozenset[str] = frozenset()
    """Trainings that are left out, and what needs them."""
    increment: float
    """ε added in each epoch of an iterative training."""
    fine: Values
    """What the retraining at ε=0.5 has otherwise."""
    tried: Values
    """The grid of Appendix B (see `commands/sweep/grid`)."""
    checks: Literal["quick", "standard", "full"]
    """Budget of the checklist …"""
    n_checks: int
    """… and the images it is about."""
    n_explained: int
    """Images whose saliency is measured."""
    points: int
    """Points on the way between two sets of weights."""
    long_points: int
    """Points on that way under an attack of 200 steps."""


# the network of the authors' code: that of the paper's text keeps the image size in its convolutions,
# costs 2.3 times as much and has the paper's figures no more than this one
_MNIST: Values = merged(preset("mnist-paper", ""), {"model": {"args": {"padding": False}}})
_MNIST_CODE: dict[str, Values] = {
    "direct": {"attack": {"mode": "train", "step_size": 0.01, "steps": 40}},
    "extended": {"attack": {"mode": "train", "step_size": 0.005, "steps": 200}},
    "iterative": {"attack": {"mode": "train", "step_size": 0.01}},
}

# the paper's text does not say in which mode its attack sees batch norm; the code attacks in train mode
_CIFAR: Values = merged(preset("cifar10-paper", ""), {"attack": {"mode": "eval"}})
_CIFAR_CODE: dict[str, Values] = {
    kind: {"attack": {"mode": "train"}} for kind in ("direct", "extended")
}
_EXTENDED: Values = {
    "optimizer": {"lr": 1e-3, "schedule": "constant"},
    "augment": False,
}


def _adaptive(budget_steps: int, **more: object) -> Values:
    """As far as 32/255 for so many sample-steps."""
    course = {"name": "adaptive", "budget_steps": budget_steps, "increment": 4 / 255, **more}
    return {"curriculum": course, "optimizer": {"schedule": "constant"}}


BUDGETS: dict[str, Budget] = {
    "quick": Budget(
        name="quick",
        about="8×8 digits and 1,000 images of CIFAR-10, minutes: shows that everything runs, not what "
        "the paper claims",
        cut="black-and-white 8×8 digits instead of MNIST, and a network of 20,000 parameters",
        data="digits-bw",
        training={
            "data": {"name": "digits-bw"},
            "model": {"name": "digits_cnn", "args": {"width": 16}},
            "attack": {"steps": 10},
            "batch_size": 32,
            "optimizer": {"lr": 2e-3},
        },
        code={
            kind: {"attack": {"steps": 20, "mode": "train"}}
            for kind in ("direct", "extended", "iterative")
        },
        epochs={"standard": 10, "direct": 20, "extended": 10},
        increment=0.02,
        fine={"attack": {"steps": 40}},
        tried=appendix_b.quick(),
        n=200,
        n_strong=50,
        checks="quick",
        n_checks=100,
        n_explained=100,
        points=21,
        grid=30,
        long_points=6,
        cifar=Side(
            cut="1,000 training images of CIFAR-10 instead of 50,000, a ResNet of 78,000 parameters, "
            "training attacks of 5 steps, 12 epochs instead of 150, 4 instead of 5 for extensions",
            data="cifar10-small",
            training={
                "data": {"name": "cifar10-small"},
                "model": {"name": "resnet8"},
                "attack": {"steps": 5},
                "batch_size": 50,
                "optimizer": {"lr": 2e-3},
            },
            by_kind={
                "adaptive": _adaptive(
                    100_000, finish=3, longest=6, patience=3, probe_images=50, increment=8 / 255
                )
            },
            code=_CIFAR_CODE,
            epochs={"direct": 12, "extended": 4},
            n=100,
            n_strong=50,
            grid=12,
        ),
    ),
    "short": Budget(
        name="short",
        about="MNIST, hours on two cores: shortened trainings; CIFAR-10 with ResNet-18, on a GPU",
        cut="6 epochs instead of 30, none at ε=0.2, 3 instead of 5 for extensions, ε raised by 0.1 per "
        "epoch instead of 0.01, 51 points instead of 200 between weights (11 under 200 steps)",
        data="mnist",
        training=_MNIST,
        code=_MNIST_CODE,
        epochs={"standard": 5, "direct": 6, "extended": 3},
        without=frozenset({"at-0.2"}),
        increment=0.1,
        fine={"attack": {"step_size": 0.01, "steps": 100}},
        tried=appendix_b.mnist(_MNIST, epochs=6, resnet="resnet8"),
        n=1000,
        n_strong=300,
        checks="standard",
        n_checks=300,
        n_explained=500,
        points=51,
        grid=100,
        long_points=11,
        cifar=Side(
            cut="ResNet-18 instead of ResNet-50, 30 epochs instead of 150",
            data="cifar10",
            training=merged(_CIFAR, {"model": {"name": "resnet18"}}),
            by_kind={"extended": _EXTENDED, "adaptive": _adaptive(26_000_000)},
            code=_CIFAR_CODE,
            epochs={"direct": 30, "extended": 5},
            n=1000,
            n_strong=200,
            grid=50,
        ),
    ),
    "full": Budget(
        name="full",
        about="MNIST and CIFAR-10, as in the paper",
        cut="",
        data="mnist",
        training=_MNIST,
        code=_MNIST_CODE,
        epochs={"standard": 5, "direct": 30, "extended": 5},
        increment=0.01,
        fine={"attack": {"step_size": 0.005, "steps": 200}},
        tried=appendix_b.mnist(_MNIST, epochs=30, resnet="resnet18"),
        n=10000,
        n_strong=1000,
        checks="standard",
        n_checks=1000,
        n_explained=1000,
        points=200,
        grid=100,
        long_points=200,
        cifar=Side(
            cut="",
            data="cifar10",
            training=_CIFAR,
            by_kind={"extended": _EXTENDED, "adaptive": _adaptive(90_000_000)},
            code=_CIFAR_CODE,
            epochs={"direct": 150, "extended": 5},
            n=10000,
            n_strong=1000,
            grid=50,
        ),
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
