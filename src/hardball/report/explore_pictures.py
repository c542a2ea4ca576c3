"""Images and maps as pixels for a page: uint8 [H, W, 3], enlarged without smoothing."""

import numpy as np
from numpy.typing import NDArray

from hardball.report import style

SIDE = 224
"""Pixels that the longer side gets, or a little more."""


def shown(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """An image [C, H, W] in [0, 1], of 1 or 3 channels."""
    pixels = np.moveaxis(np.asarray(image, dtype=np.float64), 0, -1)
    wide = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    return _enlarged((wide * 255).round().astype(np.uint8))


def signed(values: NDArray[np.floating]) -> tuple[NDArray[np.uint8], float]:
    """A map [C, H, W], its mean over the channels: red above 0, blue below, white at 0; and the size of
    its largest value, which has the strongest colour."""
    import matplotlib

    flat = np.asarray(values, dtype=np.float64).mean(axis=0)
    scale = float(np.abs(flat).max())
    part = 0.5 + 0.5 * (flat / scale if scale else flat)
    colours = matplotlib.colormaps[style.SIGNED](part)[..., :3]
    return _enlarged((colours * 255).round().astype(np.uint8)), scale


def _enlarged(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = max(1, -(-SIDE // max(pixels.shape[:2])))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)
