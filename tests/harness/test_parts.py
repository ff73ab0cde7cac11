"""A run of tests says what it did not test, or fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

SETTINGS = """\
[pytest]
pythonpath = {shared}
markers = needs: parts of the system
"""

THREE = """\
import parts
import pytest


def test_on_a_server():
    parts.need("PostgreSQL")


@pytest.mark.needs("Chromium")
def test_in_a_browser():
    pass


def test_of_nothing_special():
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three tests under the rules of these tests; two of them need a part of the system."""
    shutil.copy(TESTS / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text(SETTINGS.format(shared=TESTS / "shared"))
    (tmp_path / "test_three.py").write_text(THREE)
    (tmp_path / "bin").mkdir()
    return tmp_path


def run(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the three in a process of their own, where no program is found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "ORCHESTRATOR_"))}
    kept |= {"PATH": str(folder / "bin"), **variables}
    command = [sys.executable, "-m", "pytest", "-n", "1", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)


def test_a_run_ends_with_a_line_that_names_the_parts_not_tested_and_the_command_that_brings_them(folder: Path) -> None:
    done = run(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 2 skipped" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last == "Not tested: PostgreSQL, Chromium. To test them too: apt-get install postgresql chromium"


def test_where_parts_are_required_a_test_that_lacks_one_fails(folder: Path) -> None:
    done = run(folder, ORCHESTRATOR_TEST_PARTS="required")
    assert done.returncode == 1
    assert "1 failed, 1 passed, 1 error" in done.stdout
    assert "Not tested: " not in done.stdout


def test_a_run_that_lacks_nothing_says_nothing(folder: Path) -> None:
    (folder / "test_three.py").write_text("def test_of_nothing_special():\n    pass\n")
    assert "Not tested" not in run(folder).stdout
