"""Arrays in files: mapped, copied on write, and believed only while whole."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainers.datasets import MissingDataError, mapped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAMES = ["mine-1.npy", "mine-labels-1.npy"]


def _write(paths: Sequence[Path]) -> None:
    for number, path in enumerate(paths):
        with path.open("wb") as file:
            np.save(file, np.full((30, 4), number, np.uint8))


def test_arrays_that_nobody_wrote_are_not_found_and_nothing_is_written(tmp_path: Path) -> None:
    assert mapped.find(NAMES, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_arrays_are_found_in_the_order_of_their_names(tmp_path: Path) -> None:
    mapped.find_or_write(NAMES, tmp_path, _write)
    found = mapped.find(NAMES[::-1], tmp_path)
    assert found is not None
    assert [array[0, 0] for array in found] == [1, 0]


def test_arrays_of_which_one_is_absent_are_not_found(tmp_path: Path) -> None:
    mapped.find_or_write(NAMES, tmp_path, _write)
    assert mapped.find([*NAMES, "mine-2.npy"], tmp_path) is None


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(paths: Sequence[Path]) -> None:
        _write(paths[:1])
        raise MissingDataError("damaged")

    with pytest.raises(MissingDataError, match="damaged"):
        mapped.find_or_write(NAMES, tmp_path, fail)
    assert {path.suffix for path in (tmp_path / ".decoded").iterdir()} == {".lock"}


def test_a_damaged_head_is_never_an_error_and_never_another_shape(tmp_path: Path) -> None:
    mapped.find_or_write(NAMES, tmp_path, _write)
    path = tmp_path / ".decoded" / NAMES[0]
    whole = path.read_bytes()
    draw = random.Random(0)
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[draw.randrange(128)] = draw.randrange(256)
        path.write_bytes(damaged)
        found = mapped.find(NAMES, tmp_path)
        assert found is None or found[0].size == 120


@pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: only Linux is known to refuse such a map")
def test_a_file_larger_than_all_memory_is_mapped_too(tmp_path: Path) -> None:
    shape = (10_000_000, 3, 224, 224)
    (tmp_path / ".decoded").mkdir()
    with (tmp_path / ".decoded" / "large.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + int(np.prod(shape)))  # a hole: it takes no room
    found = mapped.find(["large.npy"], tmp_path)
    assert found is not None
    assert found[0].shape == shape
    assert found[0][-1, 0, 0, 0] == 0
