"""The program runs on machines that lack what others have: a home, and a name for the user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import program
import services

ROOT = Path(__file__).resolve().parents[2]

NAMELESS = '''
"""Every Python process imports this first: there is no entry for the user in the list of users."""
import pwd

def getpwuid(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = getpwuid
'''

ASKED = """\
name: asked
losses: [softmax]
backbones: [resnet8]
datasets: [digits]
seeds: 1
recipe: {epochs: 1, batch_size: 100, learning_rate: 0.1}
baseline: softmax
"""


@pytest.fixture
def homeless(tmp_path: Path) -> dict[str, str]:
    """The environment of a process without a home, whose user has no name; the experiment is in `tmp_path`."""
    (tmp_path / "sitecustomize.py").write_text(NAMELESS)
    (tmp_path / "asked.yaml").write_text(ASKED)
    services.put_store(tmp_path / "runs")
    known = program.variables(PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]), OMP_NUM_THREADS="1")
    return {name: value for name, value in known.items() if name not in {"HOME", "USER", "LOGNAME", "USERNAME"}}


def run(folder: Path, environment: dict[str, str], *words: str, within: Sequence[str] = ()) -> str:
    command = [*within, sys.executable, "-m", "orchestrator", *words]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "Traceback" not in told
    assert "Unexpected" not in told
    return told


@pytest.mark.parametrize("home", [None, "/proc"], ids=["absent", "read-only"])
def test_without_a_home_the_verbs_that_ask_nothing_of_it_work(
    tmp_path: Path, homeless: dict[str, str], home: str | None
) -> None:
    environment = homeless | ({"HOME": home} if home else {})
    told = run(tmp_path, environment, "plan", "asked.yaml", "--json")
    assert json.loads(told)["pending"] == 1


SMALL = [
    *("unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])),
    *("sh", "-c", 'mount -t tmpfs -o size=16m small /dev/shm && exec "$@"', "small"),
]
"""How to begin a program on a machine with 16 MB of shared memory; containers mostly have 64."""


@pytest.mark.slow
def test_a_launch_on_ray_needs_neither_home_nor_name_and_little_shared_memory(
    tmp_path: Path, homeless: dict[str, str]
) -> None:
    if not shutil.which("unshare") or subprocess.run([*SMALL, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mounts of one's own here, to make shared memory small")
    run(tmp_path, homeless, "launch", "asked.yaml", "--max-concurrent", "1", within=SMALL)
    assert len([*(tmp_path / "runs/evaluations").rglob("*.parquet")]) == 1
