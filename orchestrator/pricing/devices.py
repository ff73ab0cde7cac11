"""What devices can do by their makers' data sheets: used where nothing was measured, and then said."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

from orchestrator.errors import RequestError
from trainers.catalogue import nearest

TERA = 10**12
GIGA = 10**9

PROCESSOR = "cpu"
"""The name of a processor's core in `--on`."""


@dataclass(frozen=True)
class Device:
    """One GPU, or one core of a processor."""

    name: str
    flops: dict[str, float] = field(hash=False)
    """Peak per second, by precision; one that is missing runs as float32."""
    bandwidth: float
    """Bytes per second to and from memory."""
    source: str

    @property
    def is_gpu(self) -> bool:
        """Whether it is no core."""
        return self.name != PROCESSOR

    def peak(self, precision: str) -> float:
        """FLOPs per second at a precision, without sparsity."""
        return self.flops.get(precision, self.flops["float32"])

    def seconds(
        self,
        flops: float,
        moved_bytes: float,
        precision: str = "float32",
        utilisation: tuple[float, float] | None = None,
    ) -> tuple[float, float]:
        """Fewest and most seconds of some work: FLOPs or bytes, whichever take longer.

        Args:
            flops: Of the work.
            moved_bytes: That it reads and writes.
            precision: At which it is computed.
            utilisation: The shares of the peak that it may reach; by default those of training.
        """
        least, most = utilisation or UTILISATION
        peak = self.peak(precision)
        slowest, quickest = (share * self.bandwidth for share in STREAMED)
        return max(flops / (peak * most), moved_bytes / quickest), max(flops / (peak * least), moved_bytes / slowest)

    @property
    def unmeasured(self) -> str:
        """Where such seconds come from."""
        return f"{self.source} (not measured)"


def _nvidia(name: str, float32: float, tf32: float | None, bfloat16: float | None, bandwidth: float) -> Device:
    """A GPU by NVIDIA's data sheet, in TFLOP/s without sparsity, and GB/s."""
    known = {"float32": float32, "tf32": tf32, "bfloat16": bfloat16}
    flops = {precision: TERA * value for precision, value in known.items() if value}
    return Device(name, flops, GIGA * bandwidth, f"NVIDIA's data sheet of the {name.upper()}")


DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        _nvidia("t4", 8.1, None, None, 320),
        _nvidia("v100", 15.7, None, None, 900),
        _nvidia("a10", 31.2, 62.5, 125, 600),
        _nvidia("a100", 19.5, 156, 312, 1555),
        _nvidia("l4", 30.3, 60, 121, 300),
        _nvidia("l40s", 91.6, 183, 362, 864),
        _nvidia("h100", 67, 495, 989, 3350),
        _nvidia("h200", 67, 495, 989, 4800),
        _nvidia("rtx3090", 35.6, 35.6, 71, 936),
        _nvidia("rtx4090", 82.6, 82.6, 165, 1008),
        Device(
            PROCESSOR,
            {"float32": 70 * GIGA},
            8 * GIGA,
            "a core of a recent server processor: 68 GFLOP/s in docs/performance.md",
        ),
    )
}
"""Peaks of the A100 with 40 GB, and of the H100 and H200 with SXM."""

UTILISATION = (0.10, 0.55)
"""The share of the peak FLOPs that training reaches, from small images in small batches to large ones."""

FORWARD = (0.10, 0.80)
"""The same of forward passes alone."""

STREAMED = (0.35, 1.3)
"""The bytes that operations move per second, relative to the bandwidth; above 1, because caches and fused operations
save some of what was counted."""

FIXED = (5.0, 60.0)
"""Seconds of a cell beside its work: start, reading data, compiling, files."""


@dataclass(frozen=True)
class Cluster:
    """GPUs, or cores, by kind."""

    parts: tuple[tuple[int, Device], ...]

    @property
    def gpus(self) -> int:
        """How many of its devices are GPUs."""
        return sum(number for number, device in self.parts if device.is_gpu)

    def __str__(self) -> str:
        return " + ".join(f"{number} x {device.name}" for number, device in self.parts)


def cluster(text: str) -> Cluster:
    """The cluster that a user writes: `8 x a100 + 2 x l4`, or `64 x cpu` for 64 cores.

    Raises:
        RequestError: It cannot be read, or a device is unknown.
    """
    parts = [_part(part) for part in text.split("+")]
    merged = dict[str, int]()
    for number, device in parts:
        merged[device.name] = merged.get(device.name, 0) + number
    return Cluster(tuple((number, DEVICES[name]) for name, number in merged.items()))


def _part(text: str) -> tuple[int, Device]:
    found = re.fullmatch(r"\s*(?:(\d+)\s*[x×*]\s*)?([A-Za-z][\w-]*)\s*", text)
    if found is None or found[1] == "0":
        raise RequestError(f"--on: '{text.strip()}' is no part of a cluster: write '8 x a100 + 2 x l4', or '64 x cpu'.")
    name = found[2].lower()
    if name not in DEVICES:
        raise RequestError(
            f"--on: no device is called '{found[2]}'.{nearest(name, list(DEVICES))} Known: {', '.join(DEVICES)}."
        )
    return int(found[1] or 1), DEVICES[name]


def named(told: str) -> Device | None:
    """The device that torch's name of a GPU speaks of, such as `NVIDIA A100-SXM4-40GB`; None of another."""
    words = re.sub(r"[^a-z0-9]+", " ", told.lower()).split()
    joined = {"".join(pair) for pair in itertools.pairwise(words)}  # GeForce RTX 4090
    return next((device for name, device in DEVICES.items() if name in {*words, *joined}), None)
