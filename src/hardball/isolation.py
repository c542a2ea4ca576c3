"""What a call of somebody's model may change and must not: modes, buffers, global random states."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def evaluating(model: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within this block every module is in evaluation mode; afterwards each is as it was (a layer kept
    in evaluation mode on purpose stays so)."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    before = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training


@contextmanager
def untouched(model: Callable[[Tensor], Tensor], *, random_state: bool = True) -> Iterator[None]:
    """Within this block the model may be called in any mode; afterwards its buffers (batch-norm
    statistics and the like) and, with `random_state`, the global random states (torch's, numpy's and
    Python's own) are as before.

    Parameters, `.grad`, `requires_grad` and train/eval modes need no restoring: the attacks take
    gradients of their input only and switch nothing.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    saved = [
        (module, name, buffer, buffer.clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    # the legacy state: no Generator can be passed to what draws from it
    numbers = (random.getstate(), np.random.get_state()) if random_state else None  # noqa: NPY002
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if started else ()
    try:
        with torch.random.fork_rng(devices=devices, enabled=random_state):
            yield
    finally:
        if numbers is not None:
            random.setstate(numbers[0])
            np.random.set_state(numbers[1])  # noqa: NPY002
        with torch.no_grad():
            for module, name, buffer, value in saved:
                buffer.copy_(value)
                module._buffers[name] = buffer
