"""The user's own images, in a folder for each class."""

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hardball.data.dataset import Dataset
from hardball.errors import UserError

Pixels = np.ndarray[Any, np.dtype[np.uint8]] | np.ndarray[Any, np.dtype[np.uint16]]


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
    if len(names) < 2:
        raise UserError(
            f"{root / 'train'} has {len(names)} class folders; a classifier needs two or more"
        )
    from torchvision.datasets.folder import IMG_EXTENSIONS

    suffixes = set(IMG_EXTENSIONS)
    by_class = {
        name: [p for p in sorted((part / name).rglob("*")) if p.suffix.lower() in suffixes]
        for name in names
    }
    empty = [name for name, files in by_class.items() if not files]
    if len(empty) == len(names):
        raise UserError(
            f"no images in {part}; allowed are {', '.join(sorted(suffixes))} in folders by class"
        )
    if train and empty:
        raise UserError(
            f"no images in the class folder {part / empty[0]}; add some, or remove the folder"
        )
    left = [name for name in empty if (part / name).is_dir()]
    if left:
        warnings.warn(f"no images of the classes {left} in {part}", stacklevel=2)
    return Dataset(
        name="folder",
        images=images_of([path for files in by_class.values() for path in files]),
        labels=torch.tensor(
            [label for label, files in enumerate(by_class.values()) for _ in files]
        ),
        classes=len(names),
        class_names=tuple(names),
    )


def images_of(paths: list[Path]) -> torch.Tensor:
    """Image files of one size and colour mode as float32 [N, C, H, W] in [0, 1].

    Raises:
        UserError: one that is no image, would lose something, or is of another shape than the first.
    """
    images = _alike([(path, _pixels(path)) for path in paths])
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    TypeError,
    OverflowError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow raises on files that are no image, or too large a one."""


def _pixels(path: Path) -> Pixels:
    """[H, W, C], as deep as the file.

    Raises:
        UserError: no image, or one that would lose something: more frames than one, transparency,
            more than 8 bits of colour or 16 of grey.
    """
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            loss = _lost(image)
            pixels = None if loss else _decoded(image)
    except UNREADABLE as error:
        raise UserError(
            f"cannot read the image {path}: {' '.join(str(error).split())}; replace or remove it"
        ) from error
    if pixels is None:
        raise UserError(
            f"{path} {loss}; allowed are 8 bits a channel, or 16 of grey: convert it first"
        )
    return pixels


def _lost(image: Image.Image) -> str:
    """What Pillow would leave out without a word; empty if nothing. Asked before pixels are read."""
    if getattr(image, "n_frames", 1) > 1:
        return f"has {image.n_frames} frames"  # type: ignore[attr-defined]
    deep = any(_is_deep(codec, args) for codec, _, _, args in getattr(image, "tile", ()))
    if deep and not _is_grey16(image):
        return f"has more than 8 bits a channel in the mode {image.mode}"
    if image.mode in ("F", "I") and not _is_grey16(image):
        return f"has pixels of {'floating point' if image.mode == 'F' else '32 bits'}"
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] != 255:
        return "has transparent pixels"
    return ""


def _is_deep(codec: str, args: object) -> bool:
    """The file has 16 bits a channel, whatever Pillow makes of them."""
    largest = args[1] if codec.startswith("ppm") and isinstance(args, tuple) else 0
    return ";16" in str(args) or int(largest) > 255


def _is_grey16(image: Image.Image) -> bool:
    """Grey from 0 to 65535: what is 16 bits deep has that range in Pillow."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG"))


def _decoded(image: Image.Image) -> Pixels:
    if _is_grey16(image):
        return np.asarray(image).astype(np.uint16)[..., None]
    grey = image.mode in ("1", "L", "LA", "La")
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels[..., None] if grey else pixels


def _alike(images: list[tuple[Path, Pixels]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """[N, H, W, C] in [0, 1]."""
    first, expected = images[0]
    for path, pixels in images:
        if pixels.shape != expected.shape:
            raise UserError(
                f"{path} is {pixels.shape} but {first} is {expected.shape} (height, width, channels); "
                "bring all images to one size and colour mode first"
            )
    found = np.empty((len(images), *expected.shape), np.float32)
    for row, (_, pixels) in zip(found, images, strict=True):
        largest = np.float32(np.iinfo(pixels.dtype).max)
        np.divide(pixels, largest, out=row, dtype=np.float32, casting="unsafe")
    return found
