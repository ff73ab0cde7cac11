"""Freed memory stays within, and goes back to the system afterwards."""

from __future__ import annotations

import platform
import subprocess
import sys

import psutil
import pytest
import torch

from trainers.allocator import freed_memory_kept

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")

BLOCK = 2**26
"""Bytes, as of one layer's features: more than the 32 MiB from which glibc maps every block by itself."""


def touch(blocks: int = 1) -> None:
    """Use and free so many blocks at once."""
    _ = [torch.ones(BLOCK, dtype=torch.uint8) for _ in range(blocks)]


STEPS = """
import resource
import sys
from contextlib import nullcontext
import torch
from trainers.allocator import freed_memory_kept

def faults(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        torch.ones(int(sys.argv[2]), dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with freed_memory_kept() if sys.argv[1] == "kept" else nullcontext():
    faults(10)  # until the heap has its shape
    print(faults(10))
"""
"""Pages that the kernel had to hand out for ten steps, in a process where no other test has left holes or threads."""


def faults(memory: str) -> int:
    step = [sys.executable, "-c", STEPS, memory, str(BLOCK)]
    return int(subprocess.run(step, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_a_step_touches_the_pages_of_the_step_before() -> None:
    assert faults("kept") < faults("as it is") / 10


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
