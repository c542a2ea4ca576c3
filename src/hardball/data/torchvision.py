"""Data sets that torchvision knows: read from its layout, or downloaded there."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from hardball.data.dataset import Dataset
from hardball.errors import UserError


def torchvision(name: str, kind: str) -> Callable[[Path, bool], Dataset]:
    """The data set of torchvision whose class is called `kind`."""

    def load(root: Path, train: bool) -> Dataset:
        from torchvision import datasets

        try:
            found: Any = _open_or_download(getattr(datasets, kind), root, train)
        except (RuntimeError, OSError, ValueError) as error:
            reason = str(error).partition("\n")[0].strip(" :.") or type(error).__name__
            raise UserError(
                f"{name} is not in {root} and could not be downloaded ({reason}); point `data_root` at "
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
