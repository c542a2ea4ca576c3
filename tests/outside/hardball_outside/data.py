"""A data set: `--data hardball_outside.data:parity`."""

from pathlib import Path

import torch
from sklearn.datasets import load_digits

import hardball as hb


def parity(root: Path, train: bool) -> hb.Dataset:
    """Is the digit odd? Scikit-learn's 8×8 digits, the last 360 for the test.

    Args:
        root: the folder `--data-root`, for data that lies in files.
        train: the training part, or the test part.
    """
    found = load_digits()
    part = slice(None, -360) if train else slice(-360, None)
    images = torch.from_numpy(found.images[part]).float()[:, None] / 16
    labels = torch.from_numpy(found.target[part]).long() % 2
    return hb.Dataset(name="parity", images=images, labels=labels, classes=2)
