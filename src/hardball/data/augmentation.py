"""Random changes of training images that keep their class."""

import torch
from torch import Tensor


def augment(images: Tensor, generator: torch.Generator, *, padding: int = 4) -> Tensor:
    """Random crop after zero padding, and a random horizontal flip, per image, in one gather."""
    batch, _, height, width = images.shape
    device = generator.device

    def draw(high: int) -> Tensor:
        numbers = torch.randint(high, (batch, 1), generator=generator, device=device)
        return numbers.to(images.device, non_blocking=True)

    rows = draw(2 * padding + 1) + torch.arange(height, device=images.device)
    columns = draw(2 * padding + 1) + torch.arange(width, device=images.device)
    columns = torch.where(draw(2).bool(), columns.flip(1), columns)
    padded = torch.nn.functional.pad(images, [padding] * 4)
    example = torch.arange(batch, device=images.device)[:, None, None]
    # advanced indices first, the channel axis last: put it back in its place
    return padded.movedim(1, -1)[example, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
