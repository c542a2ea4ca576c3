"""A data set as two tensors kept on the device: images float32 [N, C, H, W] in [0, 1], labels [N].

The test part is only for evaluation. Every decision made during training uses a validation part split
off the training part by seed (`split_validation`).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hardball.errors import UserError
from hardball.fingerprint import tensors_sha256
from hardball.validation import validate_images, validate_labels


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Dataset:
    """Images and labels, checked.

    Raises:
        UserError: images that are not float in [0, 1], labels out of range, unequal lengths.

    Example:
        >>> images, labels = torch.rand(6, 3, 32, 32), torch.tensor([0, 1, 0, 1, 0, 1])
        >>> hb.Dataset(name="mine", images=images, labels=labels, classes=2)
        Dataset(name='mine', n=6, shape=[3, 32, 32], classes=2)
    """

    name: str
    """What `load_dataset` calls it; any name for data that was made in Python."""
    images: Tensor
    labels: Tensor
    classes: int
    class_names: tuple[str, ...] | None = None
    """What each class is called, in the order of the labels; None: by number."""

    def __post_init__(self) -> None:
        if self.class_names is not None and len(self.class_names) != self.classes:
            raise UserError(
                f"{len(self.class_names)} names for {self.classes} classes; give each one, or none"
            )
        validate_images(self.images, f"images of {self.name}")
        validate_labels(self.labels, len(self.images), self.classes)

    def __repr__(self) -> str:
        return (
            f"Dataset(name={self.name!r}, n={len(self)}, shape={list(self.shape)}, "
            f"classes={self.classes})"
        )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """[C, H, W]."""
        return tuple(self.images.shape[1:])

    @property
    def sha256(self) -> str:
        """Digest of the images and labels, in order: see `tensors_sha256`."""
        return tensors_sha256([self.images, self.labels])

    def rows(self, index: Tensor | slice) -> "Dataset":
        """Some of the examples."""
        return replace(self, images=self.images[index], labels=self.labels[index])

    def some(self, count: int | None, seed: int | None = None) -> "Dataset":
        """The first examples; or, with a seed, as many drawn at random without replacement, in order.

        Args:
            count: how many; None for all.
            seed: of the draw. A prefix is no sample where the examples are in no random order.
        """
        if seed is None or count is None:
            return self.rows(slice(0, count))
        return self.rows(drawn(len(self), count, seed).to(self.images.device))

    def to(self, device: torch.device) -> "Dataset":
        """The same data on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def drawn(whole: int, count: int, seed: int) -> Tensor:
    """int64 [count]: rows of a data set of that size, without replacement, ascending."""
    order = torch.randperm(whole, generator=torch.Generator().manual_seed(seed))
    return order[:count].sort().values


def split_validation(data: Dataset, count: int, seed: int) -> tuple[Dataset, Dataset]:
    """(training part, validation part of `count` examples), chosen by `seed`, disjoint, in order."""
    if not 0 < count < len(data):
        raise UserError(
            f"`validation={count}` of {len(data)} training images; allowed is 1 … {len(data) - 1}"
        )
    held = drawn(len(data), count, seed).to(data.images.device)
    left = torch.ones(len(data), dtype=torch.bool, device=held.device)
    left[held] = False
    return data.rows(left.nonzero().squeeze(1)), data.rows(held)
