"""A data set by name."""

from collections.abc import Callable
from pathlib import Path

from hardball.data.dataset import Dataset
from hardball.data.digits import digits, digits_bw
from hardball.data.folder import folder
from hardball.data.torchvision import torchvision
from hardball.errors import unknown

SPLITS = ("train", "test")

DATASETS: dict[str, Callable[[Path, bool], Dataset]] = {
    "digits": digits,
    "digits-bw": digits_bw,
    "mnist": torchvision("mnist", "MNIST"),
    "fashion-mnist": torchvision("fashion-mnist", "FashionMNIST"),
    "cifar10": torchvision("cifar10", "CIFAR10"),
    "folder": folder,
}
"""name → loader of (root, train?)."""


def load_dataset(
    name: str, root: Path | str = "data", split: str = "train", *, trust: bool = True
) -> Dataset:
    """A data set by name.

    Args:
        name: a key of `DATASETS`, or "folder", for images in root/train/CLASS/ and root/test/CLASS/.
        root: where the files are, in torchvision's layout; what is missing is downloaded there.
        split: "train" or "test".

    Raises:
        UserError: unknown name or split, data missing and not to be downloaded, unreadable images.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return DATASETS[name](Path(root), split == "train")
