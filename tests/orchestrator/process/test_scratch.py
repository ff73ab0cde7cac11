"""Temporary folders: private, gone at the end, and known where their process was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import RequestError
from orchestrator.process import scratch


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_places", lambda: [tmp_path])


def test_a_folder_is_private_and_gone_at_the_end(tmp_path: Path) -> None:
    with scratch.folder() as made:
        (made / "below").mkdir()
        (made / "below" / "file").write_text("x")
        assert made.parent == tmp_path
        assert made.stat().st_mode & 0o777 == 0o700
        assert scratch.left() == []
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_process_that_was_killed_is_left(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from orchestrator.process import scratch
scratch._places = lambda: [Path({str(tmp_path)!r})]
with scratch.folder() as made:
    (made / "file").write_bytes(b"x" * 1000)
    os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    (left,) = scratch.left()
    assert scratch.size(left) > 1000
    scratch.remove([left])
    assert not left.exists()


@pytest.mark.parametrize("change", [{}, {"host": "elsewhere"}, {"pid": 2**22 + 1, "host": "elsewhere"}])
def test_a_folder_of_a_living_process_or_of_another_machine_is_not(tmp_path: Path, change: dict[str, object]) -> None:
    made = tmp_path / "orc-x"
    made.mkdir()
    (made / scratch.OWNER).write_text(json.dumps(scratch._owner(os.getpid()) | change))
    assert scratch.left() == []
    (made / scratch.OWNER).write_text(json.dumps(scratch._owner(os.getpid()) | {"began": "1"}))  # a number used again
    assert scratch.left() == [made]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pid": "x", "host": 1}', "\0"])
def test_a_folder_that_names_no_owner_is_not(tmp_path: Path, content: str) -> None:
    (tmp_path / "orc-x").mkdir()
    (tmp_path / "orc-x" / scratch.OWNER).write_text(content)
    (tmp_path / "orc-y").symlink_to(tmp_path / "orc-x")
    assert scratch.left() == []


def test_a_place_too_long_for_sockets_is_passed_over_and_the_variable_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("l" * 60)
    long.mkdir()
    monkeypatch.setattr(scratch, "_places", lambda: [long, tmp_path])
    with scratch.folder(len(str(tmp_path))) as made:
        assert made.parent == tmp_path
    with scratch.folder() as made:
        assert made.parent == long
    monkeypatch.setattr(scratch, "_places", lambda: [long])
    with pytest.raises(RequestError, match=r"too long for the paths of sockets.*set RAY_TMPDIR to a short path"):
        scratch.folder(20).__enter__()


def test_where_nothing_can_be_written_the_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_places", lambda: [tmp_path / "absent"])
    with pytest.raises(RequestError, match=r"absent: No such file or directory.*set TMPDIR to a path"):
        scratch.folder().__enter__()
