"""The most memory that this process had, and on which GPU it computes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class GpuPeak(NamedTuple):
    """What this process had of a GPU."""

    name: str
    memory: int
    """Bytes of the GPU."""
    peak: int
    """Bytes that torch had of it at most."""


def forget_peaks() -> None:
    """Let peaks begin anew: the process may have run other cells."""
    import torch

    with suppress(OSError):  # not Linux, or not permitted: then the peak is that of all cells so far
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak() -> int | None:
    """The most memory that this process had, in bytes; None where the system does not say."""
    with suppress(OSError, IndexError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return None


def gpu_peak() -> GpuPeak:
    """The same of the GPU that it computes on."""
    import torch

    about = torch.cuda.get_device_properties(torch.cuda.current_device())
    return GpuPeak(about.name, about.total_memory, torch.cuda.max_memory_reserved())
