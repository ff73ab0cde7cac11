"""Tiny datasets in the formats of the real ones, and no network."""

from __future__ import annotations

import gzip
import struct
import tempfile
import urllib.request
from typing import TYPE_CHECKING, NoReturn
from urllib.error import URLError

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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

    def write(path: Path, values: NDArray[np.uint8]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
        content = header + values.tobytes()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)

    return write


@pytest.fixture
def write_mnist(
    write_idx: Callable[[Path, NDArray[np.uint8]], None],
) -> Callable[..., None]:
    """Write 40 training and 12 test images; image i is all i, and its label is i mod 10."""

    def write(folder: Path, *, suffix: str = ".gz") -> None:
        for part, count in (("train", 40), ("t10k", 12)):
            index = np.arange(count, dtype=np.uint8)
            pixels = np.broadcast_to(index[:, None, None], (count, 28, 28))
            write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", pixels)
            write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", index % 10)

    return write
