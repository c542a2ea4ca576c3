"""The digits that come with hardball and need no download.

They are the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI
Machine Learning Repository, CC BY 4.0), 8×8 counts from 0 to 16, in the order of scikit-learn's
`load_digits`.
"""

from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hardball.data.dataset import Dataset

Bytes = NDArray[np.uint8]


def digits(root: Path, train: bool) -> Dataset:
    """scikit-learn's 1,797 digits of 8×8 pixels in 17 grey levels: the last 360 are the test part
    (other writers than the rest's), as its documentation's examples split them."""
    counts, targets = _stored()
    part = slice(0, -360) if train else slice(-360, None)
    images = torch.from_numpy(counts[part] / 16).float()[:, None]
    labels = torch.from_numpy(targets[part].astype(np.int64))
    return Dataset(name="digits", images=images, labels=labels, classes=10)


@cache
def _stored() -> tuple[Bytes, Bytes]:
    """Counts [N, 8, 8] and labels [N]."""
    with (files("hardball.data") / "digits.npz").open("rb") as file, np.load(file) as found:
        return found["images"], found["labels"]


def digits_bw(root: Path, train: bool) -> Dataset:
    """The digits in pure black and white (grey level 8 of 16 and above is white): then ε < ½ leaves
    every pixel recoverable in principle, so what is not learned at such an ε is training's failure."""
    grey = digits(root, train)
    return replace(grey, name="digits-bw", images=(grey.images >= 0.5).float())
