"""The input gradient of a convolution with few input channels.

Adversarial training takes tens of input gradients per update, ordinary training none: libraries are
tuned for weight gradients and for layers with many channels, and are slow at the one layer that only
an attack asks about, the input gradient of a first convolution.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
