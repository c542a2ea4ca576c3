"""What the speed benchmarks share: arithmetic, interleaved repeats, medians and their spread."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def interleaved(
    ways: Mapping[str, Callable[[], float]], repeats: int, *, warm: int = 1
) -> dict[str, list[float]]:
    """Seconds of each way, taken in turn: what disturbs the machine disturbs all of them.

    Args:
        ways: name → call that does the work once and returns the seconds it took.
        warm: rounds before the counted ones.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(warm + repeats):
        for name, way in ways.items():
            spent = way()
            if turn >= warm:
                taken[name].append(spent)
        print(f"round {turn + 1} of {warm + repeats}", flush=True)
    return taken


def summary(times: list[float], work: float) -> dict[str, Any]:
    """Work per second: median, and the slowest and fastest repeat."""
    return {
        "median": round(work / statistics.median(times), 1),
        "slowest": round(work / max(times), 1),
        "fastest": round(work / min(times), 1),
        "seconds": [round(t, 4) for t in times],
    }


def ratio(ours: list[float], theirs: list[float]) -> float:
    """How many times faster ours is: the median of the ratios inside each round."""
    return round(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 3)


LAYERS = (nn.Conv2d, nn.Linear)
"""The layers whose arithmetic is counted."""


def outputs(model: nn.Module, images: Tensor) -> list[tuple[nn.Module, tuple[Tensor, Tensor]]]:
    """The convolutions and linear layers in the order of their use, each with (input, output)."""
    found: list[tuple[nn.Module, tuple[Tensor, Tensor]]] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, LAYERS):
            found.append((module, (given[0], output)))

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return found


def forward_flops(model: nn.Module, image: Tensor) -> int:
    """Multiplications and additions of convolutions and linear layers, for one image [1, C, H, W]."""
    return sum(
        2 * output[0].numel() * layer.get_parameter("weight")[0].numel()
        for layer, (_, output) in outputs(model, image)
    )
