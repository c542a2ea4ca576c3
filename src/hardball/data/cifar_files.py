"""CIFAR-10 from image files, and a few of its images, drawn once and for all: to try on a CPU what takes a
GPU with all of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import torch

from hardball.data.dataset import Dataset
from hardball.data.folder import images_of
from hardball.data.torchvision import torchvision
from hardball.errors import UserError

TRAIN, TEST = 1000, 500
"""Images of the two parts, a tenth of them of each class."""
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def cifar10_small(root: Path, train: bool) -> Dataset:
    """1,000 training and 500 test images of CIFAR-10, in an order of their own: from torchvision's
    layout in root, or from image files in root/train/CLASS and root/test/CLASS (or in
    root/cifar10-jpeg). Nothing is downloaded.

    Raises:
        UserError: neither is there.
    """
    if (root / "cifar-10-batches-py").is_dir():
        return _of_batches(root, train)
    each = (TRAIN if train else TEST) // len(CLASSES)
    return _of_files("cifar10-small", _folder(root, train), each)


def cifar10_jpeg(root: Path, train: bool) -> Dataset:
    """CIFAR-10 from image files in root/train/CLASS and root/test/CLASS (or in root/cifar10-jpeg), in an
    order of their own, so that the first n are of all classes.

    Raises:
        UserError: they are not there.
    """
    return _of_files("cifar10-jpeg", _folder(root, train), None)


def _folder(root: Path, train: bool) -> Path:
    part = "train" if train else "test"
    for folder in (root / "cifar10-jpeg" / part, root / part):
        if all((folder / name).is_dir() for name in CLASSES):
            return folder
    raise UserError(
        f"no CIFAR-10 in {root}: neither cifar-10-batches-py (torchvision's layout) nor train/CLASS/ and "
        "test/CLASS/ with its ten classes; point `data_root` at it"
    )


def _of_files(name: str, folder: Path, each: int | None) -> Dataset:
    """So many of each class, or all; only those are decoded."""
    drawn = []
    for label, kind in enumerate(CLASSES):
        files = sorted(p for p in (folder / kind).iterdir() if p.suffix in (".jpg", ".png"))
        if len(files) < (each or 1):
            raise UserError(
                f"{folder / kind} has {len(files)} images; allowed are {each or 1} or more"
            )
        drawn += [(path, label) for path in Random(label).sample(files, each or len(files))]
    Random(0).shuffle(drawn)
    return Dataset(
        name=name,
        images=images_of([path for path, _ in drawn]),
        labels=torch.tensor([label for _, label in drawn]),
        classes=len(CLASSES),
        class_names=CLASSES,
    )


def _of_batches(root: Path, train: bool) -> Dataset:
    whole = torchvision("cifar10", "CIFAR10")(root, train)
    rows = list(_drawn(whole.labels.tolist(), (TRAIN if train else TEST) // len(CLASSES)))
    Random(0).shuffle(rows)
    return replace(whole.rows(torch.tensor(rows)), name="cifar10-small")


def _drawn(labels: list[int], each: int) -> Iterator[int]:
    for label in range(len(CLASSES)):
        own = [row for row, one in enumerate(labels) if one == label]
        yield from Random(label).sample(own, each)
