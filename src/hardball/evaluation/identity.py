"""What a result belongs to: weights and data, by the content of their numbers."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hardball.data import Dataset


def data_sha256(data: Dataset) -> str:
    """SHA-256 of the images and labels measured, in order: see `tensors_sha256`."""
    return tensors_sha256([data.images, data.labels])


def model_sha256(model: nn.Module) -> str:
    """SHA-256 of a model's parameters and buffers, in the order of its state dict."""
    return tensors_sha256(value for value in model.state_dict().values())


def tensors_sha256(tensors: Iterable[Tensor]) -> str:
    """SHA-256 over, for each tensor, its type and shape as text ("float32 [5, 1, 28, 28]\\n") and
    then its numbers in row-major order, as little-endian bytes."""
    found = hashlib.sha256()
    for tensor in tensors:
        plain = tensor.detach().to("cpu").contiguous()
        found.update(f"{str(plain.dtype).removeprefix('torch.')} {list(plain.shape)}\n".encode())
        if plain.numel():
            # torch has types that numpy lacks (bfloat16): look at the bytes
            found.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
