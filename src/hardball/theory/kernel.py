"""The inner loop over all pairs of points, compiled.

B points are compared in blocks of `BLOCK` features; a pair is given up as soon as its distance so
far exceeds the limit, which for images happens after one or two blocks. Bytes are compared as
bytes, so every ℓ∞ and ℓ0 block is a few vector instructions.

N points, K blocks, C features per block. The layout is [K, N, C]: the first block of all points
lies together in memory, and most pairs never touch another.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hardball.extras import missing
from hardball.theory.arguments import Array
from hardball.theory.layout import L2, LINF

try:
    import numba
except ImportError as error:
    raise missing("distances between all pairs need", "numba") from error

# How a block is computed for each stored type: (type of one difference, type of a block's sum).
# A block sum of 64 squared byte differences needs 23 bits.
_ARITHMETIC: dict[str, tuple[type, type]] = {
    "uint8": (np.uint8, np.int32),
    "float32": (np.float64, np.float64),
    "float64": (np.float64, np.float64),
}


def _compiled(**options: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compiled at the first call and kept on disk, where there is a folder to write to."""

    compile_: Any = numba.njit

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        try:
            return cast(Callable[..., None], compile_(cache=True, **options)(function))
        except RuntimeError:  # numba finds no place for its cache
            return cast(Callable[..., None], compile_(**options)(function))

    return wrap


@numba.njit(inline="always")
def _largest(a: Any, b: Any, narrow: Any, wide: Any) -> Any:
    largest = narrow(0)
    for c in range(a.size):
        x, y = narrow(a[c]), narrow(b[c])
        largest = max(largest, narrow(max(x, y) - min(x, y)))
    return largest


@numba.njit(inline="always")
def _squares(a: Any, b: Any, narrow: Any, wide: Any) -> Any:
    total = wide(0)
    for c in range(a.size):
        difference = wide(wide(a[c]) - wide(b[c]))
        total = wide(total + wide(difference * difference))
    return total


@numba.njit(inline="always")
def _changes(a: Any, b: Any, narrow: Any, wide: Any) -> Any:
    changed = narrow(0)
    for c in range(a.size):
        changed = narrow(changed + narrow(a[c] != b[c]))
    return changed


@_compiled(parallel=True, nogil=True)
def _scan(
    features: Any,
    first: Any,
    top: int,
    norm: int,
    cap: Any,
    shrink: bool,
    narrow: Any,
    wide: Any,
    found: Any,
    columns: Any,
    lengths: Any,
) -> None:
    """Fill one row of `found`, `columns`, `lengths` for each point top, top+1, …"""
    blocks, points, _ = features.shape
    room = columns.shape[1]
    for row in numba.prange(found.size):
        i = top + row
        limit = cap
        hits = 0
        for j in range(first[i], points):
            length = cap - cap  # zero, in the limit's type
            for k in range(blocks):
                a = features[k, i]
                b = features[k, j]
                if norm == LINF:
                    length = max(length, length * 0 + _largest(a, b, narrow, wide))
                elif norm == L2:
                    length += _squares(a, b, narrow, wide)
                else:
                    length += _changes(a, b, narrow, wide)
                if length > limit:
                    break
            if length < limit or (length == limit and not shrink):
                slot = 0 if shrink else hits
                if slot < room:
                    columns[row, slot] = j
                    lengths[row, slot] = length
                hits = slot + 1
                if shrink:
                    limit = length
        found[row] = hits


@contextmanager
def _threads_of_torch() -> Iterator[None]:
    """numba's OpenMP layer sets the number of threads of the whole process, PyTorch's among them."""
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    try:
        yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)


def scan(
    features: Array,
    first: Array,
    rows: range,
    norm: int,
    cap: float | int,
    *,
    room: int,
    shrink: bool = False,
) -> tuple[Array, Array, Array]:
    """Partners of each point i of `rows` among the points first[i], first[i]+1, … within `cap`.

    Returns (found [R], columns [R, room], lengths [R, room]): how many partners each row has, and
    as many of them as there is room for, in increasing order. With `shrink` only pairs strictly
    below `cap` count, and each row keeps just its nearest partner, the first of equals.
    """
    whole = features.dtype == np.uint8
    number = np.int64 if whole else np.float64
    found = np.zeros(len(rows), dtype=np.int64)
    columns = np.empty((len(rows), room), dtype=np.int32)
    lengths = np.empty((len(rows), room), dtype=number)
    narrow, wide = _ARITHMETIC[features.dtype.name]
    with _threads_of_torch():
        _scan(
            features, first, rows.start, norm, number(cap), shrink, narrow, wide,
            found, columns, lengths,
        )  # fmt: skip
    return found, columns, lengths


@_compiled()
def _match(i: Any, j: Any, free: Any, chosen: Any) -> None:
    for e in range(i.size):
        if free[i[e]] and free[j[e]]:
            free[i[e]] = False
            free[j[e]] = False
            chosen[e] = True


def match_greedily(i: Array, j: Array, free: Array) -> NDArray[np.int64]:
    """The pairs [M, 2] taken by going through (i, j) in order and taking each pair that is free.

    `free` [N] is updated in place: taken vertices are no longer free.
    """
    chosen = np.zeros(i.size, dtype=np.bool_)
    _match(i, j, free, chosen)
    return np.stack([i[chosen], j[chosen]], axis=1).astype(np.int64)
