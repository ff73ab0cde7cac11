"""What torch computes on in this process, and how: recorded with each cell. For workers, because it imports torch."""

from __future__ import annotations

from typing import Any

import torch

from orchestrator.provenance.processor import onednn_isa


def computing(*, gpu: bool) -> dict[str, str | int | None]:
    """What torch computes on in this process, and with which libraries."""
    return {
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "onednn_isa": onednn_isa(),
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "cuda_version": torch.version.cuda,
        "cudnn_version": torch.backends.cudnn.version(),
    }


def switches() -> dict[str, bool]:
    """Torch's settings for determinism and precision at this moment."""
    backends: Any = torch.backends  # whose switches have no types
    return {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "deterministic_warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn_benchmark": backends.cudnn.benchmark,
        "tf32_matmul": backends.cuda.matmul.fp32_precision == "tf32",
        "tf32_convolutions": backends.cudnn.conv.fp32_precision == "tf32",
    }


def gpu_uuid() -> str | None:
    """The UUID by which NVML knows the GPU that torch computes on; None where torch does not know it."""
    uuid = getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", None)
    return None if uuid is None else f"GPU-{uuid}"
