"""Keep the memory that one training step frees for the next step.

By default the C library returns large blocks to the kernel as soon as they are free, and the kernel zeroes every
page again at its next use. For small networks on CPUs this costs a sixth to almost half of the time
(docs/performance.md).
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Generator
from contextlib import contextmanager

TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
"""Parameter numbers of mallopt(3). The first limits how many free bytes are kept before they are returned to the
kernel; the second is the size from which a block gets its own mapping, which is unmapped once the block is freed."""

MOST = 2**31 - 1
LARGE = (2**30, 2**25)
"""Mapping thresholds in bytes. Both are tried, because older versions of glibc refuse more than the second."""


@contextmanager
def freed_memory_kept() -> Generator[None]:
    """Inside the block, the process keeps what it frees, up to a limit far above what a step uses.

    On exit, free memory is returned, and the limits are set to the highest that glibc would choose by itself.
    Does nothing with other C libraries.
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
