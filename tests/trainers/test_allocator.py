"""Freed memory stays within, and goes back to the system afterwards."""

from __future__ import annotations

import platform
import resource

import psutil
import pytest
import torch

from trainers.allocator import freed_memory_kept

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")

BLOCK = 2**24
"""Bytes, as of one layer's features."""

PAGES = BLOCK // resource.getpagesize()


def touch(blocks: int = 1) -> None:
    """Use and free so many blocks at once."""
    _ = [torch.ones(BLOCK, dtype=torch.uint8) for _ in range(blocks)]


def faults(steps: int) -> int:
    """Pages that the kernel had to hand out for these steps."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        touch()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_a_step_touches_the_pages_of_the_step_before() -> None:
    with freed_memory_kept():
        touch(blocks=2)
        assert faults(steps=20) < PAGES


def test_afterwards_what_is_free_is_the_systems_again() -> None:
    process = psutil.Process()
    with freed_memory_kept():
        touch(blocks=16)
        within = process.memory_info().rss
    assert process.memory_info().rss < within - 8 * BLOCK


def test_an_error_within_goes_through() -> None:
    with pytest.raises(ZeroDivisionError), freed_memory_kept():
        raise ZeroDivisionError


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", None)
    with freed_memory_kept():
        touch()
