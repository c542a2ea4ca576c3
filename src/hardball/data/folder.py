"""The user's own images, in a folder for each class."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hardball.data.dataset import Dataset
from hardball.errors import UserError


def folder(root: Path, train: bool) -> Dataset:
    """Images of one size in root/train/CLASS/ and root/test/CLASS/; classes in sorted order of the
    training part's folders, so that both parts number them alike."""
    part = root / ("train" if train else "test")
    for needed in (root / "train", part):
        if not needed.is_dir():
            raise UserError(
                f"no folder {needed}; `data=folder` needs a `data_root` with train/CLASS/ and test/CLASS/"
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
        name="folder",
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
