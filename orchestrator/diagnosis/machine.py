"""This machine: versions, cores, memory, devices, folders."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from orchestrator import provenance
from orchestrator.diagnosis.finding import CheckResult, few
from orchestrator.execution import gpus
from orchestrator.sentences import counted

GIB = 2**30

LITTLE_DISK = 5 * GIB
"""With less space, a warning: stores, checkpoints and Ray's own files grow while cells run."""

LITTLE_MEMORY = 2 * GIB
"""With less memory, a warning: a worker process takes about half a GiB before it loads data, and so does Ray."""


def packages(lock: Path = provenance.ROOT / "requirements.lock") -> CheckResult:
    """Python and the installed packages, compared with the versions that the tests ran with."""
    absent = [name for name in provenance.PACKAGES[1:] if _installed(name) is None]
    if absent:
        return CheckResult("packages", "problem", f"{', '.join(absent)} not installed", _install(lock))
    main = ", ".join(f"{name} {_installed(name)}" for name in ("torch", "ray", "mlflow"))
    summary = f"Python {platform.python_version()}, {main}"
    if not lock.exists():
        return CheckResult("packages", "ok", f"{summary}; no requirements.lock to compare with")
    differing = [
        f"{name} {found} instead of {pinned}"
        for name, pinned in _pinned(lock).items()
        if (found := _installed(name)) is not None and found.partition("+")[0] != pinned.partition("+")[0]
    ]
    if differing:
        found = f"{summary}; {len(differing)} differ from requirements.lock: {few(differing)}"
        return CheckResult("packages", "warning", found, f"if results or tests differ, {_install(lock)}")
    return CheckResult("packages", "ok", f"{summary}; as in requirements.lock")


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _pinned(lock: Path) -> dict[str, str]:
    pins = re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;]+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(pins)


def _install(lock: Path) -> str:
    # A wheel comes without the lock and declares its own requirements.
    if not lock.exists():
        return "pip install --upgrade 'loss-orchestrator[train]'"
    return f"in {lock.parent}: pip install --constraint requirements.lock --editable '.[train]'"


def memory() -> CheckResult:
    """Cores and memory."""
    whole, free = _memory()
    found = f"{counted(cores(), 'CPU core')}, {whole / GIB:.1f} GiB of memory, {free / GIB:.1f} GiB of it free"
    if free < LITTLE_MEMORY:
        remedy = "end other programs, or lower --max-concurrent: a worker without memory is killed"
        return CheckResult("machine", "warning", found, remedy)
    return CheckResult("machine", "ok", found)


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> tuple[int, int]:
    """Bytes in total, and bytes available."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        kibibytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        return 1024 * kibibytes["MemTotal"], 1024 * kibibytes["MemAvailable"]
    except (OSError, KeyError, ValueError, IndexError):  # not Linux, or an old kernel
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return whole, whole


def devices() -> CheckResult:
    """What torch can compute on."""
    try:
        seen = gpus.seen()
    except (ImportError, OSError) as error:  # OSError: a library of CUDA's is missing or of another version
        return CheckResult("devices", "problem", f"torch cannot be imported ({error})", "install torch again")
    if seen.gpus:
        names = ", ".join(f"{gpu.name} ({gpu.memory / GIB:.0f} GiB)" for gpu in seen.gpus)
        return CheckResult("devices", "ok", f"CPU and {counted(len(seen.gpus), 'GPU')}: {names}")
    if seen.warning or Path("/dev/nvidia0").exists():
        reason = seen.warning or "no reason was given"
        remedy = "install a torch built for the driver's CUDA, or correct CUDA_VISIBLE_DEVICES"
        return CheckResult("devices", "warning", f"CPU only, though there is a GPU or its driver ({reason})", remedy)
    return CheckResult("devices", "ok", "CPU only; torch sees no GPU")


def workspace(root: Path) -> CheckResult:
    """Whether a launch can write its workspace, which may not exist yet."""
    folder = _nearest(root)
    remedy = "choose another with --workspace or ORCHESTRATOR_WORKSPACE"
    if not folder.is_dir():
        return CheckResult("workspace", "problem", f"{root} cannot be created: {folder} is not a folder", remedy)
    try:
        # Try it, because permissions do not show a full or read-only file system. The file is deleted at once.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return CheckResult("workspace", "problem", f"{folder} cannot be written ({error.strerror})", remedy)
    state = "can be written" if folder == root else "does not exist yet and can be created"
    return CheckResult("workspace", "ok", f"{root} {state}")


def disk(root: Path, needed: int = 0) -> CheckResult:
    """Free space where the workspace is or will be, beside the bytes that waiting cells need there."""
    free = shutil.disk_usage(_nearest(root)).free
    found = f"{free / GIB:.1f} GiB free for {root}"
    if needed:
        found += f"; the cells that wait need about {needed / GIB:.1f} GiB"
    remedy = "free some space, or choose another folder with --workspace"
    if free < needed:
        return CheckResult("disk", "problem", found, remedy)
    return CheckResult("disk", "warning", found, remedy) if free < LITTLE_DISK else CheckResult("disk", "ok", found)


def decoded(folder: Path, needed: int) -> list[CheckResult]:
    """Free space for images that are decoded into the folder of the data, where it does not suffice for these bytes."""
    free = shutil.disk_usage(_nearest(folder)).free
    if free >= needed:
        return []
    what = f"decoded images or features take {needed / GIB:.1f} GiB on each machine"
    found = f"{free / GIB:.1f} GiB free for {folder}; {what}"
    return [CheckResult("disk", "warning", found, "free some space where they are not decoded yet, or pass --data-dir")]


def _nearest(path: Path) -> Path:
    """The path, or the lowest of its parents that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
