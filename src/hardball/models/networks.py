"""Networks. Each takes pixels in [0, 1] and returns logits: normalisation lives inside the model.

Shapes: B batch, C channels, H × W pixels, K classes; images [B, C, H, W] → logits [B, K].
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardball.errors import UserError, unknown
from hardball.fronts import Front


class Normalize(Front):
    """(x − mean) / std per channel. The first layer of a model, so that every ε stays in pixels.

    Example:
        >>> layer = hb.Normalize(mean=[0.5], std=[0.25])
        >>> print(layer(torch.ones(1, 1, 1, 1)).item())
        2.0
        >>> network = torch.nn.Sequential(layer, model)  # ε is still in pixels
    """

    affine = True
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise UserError(
                f"`mean={mean}`, `std={std}`; allowed are one mean and one std > 0 per channel"
            )
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class ConvNet(nn.Module):
    """Convolutions, each followed by max-pool 2 and ReLU, then one hidden layer and the logits.

    Pooling comes before ReLU: the two commute, and ReLU then has a quarter of the work.
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        *,
        channels: Sequence[int],
        kernel: int,
        padding: int,
        hidden: int,
    ) -> None:
        super().__init__()
        size = [*shape[1:]]
        convs: list[nn.Module] = []
        before = shape[0]
        for after in channels:
            convs.append(nn.Conv2d(before, after, kernel, padding=padding))
            size = [(s + 2 * padding - kernel + 1) // 2 for s in size]
            before = after
        if min(size) < 1:
            raise UserError(
                f"images of {list(shape)} are too small for this network; the smallest, digits_cnn, "
                "takes 4×4 pixels or more"
            )
        self.convs = nn.ModuleList(convs)
        self.hidden = nn.Linear(before * size[0] * size[1], hidden)
        self.logits = nn.Linear(hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for conv in self.convs:
            x = F.relu(F.max_pool2d(conv(x), 2))
        logits: Tensor = self.logits(F.relu(self.hidden(x.flatten(1))))
        return logits


def mnist_cnn(shape: Sequence[int], classes: int, *, padding: bool = False) -> nn.Module:
    """The paper's MNIST network: conv5(32), conv5(64), each pooled, 1024 hidden units.

    Args:
        padding: the TensorFlow tutorial's form keeps the image size in each convolution; the
            authors' own code, and the default here, does not (1.11 M parameters at 28×28).
    """
    return ConvNet(
        shape, classes, channels=(32, 64), kernel=5, padding=2 if padding else 0, hidden=1024
    )


def digits_cnn(shape: Sequence[int], classes: int, *, width: int = 32) -> nn.Module:
    """A small network for 8×8 images: conv3(width), conv3(2·width), 4·width hidden units."""
    if width < 1:
        raise UserError(f"width={width}; allowed is 1 or more: change `model_args`")
    return ConvNet(
        shape, classes, channels=(width, 2 * width), kernel=3, padding=1, hidden=4 * width
    )


def _flat_size(convs: nn.Module, shape: Sequence[int]) -> int:
    """Numbers per image after the convolutions.

    Raises:
        UserError: images too small for them.
    """
    try:
        with torch.no_grad():
            return int(convs(torch.zeros(1, *shape)).numel())
    except RuntimeError as error:
        raise UserError(
            f"images of {list(shape)} are too small for this network ({str(error).splitlines()[0]})"
        ) from error


def strided_cnn(
    shape: Sequence[int], classes: int, *, width: float = 1.0, batch_norm: bool = False
) -> nn.Module:
    """A network without pooling, as certified training has them (Gowal et al. 2018, "medium"): conv3(32),
    conv4(32) by strides of 2, conv3(64), conv4(64) by 2, 512 hidden units.

    Args:
        width: factor on all channels and on the hidden units.
        batch_norm: after each convolution and the hidden layer. Training with bounds needs it.
    """
    one, two, hidden = (round(width * count) for count in (32, 64, 512))
    if one < 1:
        raise UserError(f"`width={width:g}`; allowed is 1/32 or more")
    plan = ((one, 3, 1), (one, 4, 2), (two, 3, 1), (two, 4, 2))
    convs = _convolutions(shape[0], plan, batch_norm=batch_norm)
    return _with_hidden(convs, shape, hidden, classes, batch_norm=batch_norm)


def cnn7(shape: Sequence[int], classes: int, *, batch_norm: bool = False) -> nn.Module:
    """The 7-layer network of certified training (Shi et al. 2021): conv3 of 64, 64, 128 (by strides of 2),
    128 and 128 channels, 512 hidden units.

    Args:
        batch_norm: after each convolution and the hidden layer, as there.
    """
    plan = ((64, 3, 1), (64, 3, 1), (128, 3, 2), (128, 3, 1), (128, 3, 1))
    convs = _convolutions(shape[0], plan, batch_norm=batch_norm)
    return _with_hidden(convs, shape, 512, classes, batch_norm=batch_norm)


def _convolutions(
    before: int, plan: Sequence[tuple[int, int, int]], *, batch_norm: bool
) -> nn.Sequential:
    """ReLU convolutions with one pixel of padding.

    Args:
        before: channels of the images.
        plan: channels, size and stride of each.
    """
    layers: list[nn.Module] = []
    for after, size, stride in plan:
        layers.append(nn.Conv2d(before, after, size, stride=stride, padding=1))
        layers += [nn.BatchNorm2d(after), nn.ReLU()] if batch_norm else [nn.ReLU()]
        before = after
    return nn.Sequential(*layers)


def _with_hidden(
    convs: nn.Sequential,
    shape: Sequence[int],
    hidden: int,
    classes: int,
    *,
    batch_norm: bool = False,
) -> nn.Module:
    """Convolutions, one hidden layer and the logits, in one nn.Sequential."""
    middle: list[nn.Module] = [nn.Linear(_flat_size(convs, shape), hidden)]
    middle += [nn.BatchNorm1d(hidden), nn.ReLU()] if batch_norm else [nn.ReLU()]
    return nn.Sequential(*convs, nn.Flatten(), *middle, nn.Linear(hidden, classes))


CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""Of CIFAR-10's training images."""


def cifar_resnet(
    shape: Sequence[int],
    classes: int,
    *,
    depth: int = 18,
    mean: Sequence[float] = CIFAR_MEAN,
    std: Sequence[float] = CIFAR_STD,
) -> nn.Module:
    """torchvision's ResNet-18 or -50 with the CIFAR stem (3×3 convolution, no pooling) behind
    `Normalize` (defaults: CIFAR-10's)."""
    from torchvision.models import resnet18, resnet50

    makers: dict[int, Callable[..., nn.Module]] = {18: resnet18, 50: resnet50}
    if depth not in makers:
        raise unknown("ResNet depth", depth, makers)
    if len(mean) != shape[0]:
        raise UserError(
            f"mean and std of {len(mean)} channels for images of {shape[0]}; pass both in `model_args`"
        )
    net = makers[depth](weights=None, num_classes=classes)
    net.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return nn.Sequential(Normalize(mean, std), net)


class Residual(nn.Module):
    """Two 3×3 convolutions and the identity beside them (He et al. 2016); a 1×1 convolution where the
    size changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.beside = nn.Sequential()
        if stride != 1 or before != after:
            self.beside = nn.Sequential(
                nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        inside = self.norm2(self.second(F.relu(self.norm1(self.first(x)))))
        return F.relu(inside + self.beside(x))


def resnet8(
    shape: Sequence[int],
    classes: int,
    *,
    width: int = 16,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> nn.Module:
    """A small ResNet: three stages of one block, of width, 2·width and 4·width channels (78,000
    parameters), behind `Normalize`.

    Args:
        width: channels of the first stage.
        mean: of the pixels, by channel; by default CIFAR-10's for colour images, ½ for grey ones.
        std: the same.
    """
    if width < 1:
        raise UserError(f"`width={width}`; allowed is 1 or more")
    colour = shape[0] == len(CIFAR_MEAN)
    mean = mean or (CIFAR_MEAN if colour else (0.5,) * shape[0])
    std = std or (CIFAR_STD if colour else (0.5,) * shape[0])
    if len(mean) != shape[0]:
        raise UserError(
            f"mean and std of {len(mean)} channels for images of {shape[0]}; pass both in `model_args`"
        )
    return nn.Sequential(
        Normalize(mean, std),
        nn.Conv2d(shape[0], width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        Residual(width, width, 1),
        Residual(width, 2 * width, 2),
        Residual(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )


def resnet18_cifar(shape: Sequence[int], classes: int, **args: Any) -> nn.Module:
    """`cifar_resnet` of depth 18."""
    return cifar_resnet(shape, classes, depth=18, **args)


def resnet50_cifar(shape: Sequence[int], classes: int, **args: Any) -> nn.Module:
    """`cifar_resnet` of depth 50."""
    return cifar_resnet(shape, classes, depth=50, **args)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "mnist_cnn": mnist_cnn,
    "digits_cnn": digits_cnn,
    "strided_cnn": strided_cnn,
    "cnn7": cnn7,
    "resnet8": resnet8,
    "resnet18": resnet18_cifar,
    "resnet50": resnet50_cifar,
}
"""name → function of (shape [C, H, W], classes, **args)."""
