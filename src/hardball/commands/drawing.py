"""A drawing as an image like those of a data set.

Shapes: a drawing [h, w], images [B, C, H, W], all in [0, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

INK = 0.2
"""What is brighter counts as drawn."""


def extent(images: Tensor) -> float:
    """How much of its side a figure of this data fills: the mean over the images of the longer side of
    the box around what is bright, as a share of the image's side. 20/28 on MNIST."""
    bright = (images > INK).any(dim=1)
    sizes = []
    for one in bright[bright.flatten(1).any(dim=1)]:
        rows, columns = one.any(dim=1).nonzero(), one.any(dim=0).nonzero()
        height, width = (int(each.max() - each.min()) + 1 for each in (rows, columns))
        sizes.append(max(height / one.shape[0], width / one.shape[1]))
    return sum(sizes) / len(sizes) if sizes else 1.0


def as_image(drawing: Tensor, side: tuple[int, int], fills: float) -> Tensor | None:
    """[1, H, W]: what is drawn, scaled so that its longer side fills that share of the image, with its
    centre of mass in the middle, as MNIST was made. None for an empty drawing.

    Args:
        drawing: 0 is paper, 1 is ink.
        side: H and W.
        fills: see `extent`.
    """
    inked = drawing > INK
    if not bool(inked.any()):
        return None
    rows, columns = inked.any(dim=1).nonzero(), inked.any(dim=0).nonzero()
    cut = drawing[
        int(rows.min()) : int(rows.max()) + 1, int(columns.min()) : int(columns.max()) + 1
    ]
    height, width = side
    factor = min(fills * height / cut.shape[0], fills * width / cut.shape[1])
    size = [max(1, round(factor * length)) for length in cut.shape]
    small = F.interpolate(cut[None, None].float(), size=size, mode="bilinear", antialias=True)[0, 0]
    total = small.sum()
    found = torch.zeros(1, height, width)
    places = []
    for axis, length in ((0, height), (1, width)):
        along = torch.arange(small.shape[axis], dtype=torch.float32)
        centre = float((small.sum(dim=1 - axis) * along).sum() / total)
        free = length - small.shape[axis]
        places.append(min(max(0, round((length - 1) / 2 - centre)), free))
    top, left = places
    found[0, top : top + small.shape[0], left : left + small.shape[1]] = small
    return found.clamp(0, 1)
