"""What two things must have in common to count as the same: digests and descriptions."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn


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


def described(value: Any) -> Any:
    """Anything as JSON, by content: an object by its class and fields (those of a dataclass, else
    its attributes), a network and a tensor by the digest of their numbers.

    Two attacks with the same description do the same.
    """
    if value is None or isinstance(value, str | int | float | bool):
        found: Any = value
    elif isinstance(value, Tensor):
        found = {"kind": "Tensor", "sha256": tensors_sha256([value])}
    elif isinstance(value, nn.Module):
        found = {"kind": type(value).__name__, "sha256": model_sha256(value)}
    elif isinstance(value, Mapping):
        found = {str(name): described(inner) for name, inner in value.items()}
    elif isinstance(value, list | tuple):
        found = [described(inner) for inner in value]
    elif isinstance(value, set | frozenset):
        found = sorted((described(inner) for inner in value), key=repr)
    elif isinstance(value, type) or not hasattr(value, "__dict__"):
        found = {"kind": getattr(value, "__qualname__", repr(value))}
    else:
        known = fields(value) if is_dataclass(value) else ()
        names = [field.name for field in known] or sorted(vars(value))
        kind = getattr(value, "__qualname__", type(value).__qualname__)
        found = {"kind": kind, **{name: described(getattr(value, name)) for name in names}}
    return found
