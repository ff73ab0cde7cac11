"""Memory that one training step frees is kept for the next one.

By default the C library hands large blocks back to the kernel as soon as they are free, and the kernel clears
every page again when it is next touched: a sixth to almost half of a small network's time on CPUs
(docs/performance.md).
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Generator
from contextlib import contextmanager

TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
"""Names of parameters, see mallopt(3): from how many free bytes on they are handed back, and from
how many bytes on a block is mapped by itself, and unmapped when freed."""

MOST = 2**31 - 1
LARGE = (2**30, 2**25)
"""Bytes; older versions refuse more than the second."""


@contextmanager
def freed_memory_kept() -> Generator[None]:
    """Within: what this process frees stays with it, up to a limit far above what a step uses.

    Afterwards what is free is handed back, and the limits are those that the library finds by itself at most.
    Only glibc is told so; elsewhere nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    _ = any(library.mallopt(MMAP_THRESHOLD, size) for size in LARGE)
    library.mallopt(TRIM_THRESHOLD, MOST)
    try:
        yield
    finally:
        *_, grown = LARGE
        library.mallopt(MMAP_THRESHOLD, grown)
        library.mallopt(TRIM_THRESHOLD, 2 * grown)
        library.malloc_trim(0)
