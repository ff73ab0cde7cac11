"""Energy is counted as machines count it, across their wrap-around; where they do not, it is unknown."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from orchestrator.records import energy
from orchestrator.records.energy import Meter

if TYPE_CHECKING:
    from pathlib import Path

FULL = 262_143_328_850
"""Microjoules at which an Intel package starts again from 0."""


class NVML:
    """What is used of pynvml, for one GPU."""

    class NVMLError(Exception):
        """As pynvml names it."""

    def __init__(self, millijoules: int | None) -> None:
        self.millijoules = millijoules

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802 - named by NVIDIA
        if uuid != "GPU-1":
            raise self.NVMLError("not found")
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802 - likewise
        assert handle == "handle"
        if self.millijoules is None:
            raise self.NVMLError("not supported")
        return self.millijoules


def zone(powercap: Path, folder: str, name: str, microjoules: int | str) -> Path:
    """A counter as Linux shows it."""
    made = powercap / folder
    made.mkdir(parents=True, exist_ok=True)
    (made / "name").write_text(f"{name}\n")
    (made / "energy_uj").write_text(f"{microjoules}\n")
    (made / "max_energy_range_uj").write_text(f"{FULL}\n")
    return made


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    """Two packages and their memory, and what shows parts of them, or the same again."""
    folder = tmp_path / "powercap"
    (folder / "intel-rapl").mkdir(parents=True)
    for name, title in {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }.items():
        zone(folder, name, title, 0)
    return folder


def burn(powercap: Path, folder: str, microjoules: int) -> None:
    (powercap / folder / "energy_uj").write_text(f"{microjoules}\n")


def test_packages_and_memory_are_counted_once_each(powercap: Path) -> None:
    with Meter(None, None, powercap) as meter:
        for number, folder in enumerate(sorted(path.name for path in powercap.glob("*:*"))):
            burn(powercap, folder, 10**6 * 10**number)
        # In the order of their names: MMIO, package 0, its cores, its memory, package 1, platform.
        assert meter.joules() == {"gpu_joules": None, "cpu_joules": 10 + 1_000 + 10_000}


def test_a_counter_that_starts_again_goes_on(powercap: Path) -> None:
    burn(powercap, "intel-rapl:0", FULL - 1_000_000)
    with Meter(None, None, powercap) as meter:
        burn(powercap, "intel-rapl:0", 2_000_000)
        assert meter.joules()["cpu_joules"] == pytest.approx(3)
        burn(powercap, "intel-rapl:0", 1_000_000)
        assert meter.joules()["cpu_joules"] == pytest.approx(3 + FULL / 1e6 - 1)


def test_a_counter_that_starts_again_twice_between_two_questions_goes_on(
    powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "GLANCE", 0.01)
    with Meter(None, None, powercap) as meter:
        for microjoules in (FULL - 1, 5, FULL - 1, 5):
            burn(powercap, "intel-rapl:0", microjoules)
            time.sleep(0.2)
        assert meter.joules()["cpu_joules"] == pytest.approx((2 * FULL + 5) / 1e6)


@pytest.mark.parametrize("content", ["", "nonsense"])
def test_a_counter_that_cannot_be_read_is_unknown(tmp_path: Path, content: str) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", content)
    with Meter(None, None, tmp_path) as meter:
        assert meter.joules()["cpu_joules"] is None


def test_a_machine_without_counters_knows_nothing(tmp_path: Path) -> None:
    with Meter("GPU-1", None, tmp_path / "nowhere") as meter:
        assert meter.joules() == {"gpu_joules": None, "cpu_joules": None}


def test_the_gpu_is_counted_from_its_millijoules(tmp_path: Path) -> None:
    nvml = NVML(500_000)
    with Meter("GPU-1", nvml, tmp_path) as meter:
        nvml.millijoules = 512_500
        assert meter.joules()["gpu_joules"] == 12.5


@pytest.mark.parametrize(("uuid", "millijoules"), [("GPU-1", None), ("GPU-2", 1), (None, 1)])
def test_a_gpu_without_a_counter_is_unknown(tmp_path: Path, uuid: str | None, millijoules: int | None) -> None:
    with Meter(uuid, NVML(millijoules), tmp_path) as meter:
        assert meter.joules()["gpu_joules"] is None


def test_a_gpu_that_fell_off_is_unknown(tmp_path: Path) -> None:
    nvml = NVML(1)
    with Meter("GPU-1", nvml, tmp_path) as meter:
        nvml.millijoules = None
        assert meter.joules()["gpu_joules"] is None
