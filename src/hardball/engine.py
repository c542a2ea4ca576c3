"""What makes the inner loop fast without changing what it computes.

Adversarial training takes tens of input gradients per update, ordinary training none: libraries are
tuned for weight gradients and for layers with many channels, and are slow at the one layer that only
an attack asks about, the input gradient of a first convolution.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.parameter import is_lazy

from hardball.modes import evaluating, untouched

Form = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Stride, padding and dilation of a convolution."""

NARROW = 4
"""Most input channels of a convolution whose input gradient is taken by `narrow_input_gradient`.
CPU libraries fill a vector register with channels: of 1 or 3 they waste most of it."""


def narrow_input_gradient(
    gradient: Tensor,
    weight: Tensor,
    size: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
) -> Tensor:
    """The input gradient of a convolution, as one matrix product and a sum over its shifts.

    ∂ℓ/∂x[c, s·p + d·q] += Σ_o w[o, c, q] · g[o, p]: the product over o has C·k·l rows, enough for a
    matrix product to run at full speed; the sums over q are cheap where C is small.

    Args:
        gradient: g = ∂ℓ/∂output [B, O, H', W'], fastest in channels_last.
        weight: [O, C, k, l].
        size: (H, W) of the input.
        stride, padding, dilation: of height and width.

    Returns:
        [B, C, H, W], equal to the library's up to the rounding of its sums.
    """
    out, channels, rows, columns = weight.shape
    batch, _, high, wide = gradient.shape
    (top, left), (height, width) = padding, size
    flat = gradient.to(weight.dtype).permute(0, 2, 3, 1).reshape(-1, out)
    parts = (weight.permute(2, 3, 1, 0).reshape(-1, out) @ flat.t()).view(
        rows, columns, channels, batch, high, wide
    )
    padded = flat.new_zeros(channels, batch, height + 2 * top, width + 2 * left)
    for i in range(rows):
        for j in range(columns):
            down, right = i * dilation[0], j * dilation[1]
            padded[
                :,
                :,
                down : down + (high - 1) * stride[0] + 1 : stride[0],
                right : right + (wide - 1) * stride[1] + 1 : stride[1],
            ] += parts[i, j]
    return padded[:, :, top : top + height, left : left + width].transpose(0, 1)


class _InputGradient(torch.autograd.Function):
    """Passes a convolution's output on, and answers for its input in the backward pass."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, images: Tensor, weight: Tensor, form: Form) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.size, ctx.form = images.shape[2:], form
        return output.view_as(output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return gradient, narrow_input_gradient(gradient, weight, ctx.size, *ctx.form), None, None


class NarrowConv2d(nn.Conv2d):
    """A convolution of few input channels, whose input gradient is taken by a matrix product.

    The forward pass and the weights' gradient are the library's, bit for bit.
    """

    def forward(self, images: Tensor) -> Tensor:
        if not images.requires_grad or images.device.type != "cpu":
            return super().forward(images)
        # two branches, so that an attack, which asks for the input alone, pays for nothing else
        output = super().forward(images.detach())
        form = (self.stride, self.padding, self.dilation)
        result: Tensor = _InputGradient.apply(output, images, self.weight.detach(), form)
        return result


def _is_narrow(module: nn.Module) -> bool:
    """Exactly a Conv2d (no subclass, which may do anything) of the form handled above."""
    return (
        type(module) is nn.Conv2d
        and module.in_channels <= NARROW
        and module.groups == 1
        and module.padding_mode == "zeros"
        and isinstance(module.padding, tuple)
    )


@contextmanager
def fast(model: object) -> Iterator[None]:
    """Within this block a module's narrow convolutions are `NarrowConv2d`.

    Parameters, buffers, hooks and names stay the same objects; only a class changes, and back again.
    Anything that is no module is left alone.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    swapped = [module for module in modules if _is_narrow(module)]
    try:
        for module in swapped:
            module.__class__ = NarrowConv2d
        yield
    finally:
        for module in swapped:
            module.__class__ = nn.Conv2d


def prefer_channels_last(model: object, images: Tensor) -> torch.memory_format:
    """Put a network's weights into channels_last, in which convolutions run best on CPUs and GPUs
    alike, if the network works so; the layout to give it images in.

    Some networks need PyTorch's default layout, most often by an `x.view(len(x), -1)` before their
    linear layers, which in another raises. So two of the images are tried, forwards and backwards;
    a network that fails keeps the layout it has.

    Args:
        model: images → logits. What is no module, or has no convolution, is left alone.
        images: [B, C, H, W]; with other images nothing changes.
    """
    before = _weights(model)
    if not before or images.dim() != 4:
        return torch.contiguous_format
    assert isinstance(model, nn.Module)
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


def _restore(weights: list[tuple[Tensor, Tensor]]) -> None:
    for tensor, values in weights:
        tensor.data = values


def _try(model: nn.Module, images: Tensor) -> None:
    """One forward pass and input gradient in channels_last, of which nothing remains."""
    first = next(model.parameters(), images)
    point = images.to(first.device).to(memory_format=torch.channels_last).requires_grad_(True)
    with untouched(model), evaluating(model), torch.enable_grad():
        torch.autograd.grad(model(point).sum(), point, allow_unused=True)


# of <malloc.h>
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4

KEPT = 2**30
"""Most bytes of freed memory at the end of the heap that a process keeps."""


@cache
def keep_memory() -> bool:
    """Let this process keep freed memory for its next tensors, from now on; True if it will.

    A step of an attack takes and frees the same tens of megabytes as the step before. The C library
    of Linux gives blocks of this size back to the system at once and gets them anew, page by page:
    some thousand page faults per step, a tenth of its time. On other systems, and where the
    environment already sets the allocator (MALLOC_…, GLIBC_TUNABLES, LD_PRELOAD), nothing changes.
    """
    chosen = [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]
    if not sys.platform.startswith("linux") or chosen or "LD_PRELOAD" in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    # no block in a mapping of its own; the heap grows by much and shrinks seldom
    wanted = ((_MMAP_MAX, 0), (_TOP_PAD, 2**26), (_TRIM_THRESHOLD, KEPT))
    taken = [mallopt(name, value) for name, value in wanted]
    return all(taken)


BACKEND = "inductor"
"""Of `torch.compile`."""


class Captured(nn.Module):
    """A model compiled for attacks: one captured graph of its forward pass and its input gradient.

    The parameters enter as constants, so no gradient of theirs is ever computed; they stay the
    model's own and are read anew at each call. On CUDA the graph is replayed without a launch per
    operation ("reduce-overhead", that is CUDA graphs); buffers and modes are the model's.

    Args:
        model: images [B, C, H, W] → logits [B, K].
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        on_gpu = any(p.is_cuda for p in model.parameters())
        self._call = torch.compile(
            self._plain, backend=BACKEND, mode="reduce-overhead" if on_gpu else None
        )

    def _plain(self, parameters: dict[str, Tensor], images: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(self.model, parameters, (images,))
        return found

    def forward(self, images: Tensor) -> Tensor:
        constants = {name: p.detach() for name, p in self.model.named_parameters()}
        found: Tensor = self._call(constants, images)
        return found
