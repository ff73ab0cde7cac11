"""The commit of the code is recorded, whoever owns the checkout."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from orchestrator import provenance

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with one commit, in the place of the program's own."""
    if not shutil.which("git"):
        pytest.skip("no git here")
    settings = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (["init", "--quiet"], [*settings, "commit", "--quiet", "--allow-empty", "--message=First"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    provenance.code.cache_clear()
    yield tmp_path
    provenance.code.cache_clear()


def test_the_commit_of_another_owners_checkout_is_recorded(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own way to have one
    refused = subprocess.run(["git", "-C", str(checkout), "status"], capture_output=True, check=False)
    assert b"dubious ownership" in refused.stderr
    head = (checkout / ".git" / "refs" / "heads").glob("*")
    assert provenance.code()["git_commit"] in [branch.read_text().strip() for branch in head]
    assert provenance.code()["git_dirty"] is False


def test_a_commit_that_git_does_not_tell_is_said(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert provenance.code()["git_commit"] is None
    assert "The commit of this code cannot be recorded: " in caplog.text
