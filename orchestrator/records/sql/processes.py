"""Processes of this machine: whether the one that a lease names is there."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path
from typing import Literal

State = Literal["running", "stopped", "gone", "elsewhere"]


def state(host: str, machine_: str, pid: int, process: str) -> State:
    """What becomes of a process that began as `process` said, on a machine that may be another one."""
    if machine_ != machine() or host != socket.gethostname():
        return "elsewhere"
    if began(pid) != process:
        return "gone"
    return "stopped" if _is_stopped(pid) else "running"


def machine() -> str:
    """The running system and its process numbering, in which a process id means something."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return str(uuid.getnode())


def began(pid: int) -> str:
    """When a process began, in whatever unit; empty if there is none of that id."""
    try:
        return _fields(pid)[19]
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "?"
    return "?"


def _is_stopped(pid: int) -> bool:
    """Whether it was stopped by a signal, and may be for ever; where nobody can tell, it may be."""
    try:
        return _fields(pid)[0] in "Tt"
    except OSError:
        return True


def _fields(pid: int) -> list[str]:
    """The fields of its state, of which the twentieth is its start time."""
    # They come after the name, which may hold anything.
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
