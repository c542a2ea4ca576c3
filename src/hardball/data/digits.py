"""Scikit-learn's digits, which need no download."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hardball.data.dataset import Dataset


def digits(root: Path, train: bool) -> Dataset:
    """scikit-learn's 1,797 digits of 8×8 pixels in 17 grey levels: the last 360 are the test part
    (other writers than the rest's), as its documentation's examples split them."""
    from sklearn.datasets import load_digits

    found = load_digits()
    part = slice(0, -360) if train else slice(-360, None)
    images = torch.from_numpy(found.images[part] / 16).float()[:, None]
    labels = torch.from_numpy(found.target[part].astype(np.int64))
    return Dataset(name="digits", images=images, labels=labels, classes=10)


def digits_bw(root: Path, train: bool) -> Dataset:
    """The digits in pure black and white (grey level 8 of 16 and above is white): then ε < ½ leaves
    every pixel recoverable in principle, so what is not learned at such an ε is training's failure."""
    grey = digits(root, train)
    return replace(grey, name="digits-bw", images=(grey.images >= 0.5).float())
