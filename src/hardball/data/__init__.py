"""Data sets as two tensors: images float32 [N, C, H, W] in [0, 1] and labels [N]."""

from hardball.data.augmentation import AUGMENTATIONS, augment, distort
from hardball.data.dataset import Dataset, split_validation
from hardball.data.load import DATASETS, load_dataset

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "Dataset",
    "augment",
    "distort",
    "load_dataset",
    "split_validation",
]
