"""Files: atomic writes, weights as safetensors, and errors that say what is wrong with a file.

Nothing is ever unpickled: weights are safetensors, resume points are read with `weights_only`.
"""

import errno
import hashlib
import io
import os
import pickle
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as format_safetensors
from torch import Tensor, nn

from hardball.errors import Damaged, StorageError, WrongArchitecture


def write_atomically(path: Path, content: bytes) -> None:
    """All of `content` under `path`, or what was there before: temporary file, fsync, rename.

    Raises:
        StorageError: no space left, a read-only place; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        cure = (
            "free some space, then continue: a training with `resume`, an evaluation by the same call"
            if full
            else "choose a place that can be written to"
        )
        raise StorageError(
            f"cannot write {path} ({len(content):,} bytes): {error.strerror or error}; {cure}; "
            "what was there before is unchanged"
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bytes(path: Path, what: str) -> bytes:
    """The file's content.

    Raises:
        StorageError: it is missing, a folder, or unreadable.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(
            f"cannot read {what} {path}: {error.strerror}; check the path"
        ) from error


def digest(content: bytes) -> str:
    """SHA-256, as hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def save_weights(model: nn.Module, path: Path) -> None:
    """A model's parameters and buffers, contiguous and on the CPU, as safetensors."""
    tensors = {
        name: value.detach().to("cpu", memory_format=torch.contiguous_format).contiguous().clone()
        for name, value in model.state_dict().items()
    }
    write_atomically(path, format_safetensors(tensors))


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill `model` from a safetensors file.

    Raises:
        StorageError: the file is missing.
        Damaged: it is truncated or no safetensors file (a web page, a pickle).
        WrongArchitecture: its tensors are not those of the model. The model is then unchanged.
    """
    tensors = _parse(path, read_bytes(path, "weights"))
    expected = model.state_dict()
    missing, extra = (
        sorted(expected.keys() - tensors.keys()),
        sorted(tensors.keys() - expected.keys()),
    )
    if missing or extra:
        raise WrongArchitecture(
            f"weights {path} are of another architecture: missing {_few(missing)}, unexpected "
            f"{_few(extra)}; pass the `model` and `model_args` they were trained with"
        )
    for name, value in expected.items():
        found = tensors[name].shape
        if found != value.shape:
            raise WrongArchitecture(
                f"weights {path} are of another architecture: {name} is {list(found)} there and "
                f"{list(value.shape)} in the model; pass the `model_args` they were trained with"
            )
    model.load_state_dict(tensors)


def _parse(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        return parse_safetensors(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise Damaged(f"{path} {_looks_like(content, error)}") from error


def _looks_like(content: bytes, error: Exception) -> str:
    """What a file is that is no safetensors file, and what to do about it.

    Only asked of files that could not be parsed: a safetensors file begins with the length of its
    header, which may begin with a pickle's first byte, or a zip archive's first two.
    """
    head = content[:512].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not weights; the download failed: fetch it again"
    begun = content[4:9] == b"\0\0\0\0{"  # the end of a header's length, and its first character
    if (not begun and content[:1] == b"\x80") or (content[:2] == b"PK" and b"/data.pkl" in content):
        return (
            "is a pickle, which can run code when read; allowed is safetensors: convert it with "
            "safetensors.torch.save_file(torch.load(path, weights_only=True), ...)"
        )
    if content[:4] == b"PK\x03\x04":
        return "is a zip archive; allowed is safetensors: unpack it and name the weights inside"
    return (
        f"({len(content):,} bytes) is no whole safetensors file ({error}); it is truncated or of "
        "another kind: copy it again"
    )


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "none"
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def save_state(state: dict[str, Any], path: Path) -> None:
    """A resume point: nested dicts, lists, numbers, strings and tensors."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """A resume point, read without running any code that it might contain.

    Raises:
        StorageError: it is missing.
        Damaged: it is truncated or no resume point.
    """
    content = read_bytes(path, "resume point")
    try:
        with warnings.catch_warnings(action="ignore"):  # the error below says it better
            state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise Damaged(f"{path} is no whole resume point ({type(error).__name__})") from error
    if not isinstance(state, dict):
        raise Damaged(f"{path} is no resume point, but a {type(state).__name__}")
    return state
