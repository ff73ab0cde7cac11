"""The environment variables that a command of the user gets."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.experiment.plan import Cell
from trainers.commands import Trainer

DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
"""Variables that say which GPUs a process sees."""

PASSED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH"),
        *("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "MPLBACKEND", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TORCH_HOME", "HF_HOME", "HF_HUB_OFFLINE"),
        *("CUDA_HOME", "CUDA_PATH", *DEVICES),
    }
)
"""Environment variables that a command gets, beside `LC_*`, those that the trainer names, and those that are set."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def environment(cell: Cell, trainer: Trainer, temporary: Path) -> dict[str, str]:
    """The variables that a command gets: the usual ones, those that the trainer names, the cell's threads and GPUs."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED or name in trainer.environment or name.startswith("LC_")
    }
    set_here = {"TMPDIR": str(temporary), "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
    set_here |= dict.fromkeys(THREADS, str(cell.resources.cpus))
    return passed | set_here | _devices(math.ceil(cell.resources.gpus), passed)


def _devices(wanted: int, passed: Mapping[str, str]) -> dict[str, str]:
    """The variables that hide all GPUs but those of the cell: the first that its worker sees, which Ray chose."""
    if not wanted:
        return dict.fromkeys(DEVICES, "")
    seen = {name: passed[name].split(",")[:wanted] for name in DEVICES if name in passed}
    seen = seen or {"CUDA_VISIBLE_DEVICES": list(map(str, range(wanted)))}
    return {name: ",".join(places) for name, places in seen.items()}
