"""A folder of images of any size → train and test parts of one size, for `--data folder`.

    python examples/resize_folder.py originals pictures --size 64 --test 0.2

`originals` has CLASS/ folders, of which a share becomes the test part, or train/CLASS/ and test/CLASS/.
Images are cropped to a square in the middle, scaled, and written as PNG, in colour.
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError


def parts(source: Path, test: float, seed: int) -> Iterator[tuple[Path, Path]]:
    """(image, its place below the new folder), split by a shuffle of each class."""
    if (source / "train").is_dir():
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            yield path, path.relative_to(source)
        return
    for folder in sorted(p for p in source.iterdir() if p.is_dir()):
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        random.Random(seed).shuffle(files)
        held = round(test * len(files))
        for number, path in enumerate(files):
            yield path, Path("test" if number < held else "train") / path.relative_to(source)


def resized(path: Path, size: int) -> Image.Image:
    """The middle square, scaled."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        return ImageOps.fit(upright.convert("RGB"), (size, size), Image.Resampling.LANCZOS)


def resize(source: Path, target: Path, *, size: int, test: float = 0.2, seed: int = 0) -> int:
    """Write the new folder.

    Returns:
        The number of images written. Files that are no images are named and left out.
    """
    count = 0
    for path, place in parts(source, test, seed):
        try:
            image = resized(path, size)
        except (UnidentifiedImageError, OSError) as error:
            print(f"left out: {path}: {error}")
            continue
        # the old suffix stays in the name, so that a.jpg and a.png are two images
        written = target / place.with_name(f"{place.name}.png")
        written.parent.mkdir(parents=True, exist_ok=True)
        image.save(written)
        count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--test", type=float, default=0.2, help="share of each class")
    given = parser.parse_args()
    count = resize(given.source, given.target, size=given.size, test=given.test)
    print(f"{count} images in {given.target}")


if __name__ == "__main__":
    main()
