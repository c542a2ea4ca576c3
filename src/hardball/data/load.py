"""A data set by name."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hardball import names
from hardball.data.cifar_files import cifar10_jpeg, cifar10_small
from hardball.data.dataset import Dataset
from hardball.data.digits import digits, digits_bw
from hardball.data.folder import folder
from hardball.data.torchvision import torchvision
from hardball.errors import UserError, unknown

SPLITS = ("train", "test")

DATASETS: dict[str, Callable[[Path, bool], Dataset]] = {
    "digits": digits,
    "digits-bw": digits_bw,
    "mnist": torchvision("mnist", "MNIST"),
    "fashion-mnist": torchvision("fashion-mnist", "FashionMNIST"),
    "cifar10": torchvision("cifar10", "CIFAR10"),
    "cifar10-jpeg": cifar10_jpeg,
    "cifar10-small": cifar10_small,
    "folder": folder,
}
"""name → loader of (root, train?)."""


def load_dataset(
    name: str, root: Path | str = "data", split: str = "train", *, trust: bool = True
) -> Dataset:
    """A data set by name. The result's `name` is that name.

    Args:
        name: a key of `DATASETS`, for instance "folder" for images in root/train/CLASS/ and
            root/test/CLASS/; or "package.module:load" of a function of your own (the current
            directory counts), which is called as load(root, train), with a Path and True for the
            training part or False for the test part, and returns a `Dataset`.
        root: where the files are, in torchvision's layout; what is missing is downloaded there.
        split: "train" or "test".
        trust: False where a file names the data set, and not the user: then code outside hardball
            is refused before it is imported.

    Raises:
        UserError: unknown name or split, data missing and not to be downloaded, unreadable images,
            or a function of your own that makes no `Dataset`.
        Untrusted: code outside hardball, without `trust`.

    Example:
        >>> hb.load_dataset("digits", split="test")
        Dataset(name='digits', n=360, shape=[1, 8, 8], classes=10)
    """
    load: Any = names.find("data set", name, DATASETS, trusted=trust)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if not _takes(load, 2):
        raise UserError(
            f"data set {name!r} is no function of two arguments; write def load(root: Path, train: "
            "bool) -> hardball.Dataset"
        )
    found = load(Path(root), split == "train")
    if not isinstance(found, Dataset):
        raise UserError(
            f"data set {name!r} returned a {type(found).__name__}; allowed is a hardball.Dataset: "
            "return Dataset(name=..., images=..., labels=..., classes=...)"
        )
    return found if found.name == name else replace(found, name=name)


def _takes(function: object, count: int) -> bool:
    """It can be called with so many arguments."""
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # some built-in functions do not say what they take
        return True
    return True
