"""Adversarial examples of one network, kept beside its run: a few images, each attacked at several ε.

examples.safetensors, sealed. Shapes: E images, R radii (the first is 0: the images themselves), K classes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as format_safetensors
from torch import Tensor

from hardball import storage
from hardball.errors import Damaged

SCHEMA = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """What a network makes of a few images under attack."""

    asked: Mapping[str, Any]
    """What was asked of which network: examples of the same need not be made again."""
    index: tuple[int, ...]
    """[E]: which images of the data."""
    labels: Tensor
    """int64 [E]."""
    images: Tensor
    """[E, R, C, H, W] in [0, 1]."""
    probabilities: Tensor
    """[E, R, K]: the softmax of the logits."""
    by: tuple[tuple[str, ...], ...]
    """[E][R]: the attack that made the image; "" at ε=0."""

    @property
    def eps(self) -> tuple[float, ...]:
        """[R]."""
        return (0.0, *self.asked["eps"])

    @property
    def predictions(self) -> Tensor:
        """int64 [E, R]."""
        return self.probabilities.argmax(dim=2)

    def save(self, path: Path) -> None:
        """Written atomically and sealed."""
        about = {"schema": SCHEMA, "asked": self.asked, "index": self.index, "by": self.by}
        text = json.dumps(about, sort_keys=True).encode()
        tensors = {
            # as a tensor: metadata has no order, and the seal must be near the beginning
            "about": torch.frombuffer(bytearray(text), dtype=torch.uint8),
            "labels": self.labels,
            "images": self.images.contiguous(),
            "probabilities": self.probabilities.contiguous(),
        }
        content = format_safetensors(tensors, metadata={storage.SEAL: storage.UNSEALED})
        storage.write_atomically(path, storage.sealed(content))

    @classmethod
    def load(cls, path: Path) -> "Examples":
        """What `save` has written.

        Raises:
            Damaged: it has changed since, or is something else.
        """
        cure = "remove it, and it is made again"
        content = storage.read_sealed(path, "examples", cure)
        try:
            tensors = parse_safetensors(content)
            about = json.loads(tensors["about"].numpy().tobytes())
            found = cls(
                asked=about["asked"],
                index=tuple(about["index"]),
                by=tuple(map(tuple, about["by"])),
                **{name: tensors[name] for name in ("labels", "images", "probabilities")},
            )
            shape = (len(found.index), len(found.eps))
            fits = found.images.shape[:2] == found.probabilities.shape[:2] == torch.Size(shape)
            if about["schema"] != SCHEMA or not fits or found.images.ndim != 5:
                raise ValueError("of another schema")
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise Damaged(f"{path} holds no examples of this version; {cure}") from error
        return found
