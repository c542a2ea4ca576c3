"""Random changes of training images that keep their class."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 2.0
"""Pixels, at most, in each direction; of small images a fourteenth of the side."""

TURN = math.radians(12)
"""Angle at most, to either side."""

STRETCH = 0.12
"""Factor 1 ± so much at most."""

CONTRAST = 1.4
"""Linear interpolation blurs: of MNIST's 784 pixels 68 lie between 0.1 and 0.9, after `distort` 111.
Around ½ so much steeper there are 71."""


def augment(
    images: Tensor, generator: torch.Generator, *, padding: int = 4, flips: bool = True
) -> Tensor:
    """Random crop after zero padding, and a random horizontal flip, per image, in one gather."""
    batch, _, height, width = images.shape
    device = generator.device

    def draw(high: int) -> Tensor:
        numbers = torch.randint(high, (batch, 1), generator=generator, device=device)
        return numbers.to(images.device, non_blocking=True)

    rows = draw(2 * padding + 1) + torch.arange(height, device=images.device)
    columns = draw(2 * padding + 1) + torch.arange(width, device=images.device)
    if flips:
        columns = torch.where(draw(2).bool(), columns.flip(1), columns)
    padded = torch.nn.functional.pad(images, [padding] * 4)
    example = torch.arange(batch, device=images.device)[:, None, None]
    # advanced indices first, the channel axis last: put it back in its place
    return padded.movedim(1, -1)[example, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def distort(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random shift, rotation and scaling per image, all uniform, with linear interpolation and zeros
    around the image: for grey images of characters on black."""
    batch, _, height, width = images.shape
    device = generator.device
    numbers = torch.rand((4, batch), generator=generator, device=device)
    down, right, turn, stretch = 2 * numbers.to(images.device, non_blocking=True) - 1
    angle, factor = TURN * turn, 1 / (1 + STRETCH * stretch)
    cos, sin = factor * angle.cos(), factor * angle.sin()
    # grid_sample counts in halves of the image, whose sides may differ
    reach = [min(SHIFT, side / 14) * 2 / side for side in (height, width)]
    matrix = torch.stack(
        [
            torch.stack([cos, -sin * height / width, reach[1] * right], dim=1),
            torch.stack([sin * width / height, cos, reach[0] * down], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid.to(images), align_corners=False).clamp(0, 1)


def shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random shift by one pixel or none in each direction, with zeros around the image. Whole pixels
    need no interpolation, so an image stays as sharp as it was."""
    return augment(images, generator, padding=1, flips=False)


def distort_sharply(images: Tensor, generator: torch.Generator) -> Tensor:
    """The same, and what interpolation has blurred made as sharp again as MNIST is. A grey pixel is one
    that an adversary may push to either side, so blurred images are harder than those of the data."""
    return (CONTRAST * (distort(images, generator) - 0.5) + 0.5).clamp(0, 1)


def unchanged(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images as they are."""
    return images


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "none": unchanged,
    "crops": augment,
    "shifts": shift,
    "affine": distort,
    "affine-sharp": distort_sharply,
}
"""name → function of (images, generator)."""
