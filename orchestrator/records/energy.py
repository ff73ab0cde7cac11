"""The energy that a cell's devices take, where the machine has counters of it and shows them."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of Intel's and AMD's processors, by default to root alone."""

GLANCE = 60.0
"""Seconds between two looks at these counters: they start again from 0 at some 262 kJ, ten minutes of 400 W."""


class Meter:
    """Counts energy while it is entered: all that the device and the processors took, whoever used them.

    Args:
        gpu: The GPU's UUID; None for a cell without one.
        nvml: The opened library, or None.
        powercap: The folder of the processors' counters.
    """

    def __init__(self, gpu: str | None, nvml: Any, powercap: Path = POWERCAP) -> None:
        self._gpu = gpu
        self._nvml = nvml
        self._zones = {zone: _microjoules(zone) or 0 for zone in sorted(powercap.glob("*")) if _is_counted(zone)}
        self._microjoules = 0
        self._before = self._millijoules()
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._watch = threading.Thread(target=self._watching, name="energy", daemon=True)

    def __enter__(self) -> Self:
        if self._zones:
            self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    def joules(self) -> dict[str, float | None]:
        """What was taken since it was made; None where it cannot be read."""
        self._look()
        now = self._millijoules()
        return {
            "gpu_joules": None if now is None or self._before is None else (now - self._before) / 1e3,
            "cpu_joules": self._microjoules / 1e6 if self._zones else None,
        }

    def _watching(self) -> None:
        while not self._left.wait(GLANCE):
            self._look()

    def _look(self) -> None:
        with self._lock:
            for zone, last in self._zones.items():
                now = _microjoules(zone)
                if now is not None:
                    full = _number(zone / "max_energy_range_uj") or 0
                    self._microjoules += now - last + (full if now < last else 0)
                    self._zones[zone] = now

    def _millijoules(self) -> int | None:
        """Of the GPU since its driver was loaded; GPUs before Volta, and parts of one, have no counter."""
        if self._gpu is None or self._nvml is None:
            return None
        with suppress(self._nvml.NVMLError):
            return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._nvml.nvmlDeviceGetHandleByUUID(self._gpu))
        return None


def _is_counted(zone: Path) -> bool:
    """Packages and memory: cores are a part of their package, the platform is all at once, and MMIO shows it twice."""
    with suppress(OSError):
        name = (zone / "name").read_text(encoding="ascii").strip()
        counted = name.startswith("package") or name == "dram"
        return counted and "mmio" not in zone.name and _microjoules(zone) is not None
    return False


def _microjoules(zone: Path) -> int | None:
    return _number(zone / "energy_uj")


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
