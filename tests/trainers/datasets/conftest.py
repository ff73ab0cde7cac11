"""Tiny datasets in the formats of the real ones, and no network."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.error import URLError

import numpy as np
import pytest

import drawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every download fails at once, as without network."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture(autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No folder for decoded images set by the user, and a temporary folder of the test's own."""
    monkeypatch.delenv("ORCHESTRATOR_CACHE", raising=False)
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return temporary


@pytest.fixture
def write_idx() -> Callable[[Path, NDArray[np.uint8]], None]:
    """Write bytes as an idx file, gzip'd where the name ends in .gz."""
    return drawn.idx


@pytest.fixture
def write_mnist() -> Callable[..., None]:
    """Write 40 training and 12 test images; image i is all i, and its label is i mod 10."""
    return drawn.mnist


@pytest.fixture
def twice_at_once() -> Callable[..., list[str]]:
    """Run a program, which says "ready" and waits for a line, in two processes; returns what else each said."""

    def run(program: str, *arguments: Path) -> list[str]:
        command = [sys.executable, "-c", program, *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": Path(__file__).parents[3]}
        processes = [subprocess.Popen(command, **pipes) for _ in range(2)]  # pyright: ignore[reportCallIssue,reportArgumentType]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        return [process.communicate()[0].strip() for process in processes]

    return run
