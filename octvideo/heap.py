"""The C library's heap: memory that a network frees is kept for its next tensors.

glibc takes every tensor above 32 MB from the kernel anew, and gives the end of its heap back when it is free. The
kernel fills each page with zeros when it is touched first, which a CPU network waits for.
Source: mallopt(3).
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
_GIB = 2**30


def keep_freed_memory() -> bool:
    """Keep up to 2 GiB of freed memory in this process, and in those that it forks; whether that could be set."""
    return _set(trim=2 * _GIB - 1, mmap=_GIB)


def return_freed_memory() -> bool:
    """Give freed memory back to the system early, as glibc does by default, for processes that open many files."""
    return _set(trim=128 * 1024, mmap=128 * 1024)


def _set(trim: int, mmap: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, mmap)) and bool(mallopt(_M_TRIM_THRESHOLD, trim))
