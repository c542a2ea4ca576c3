"""Freed memory that stays with the process."""

import ctypes
import os
import sys
from functools import cache

# of <malloc.h>
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4

KEPT = 2**30
"""Most bytes of freed memory at the end of the heap that a process keeps."""


@cache
def keep_memory() -> bool:
    """Let this process keep freed memory for its next tensors, from now on; True if it will.

    A step of an attack takes and frees the same tens of megabytes as the step before. The C library
    of Linux gives blocks of this size back to the system at once and gets them anew, page by page:
    some thousand page faults per step, a tenth of its time. On other systems, and where the
    environment already sets the allocator (MALLOC_…, GLIBC_TUNABLES, LD_PRELOAD), nothing changes.
    """
    chosen = [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_TUNABLES"))]
    if not sys.platform.startswith("linux") or chosen or "LD_PRELOAD" in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    # no block in a mapping of its own; the heap grows by much and shrinks seldom
    wanted = ((_MMAP_MAX, 0), (_TOP_PAD, 2**26), (_TRIM_THRESHOLD, KEPT))
    taken = [mallopt(name, value) for name, value in wanted]
    return all(taken)
