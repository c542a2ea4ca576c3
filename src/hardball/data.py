"""Data sets as two tensors kept on the device: images float32 [N, C, H, W] in [0, 1], labels [N].

The test part is only for evaluation. Every decision made during training uses a validation part split
off the training part by seed (`split_validation`).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hardball.checks import check_images, check_labels
from hardball.errors import UserError, unknown

SPLITS = ("train", "test")


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Images and labels, checked.

    Raises:
        UserError: images that are not float in [0, 1], labels out of range, unequal lengths.
    """

    name: str
    images: Tensor
    labels: Tensor
    classes: int

    def __post_init__(self) -> None:
        check_images(self.images, f"images of {self.name}")
        check_labels(self.labels, len(self.images), self.classes)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """[C, H, W]."""
        return tuple(self.images.shape[1:])

    def rows(self, index: Tensor | slice) -> "Dataset":
        """Some of the examples."""
        return replace(self, images=self.images[index], labels=self.labels[index])

    def to(self, device: torch.device) -> "Dataset":
        """The same data on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def load_dataset(name: str, root: Path | str = "data", split: str = "train") -> Dataset:
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


def split_validation(data: Dataset, count: int, seed: int) -> tuple[Dataset, Dataset]:
    """(training part, validation part of `count` examples), chosen by `seed`, disjoint, in order."""
    if not 0 < count < len(data):
        raise UserError(
            f"validation={count} of {len(data)} training images; allowed is 1 … {len(data) - 1}"
        )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    order = order.to(data.images.device)
    held = order[:count].sort().values
    return data.rows(order[count:].sort().values), data.rows(held)


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


def _digits(root: Path, train: bool) -> Dataset:
    """scikit-learn's 1,797 digits of 8×8 pixels in 17 grey levels: the last 360 are the test part
    (other writers than the rest's), as its documentation's examples split them."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    part = slice(0, -360) if train else slice(-360, None)
    images = torch.from_numpy(digits.images[part] / 16).float()[:, None]
    labels = torch.from_numpy(digits.target[part].astype(np.int64))
    return Dataset(name="digits", images=images, labels=labels, classes=10)


def _digits_bw(root: Path, train: bool) -> Dataset:
    """The digits in pure black and white (grey level 8 of 16 and above is white): then ε < ½ leaves
    every pixel recoverable in principle, so what is not learned at such an ε is training's failure."""
    digits = _digits(root, train)
    return replace(digits, name="digits-bw", images=(digits.images >= 0.5).float())


def _torchvision(name: str, kind: str) -> Callable[[Path, bool], Dataset]:
    """The data set of torchvision whose class is called `kind`."""

    def load(root: Path, train: bool) -> Dataset:
        from torchvision import datasets

        try:
            found: Any = _open_or_download(getattr(datasets, kind), root, train)
        except (RuntimeError, OSError, ValueError) as error:
            reason = str(error).partition("\n")[0].strip(" :.") or type(error).__name__
            raise UserError(
                f"{name} is not in {root} and could not be downloaded ({reason}); point --data-root at "
                "the folder that holds it in torchvision's layout"
            ) from error
        images = torch.as_tensor(found.data)
        images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2).contiguous()
        return Dataset(
            name=name,
            images=images.float() / 255,
            labels=torch.as_tensor(found.targets, dtype=torch.int64),
            classes=len(found.classes),
        )

    return load


def _open_or_download(maker: Callable[..., Any], root: Path, train: bool) -> Any:
    try:
        return maker(root, train=train, download=False)
    except RuntimeError:
        existed = root.exists()
    try:
        return maker(root, train=train, download=True)
    except (RuntimeError, OSError, ValueError):
        if not existed:
            _remove_empty(root)
        raise


def _remove_empty(folder: Path) -> None:
    """The folders that a failed download made: a mistyped path leaves no trace."""
    if folder.is_dir():
        for inside in folder.iterdir():
            _remove_empty(inside)
        with suppress(OSError):
            folder.rmdir()


def _folder(root: Path, train: bool) -> Dataset:
    """Images of one size in root/train/CLASS/ and root/test/CLASS/; classes in sorted order of the
    training part's folders, so that both parts number them alike."""
    part = root / ("train" if train else "test")
    for needed in (root / "train", part):
        if not needed.is_dir():
            raise UserError(
                f"no folder {needed}; --data folder needs --data-root with train/CLASS/ and test/CLASS/"
            )
    names = sorted(p.name for p in (root / "train").iterdir() if p.is_dir())
    stray = sorted({p.name for p in part.iterdir() if p.is_dir()} - set(names))
    if stray:
        raise UserError(
            f"{part} has classes {stray} that {root / 'train'} lacks; make the folders agree"
        )
    from torchvision.datasets.folder import IMG_EXTENSIONS

    suffixes = set(IMG_EXTENSIONS)
    files = [
        (path, label)
        for label, name in enumerate(names)
        for path in sorted((part / name).rglob("*"))
        if path.suffix.lower() in suffixes
    ]
    if not files:
        raise UserError(
            f"no images in {part}; allowed are {', '.join(sorted(suffixes))} in folders by class"
        )
    images = np.stack(_same_size([(path, _pixels(path)) for path, _ in files]))
    return Dataset(
        name=f"folder {root.name}",
        images=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255,
        labels=torch.tensor([label for _, label in files]),
        classes=len(names),
    )


def _pixels(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    try:
        with Image.open(path) as image:
            deep = image.mode.startswith("I;16")
            grey = deep or image.mode in ("1", "L")
            # 16 bits are scaled here: Pillow's conversion would clip everything above 255
            pixels = (
                (np.asarray(image) // 257).astype(np.uint8)
                if deep
                else np.asarray(image.convert("L" if grey else "RGB"))
            )
    except OSError as error:
        raise UserError(f"cannot read the image {path}: {error}; replace or remove it") from error
    return pixels[..., None] if grey else pixels


def _same_size(
    images: list[tuple[Path, np.ndarray[Any, np.dtype[np.uint8]]]],
) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    first, expected = images[0][0], images[0][1].shape
    for path, pixels in images:
        if pixels.shape != expected:
            raise UserError(
                f"{path} is {pixels.shape} but {first} is {expected} (height, width, channels); "
                "bring all images to one size and colour mode first"
            )
    return [pixels for _, pixels in images]


DATASETS: dict[str, Callable[[Path, bool], Dataset]] = {
    "digits": _digits,
    "digits-bw": _digits_bw,
    "mnist": _torchvision("mnist", "MNIST"),
    "fashion-mnist": _torchvision("fashion-mnist", "FashionMNIST"),
    "cifar10": _torchvision("cifar10", "CIFAR10"),
    "folder": _folder,
}
"""name → loader of (root, train?)."""
