"""Appendix B as grids for `hardball sweep`: what was tried at ε=0.4 from random weights."""

from collections.abc import Sequence
from typing import Any

from hardball.presets import Values, merged

RATES = [0.1, 0.01, 0.001]
"""Of the paper's optimisers."""


def _grid(
    base: Values,
    *,
    rates: Sequence[float],
    batches: Sequence[int],
    network: Values,
    attacks: Values,
) -> Values:
    """The paper's list, each line beside the base: what is the base already stands once."""
    axes: list[dict[str, Any]] = [
        {"optimizer": ["adam"], "lr": [*rates]},
        {"optimizer": ["sgd"], "lr": RATES, "momentum": [0.0, 0.9]},
        {"init": ["glorot"]},
        {"batch_size": [*batches]},
        attacks,
    ]
    fgsm: Values = {"steps": 1, "step_size": base["eps"], "random_start": False}
    return {"base": base, "axes": axes, "trials": [network, fgsm]}


def mnist(training: Values, *, epochs: int, resnet: str) -> Values:
    """With the paper's network and numbers.

    Args:
        training: what all trainings have in common.
        epochs: of each, unless it is stuck.
        resnet: the deeper network that is tried.
    """
    base = merged(training, {"eps": 0.4, "epochs": epochs})
    network = {"model": resnet, "model_args": {"mean": [0.1307], "std": [0.3081]}}
    return _grid(
        base,
        rates=RATES,
        batches=[16, 32, 64, 256, 512, 10_000],
        network=network,
        attacks={"step_size": [0.01, 0.02, 0.1]},
    )


def quick() -> Values:
    """On black-and-white 8×8 digits, seconds for each trial. There 0.45 is what 0.4 is on MNIST."""
    base: Values = {
        "data": {"name": "digits-bw"},
        "model": {"name": "digits_cnn", "args": {"width": 16}},
        "attack": {"steps": 10},
        "optimizer": {"name": "adam", "lr": 1e-3},
        "batch_size": 32,
        "eps": 0.45,
        "epochs": 15,
    }
    return _grid(
        base,
        rates=RATES,
        batches=[16, 128, 1000],
        network={"model": "resnet8"},
        attacks={"attack.steps": [5, 20, 40]},
    )
