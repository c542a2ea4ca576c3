"""The memory layout that convolutions run best in, where a network can take it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hardball.isolation import evaluating, untouched
from hardball.perf.convolution import fast

FEWEST = 16
"""Input channels from which on a strided 1×1 convolution is put into channels_last: with fewer than a
vector register holds, the weights' gradient of oneDNN (PyTorch 2.14) writes past its memory there."""


def prefer_channels_last(model: object, images: Tensor) -> torch.memory_format:
    """Put a network's weights into channels_last, in which convolutions run best on CPUs and GPUs
    alike, if the network works so; the layout to give it images in.

    Some networks need PyTorch's default layout, most often by an `x.view(len(x), -1)` before their
    linear layers, which in another raises. So two of the images are tried, forwards and backwards;
    a network that fails keeps the layout it has, and so does one whose gradients would damage the
    process's memory there (see `FEWEST`).

    Args:
        model: images → logits. What is no module, or has no convolution, is left alone.
        images: [B, C, H, W]; with other images nothing changes.
    """
    before = _weights(model)
    if not before or images.dim() != 4:
        return torch.contiguous_format
    assert isinstance(model, nn.Module)
    if any(map(_overruns, model.modules())):
        return torch.contiguous_format
    for tensor, values in before:
        tensor.data = values.to(memory_format=torch.channels_last)
    try:
        _try(model, images[:2])
    except Exception:  # whatever it is: if it is not the layout, the first true call will say it
        _restore(before)
        return torch.contiguous_format
    return torch.channels_last


@contextmanager
def channels_last(model: object, images: Tensor) -> Iterator[None]:
    """Within this block, in which no weight is trained, the network is in channels_last if it works
    so (see `prefer_channels_last`); afterwards its weights are the same memory as before."""
    before = _weights(model)
    try:
        prefer_channels_last(model, images)
        yield
    finally:
        _restore(before)


@contextmanager
def measuring(model: Callable[[Tensor], Tensor], images: Tensor) -> Iterator[None]:
    """Within this block a model is measured on images like these: its fast layers, in channels_last
    where it works so, in evaluation mode. Afterwards it is as it was."""
    with fast(model), channels_last(model, images), evaluating(model):
        yield


def _weights(model: object) -> list[tuple[Tensor, Tensor]]:
    """What has a layout: parameters and buffers of four dimensions, with their values."""
    if not isinstance(model, nn.Module):
        return []
    tensors = [*model.parameters(), *model.buffers()]
    return [(t, t.data) for t in tensors if not is_lazy(t) and t.dim() == 4]


def _overruns(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and set(module.kernel_size) == {1}
        and set(module.stride) != {1}
        and module.in_channels < FEWEST
    )


def _restore(weights: list[tuple[Tensor, Tensor]]) -> None:
    for tensor, values in weights:
        tensor.data = values


def _try(model: nn.Module, images: Tensor) -> None:
    """One forward pass and input gradient in channels_last, of which nothing remains."""
    first = next(model.parameters(), images)
    point = images.to(first.device).to(memory_format=torch.channels_last).requires_grad_(True)
    with untouched(model), evaluating(model), torch.enable_grad():
        torch.autograd.grad(model(point).sum(), point, allow_unused=True)
