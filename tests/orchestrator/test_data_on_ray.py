"""Data that only workers see, and data of which only the arrays tell: a task on a real Ray worker finds out."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import program

PLUGIN = '''
from pathlib import Path

import numpy as np

from trainers.datasets import Dataset, Images, TrainTest

LEVEL = Path(__file__).with_name("level.txt")


class Theirs(Dataset):
    """Squares of two greys."""

    name = "theirs"

    def load(self, data_dir):
        import os
        if os.environ.get("DRIVER"):
            raise RuntimeError("the driver must not load")
        labels = np.arange(64) % 2
        levels = (int(LEVEL.read_text()) + 100 * labels).astype(np.uint8)
        pixels = np.repeat(levels, 64).reshape(64, 1, 8, 8)
        images = Images(pixels, labels)
        return TrainTest(images, images, 2)

    def labels(self, data_dir):
        from trainers.datasets import Labels

        return Labels(np.arange(64) % 2, np.arange(64) % 2, 2)

    def prepare(self, data_dir):
        pass


class Told(Theirs):
    """The same, and it says what it holds."""

    name = "told"

    def digest(self, data_dir):
        import hashlib

        return hashlib.sha256(LEVEL.read_bytes()).hexdigest()


class Moving(Theirs):
    """Other data in a worker process of Ray than in the launch."""

    name = "moving"

    def digest(self, data_dir):
        import hashlib
        import sys

        return hashlib.sha256(b"worker" if "default_worker" in sys.argv[0] else b"launch").hexdigest()
'''

ASKED = """\
name: asked
plugins: [theirs]
losses: [softmax]
backbones: [resnet8]
datasets: [%s]
seeds: 1
recipe: {epochs: 1, batch_size: 16, learning_rate: 0.1}
baseline: softmax
"""


def run(folder: Path, *arguments: str, expect: int = 0, **environment: str) -> str:
    done = program.run(*arguments, folder=folder, **environment)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout if "--json" in arguments else done.stdout + done.stderr


def ids(folder: Path, **environment: str) -> list[str | None]:
    return [cell["id"] for cell in json.loads(run(folder, "plan", "asked.yaml", "--json", **environment))["cells"]]


def files(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "runs" / "evaluations").rglob("*.parquet")}


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    (tmp_path / "theirs.py").write_text(PLUGIN)
    (tmp_path / "level.txt").write_text("50")
    (tmp_path / "asked.yaml").write_text(ASKED % "theirs")
    return tmp_path


@pytest.mark.slow
def test_arrays_are_hashed_by_a_task_on_a_worker_and_never_by_plan(theirs: Path) -> None:
    assert ids(theirs, DRIVER="1") == [None]
    run(theirs, "launch", "asked.yaml", "--max-concurrent", "1")
    (first,) = files(theirs)
    found = json.loads(run(theirs, "plan", "asked.yaml", "--json", DRIVER="1"))
    assert ([cell["id"] for cell in found["cells"]], found["done"]) == ([first], 1)
    assert re.search(r"recorded on \d{4}-", found["data"]["absent"][0])
    (theirs / "level.txt").write_text("51")
    told = run(theirs, "launch", "asked.yaml", "--executor", "inline")
    assert "theirs: 1 cell is of an earlier state of this data set; what changed is not recorded." in told
    assert len(files(theirs)) == 2


def test_a_digest_of_its_own_is_asked_by_plan(theirs: Path) -> None:
    (theirs / "asked.yaml").write_text(ASKED % "told")
    (before,) = ids(theirs, DRIVER="1")
    (theirs / "level.txt").write_text("51")
    (after,) = ids(theirs, DRIVER="1")
    assert None not in {before, after}
    assert before != after


@pytest.mark.slow
def test_a_worker_that_meets_other_data_than_planned_trains_nothing(theirs: Path) -> None:
    (theirs / "asked.yaml").write_text(ASKED % "moving")
    told = run(theirs, "launch", "asked.yaml", "--max-concurrent", "1", expect=1)
    assert "the data of 'moving' on" in told
    assert "differ from those that the cell was planned for" in told
    assert files(theirs) == set()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, Path, Path]]:
    """A Ray whose processes have another home than the driver, that home, and the file of what it says."""
    home = tmp_path / "theirs"
    for darkest, split in ((0, "train"), (50, "test")):
        for number, kind in enumerate(("hole", "ok")):
            for index in range(12):
                path = home / "parts" / split / kind / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8), 100 * number + index + darkest).save(path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = str(Path(sys.executable).with_name("ray"))
    environment = program.variables(HOME=str(home), RAY_USAGE_STATS_ENABLED="0")
    start = [ray, "start", "--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false", "--block"]
    said = tmp_path / "ray.log"
    with said.open("wb") as file:
        process = subprocess.Popen(start, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        yield f"127.0.0.1:{port}", home, said
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=60)


def started(said: Path) -> None:
    """Wait until a node has joined: the port of a cluster answers some time before."""
    for _ in range(1200):
        if "Ray runtime started" in said.read_text():
            return
        time.sleep(0.1)
    raise TimeoutError(said.read_text())


@pytest.mark.slow
def test_data_that_only_workers_see_are_found_by_a_task_there(tmp_path: Path, cluster: tuple[str, Path, Path]) -> None:
    address, home, said = cluster
    text = (ASKED % "{name: image_folder, path: ~/parts, size: 8}").replace("plugins: [theirs]\n", "")
    (tmp_path / "asked.yaml").write_text(text)
    (tmp_path / "mine").mkdir()
    here: dict[str, Any] = {"HOME": str(tmp_path / "mine")}
    assert ids(tmp_path, **here) == [None]
    started(said)
    run(tmp_path, "launch", "asked.yaml", "--address", address, **here)
    (first,) = files(tmp_path)
    found = json.loads(run(tmp_path, "plan", "asked.yaml", "--json", **here))
    assert ([cell["id"] for cell in found["cells"]], found["done"]) == ([first], 1)
    assert re.search(r"its data are not here; .* recorded on \d{4}-", found["data"]["absent"][0])
    assert ids(tmp_path, HOME=str(home)) == [first]
    (home / "parts" / "train" / "ok" / "3.png").unlink()
    told = run(tmp_path, "launch", "asked.yaml", "--address", address, **here)
    assert "1 image removed from train/ok." in told
    assert len(files(tmp_path)) == 2
