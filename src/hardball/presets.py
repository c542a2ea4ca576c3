"""The settings of the paper and of its authors' code, as data (FACTS: arXiv 2003.13370, sections 3
and A, and the public repository), and a cheaper recipe of our own. A flag or a YAML file overrides
any of them."""

from typing import Any

from hardball.errors import unknown

Values = dict[str, Any]

_MNIST: Values = {
    "data": "mnist",
    "model": "mnist_cnn",
    "optimizer": "adam",
    "lr": 1e-3,
    "batch_size": 128,
    "schedule": "constant",
}

PRESETS: dict[str, dict[str, Values]] = {
    "mnist-paper": {
        "all": {**_MNIST, "model_args": {"padding": True}, "step_size": 0.05},
        "constant": {"epochs": 30},
        "iterative": {"increment": 0.01},
        "extend": {"epochs": 5},
    },
    "mnist-authors-code": {
        "all": {**_MNIST, "attack_mode": "train"},
        "constant": {"epochs": 30, "step_size": 0.01},
        "iterative": {"increment": 0.01, "step_size": 0.01},
        "extend": {"epochs": 5, "step_size": 0.005},
    },
    # found by experiment (benchmarks/results/fast_variants.json): two attack steps per image that go on
    # from those of the epoch before, up the ramp, in many quick updates; then eight from a random
    # start, which mask less; three epochs of them, for more only fit the training images
    "mnist-fast": {
        "all": {
            **_MNIST,
            "batch_size": 64,
            "lr": 2e-3,
            "schedule": "linear-tail",
            "steps": 2,
            "reach": 1.5,
            "carry": True,
            "finish_epochs": 3,
            "finish_steps": 8,
            "average": 0.998,
            "validation_steps": 20,
        },
        "iterative": {"ramp_epochs": 5, "hold": 3, "per": "step", "beyond": 0.02},
        "constant": {"epochs": 8},
        "extend": {"epochs": 3},
    },
    "cifar10-paper": {
        "all": {
            "data": "cifar10",
            "model": "resnet50",
            "optimizer": "sgd",
            "lr": 0.1,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "schedule": "steps",
            "batch_size": 128,
            "augment": True,
            "step_size": 2 / 255,
            "attack_mode": "train",
        },
        "constant": {"epochs": 150},
        "iterative": {"ramp_epochs": 150},
        "extend": {"epochs": 5, "lr": 1e-3, "schedule": "constant", "augment": False},
    },
}
"""preset → defaults for every training, and for each kind of it. (The paper names no CIFAR-10 ramp
that worked; the one here rises over all 150 epochs.)"""


def preset(name: str, kind: str) -> Values:
    """Default values of a preset for kind "constant", "iterative" or "extend".

    Raises:
        UserError: a name that does not exist.
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return {**PRESETS[name]["all"], **PRESETS[name].get(kind, {})}
