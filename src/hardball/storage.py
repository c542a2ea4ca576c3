"""Files: atomic writes, digests, weights as safetensors, and errors that say what is wrong with a file.

Nothing is ever unpickled: weights are safetensors, resume points are read with `weights_only`.

What hardball writes for itself it seals: near the file's beginning is `hardball-sha256` and the SHA-256
of all its bytes, with the 64 digits themselves set to 0. The seal is inside the file, so that both are
replaced in one step and no kill comes between them; each format has room for it (a comment in YAML, an
entry in JSON, the metadata of safetensors) and other readers pass over it. Files without a seal, from
elsewhere, are read without a check. Only CSV has no room: its digest is in a file beside it.
"""

import errno
import fcntl
import hashlib
import io
import os
import pickle
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as format_safetensors
from torch import Tensor, nn

from hardball.errors import Damaged, StorageError, UserError, WrongArchitecture

SEAL = "hardball-sha256"
UNSEALED = "0" * 64
"""Takes the place of a file's own digest while that is computed."""

_SEAL = re.compile(SEAL.encode() + rb"\W{1,4}([0-9a-f]{64})")
_BEGINNING = 4096
"""Bytes in which a seal is looked for."""
_STATE = f"{SEAL}: ".encode()
"""How a resume point begins; 64 digits and a line's end follow, and then what torch wrote."""


def write_atomically(path: Path, content: bytes) -> None:
    """All of `content` under `path`, or what was there before: temporary file, fsync, rename.

    Raises:
        StorageError: no space left, a read-only place; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # a new file: nothing that a link leads to
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


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """`path`, a file that is there for this alone, belongs to one process at a time.

    Raises:
        StorageError: it cannot be made, or is a link.
        UserError: another process has it; `busy` is the message.
    """
    # no link is followed and nothing truncated: the folder may be a stranger's
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StorageError(
                f"{path} is a link; remove it: hardball writes to no link"
            ) from error
        raise StorageError(
            f"cannot write in {path.parent}: {error.strerror}; choose a place that can be written to"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(busy) from error
        yield
    finally:
        os.close(descriptor)


def refuse_link(folder: Path) -> None:
    """Refuse to write through a link that is part of what may be a stranger's folder.

    Raises:
        StorageError: `folder` is a link.
    """
    if folder.is_symlink():
        raise StorageError(
            f"{folder} is a link to {folder.readlink()}, and hardball writes nothing through links "
            "inside a run; put a folder in its place"
        )


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes of this machine left of their writes in a folder."""
    for path in folder.glob(".*.tmp"):
        pid = path.name.split(".")[-2]
        if pid.isdigit() and not Path("/proc", pid).exists() and Path("/proc/self").exists():
            with suppress(OSError):
                path.unlink()


def read_bytes(path: Path, what: str) -> bytes:
    """The file's content.

    Raises:
        StorageError: it is missing, a folder, or unreadable.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # reading a pipe might never end
            raise StorageError(f"cannot read {what} {path}: it is no regular file; name one")
        return path.read_bytes()
    except OSError as error:
        raise StorageError(
            f"cannot read {what} {path}: {error.strerror}; check the path"
        ) from error


def digest(content: bytes) -> str:
    """SHA-256, as hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sealed(content: bytes) -> bytes:
    """`content`, which has `SEAL` and `UNSEALED` near its beginning, with its digest there."""
    place = _SEAL.search(content, 0, _BEGINNING)
    assert place is not None, "no place for a seal"
    return b"".join([content[: place.start(1)], digest(content).encode(), content[place.end(1) :]])


def unbroken(content: bytes) -> bool | None:
    """Whether nothing has changed since a file was sealed; None if it has no seal."""
    place = _SEAL.search(content, 0, _BEGINNING)
    if place is None:
        return None
    view = memoryview(content)
    found = hashlib.sha256(view[: place.start(1)])
    found.update(UNSEALED.encode())
    found.update(view[place.end(1) :])
    return found.hexdigest().encode() == place[1]


def read_sealed(path: Path, what: str, cure: str = "restore it from a copy") -> bytes:
    """The file's content, seen to be unchanged if it is sealed.

    Raises:
        StorageError: it is missing or unreadable.
        Damaged: its seal is broken.
    """
    content = read_bytes(path, what)
    if unbroken(content) is False:
        raise _changed(path, cure)
    return content


def _changed(path: Path, cure: str) -> Damaged:
    return Damaged(
        f"{path} has changed since it was written: its SHA-256 is another than recorded; {cure}"
    )


def write_beside_digest(path: Path, content: bytes) -> None:
    """A file whose format has no room for a seal: its SHA-256 goes into PATH.sha256.

    There are two digests, of the new content and of the one before, as a kill may leave the old one.
    """
    known = [digest(content), *([digest(path.read_bytes())] if path.is_file() else [])]
    write_atomically(_beside(path), "".join(f"{one}\n" for one in known).encode())
    write_atomically(path, content)


def read_beside_digest(path: Path, what: str) -> bytes:
    """The content of a file, checked if its digest is beside it.

    Raises:
        StorageError: it is missing or unreadable.
        Damaged: it has changed since it was written.
    """
    content = read_bytes(path, what)
    if _beside(path).exists():
        known = read_bytes(_beside(path), "digests").split()
        if digest(content).encode() not in known:
            raise Damaged(
                f"{path} has changed since it was written: its SHA-256 is none of those in "
                f"{_beside(path)}; restore both from a copy"
            )
    return content


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def save_weights(model: nn.Module, path: Path) -> None:
    """A model's parameters and buffers, contiguous and on the CPU, as sealed safetensors."""
    tensors = {
        name: value.detach().to("cpu", memory_format=torch.contiguous_format).contiguous().clone()
        for name, value in model.state_dict().items()
    }
    write_atomically(path, sealed(format_safetensors(tensors, metadata={SEAL: UNSEALED})))


def load_weights(model: nn.Module, path: Path, cure: str = "restore it from a copy") -> str:
    """Fill `model` from a safetensors file.

    Returns:
        SHA-256 of the file.

    Raises:
        StorageError: the file is missing.
        Damaged: it is truncated, changed, or no safetensors file (a web page, a pickle).
        WrongArchitecture: its tensors are not those of the model, or of another kind (complex numbers,
            integers). The model is then unchanged.
    """
    content = read_bytes(path, "weights")
    tensors = _parse(path, content)
    if unbroken(content) is False:
        raise _changed(path, cure)
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
        if _kind(tensors[name]) != _kind(value):
            raise WrongArchitecture(
                f"weights {path}: {name} is of type {_dtype(tensors[name])} there and {_dtype(value)} "
                "in the model; convert them to that (quantized weights need their scales)"
            )
    model.load_state_dict(tensors)
    return digest(content)


def _kind(tensor: Tensor) -> tuple[bool, bool, bool]:
    """What a cast within changes values by rounding at most: floats, complex numbers, bools, integers."""
    dtype = tensor.dtype
    return dtype.is_floating_point, dtype.is_complex, dtype == torch.bool


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


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
    """A resume point, sealed: nested dicts, lists, numbers, strings and tensors."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, sealed(_STATE + f"{UNSEALED}\n".encode() + buffer.getvalue()))


def load_state(path: Path) -> dict[str, Any]:
    """A resume point, read without running any code that it might contain.

    Raises:
        StorageError: it is missing.
        Damaged: it is truncated, changed, or no resume point.
    """
    content = read_bytes(path, "resume point")
    start = len(_STATE) + len(UNSEALED) + 1
    # unlike other files it is never from elsewhere: one without a seal is none
    if not (content.startswith(_STATE) and unbroken(content)):
        raise Damaged(f"{path} is no whole resume point (its SHA-256 is not the one recorded)")
    try:
        with warnings.catch_warnings(action="ignore"):  # the error below says it better
            state = torch.load(io.BytesIO(content[start:]), weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise Damaged(f"{path} is no whole resume point ({type(error).__name__})") from error
    if not isinstance(state, dict):
        raise Damaged(f"{path} is no resume point, but a {type(state).__name__}")
    return state
