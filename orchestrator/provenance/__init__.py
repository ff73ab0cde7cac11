"""Where a result comes from: code, versions, machine. Recorded with a result, never part of its identity."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import socket
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, or the folder this package is installed in."""

COSTS = frozenset({"gpu_seconds", "gpu_joules", "cpu_joules"})
"""What a cell cost. It differs between any two trainings of a cell, which means nothing."""

PACKAGES = ("loss-orchestrator", "torch", "torchvision", "numpy", "scikit-learn", "ray", "mlflow", "pyarrow")


@cache
def code() -> dict[str, str | bool | None]:
    """The commit of this code, whether the tree was dirty, and the hash of the lock file."""
    commit = _git("rev-parse", "HEAD") if (ROOT / ".git").exists() else None
    lock = ROOT / "requirements.lock"
    return {
        "git_commit": commit,
        "git_dirty": bool(_git("status", "--porcelain")) if commit else None,
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else None,
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            # The checkout may belong to another user, and its code runs here anyway.
            ["git", "-c", f"safe.directory={ROOT}", "-c", "core.fsmonitor=false", "-C", str(ROOT), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().partition("\n")[0]
        logging.getLogger(__name__).warning("The commit of this code cannot be recorded: %s", reason)
        return None
    return done.stdout.strip()


def program() -> str:
    """The version of this program, and its commit where it runs from a checkout."""
    commit = code()["git_commit"]
    return (
        _version("loss-orchestrator") or "of no version"
        if commit is None
        else f"{_version('loss-orchestrator')} (commit {commit:.10})"
    )


@cache
def machine() -> dict[str, str | int | None]:
    """This machine and the versions of the packages that compute on it."""
    versions = {f"{package}_version": _version(package) for package in PACKAGES}
    return {
        "node": socket.gethostname(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python_version": platform.python_version(),
        "gpu_driver": driver(nvml()),
        **versions,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


@cache
def nvml() -> Any:
    """NVIDIA's management library, opened; None without an NVIDIA driver, or where nothing trains."""
    try:
        import pynvml
    except ModuleNotFoundError:  # the light install has none
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # pynvml also raises it if the library is absent
        return None
    return pynvml


def driver(nvml: Any) -> str | None:
    """The version of NVIDIA's driver."""
    if nvml is None:
        return None
    with suppress(nvml.NVMLError):
        return nvml.nvmlSystemGetDriverVersion()
    return None
