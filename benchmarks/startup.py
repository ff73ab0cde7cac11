"""Waiting times: --help, planning a large grid, the first cell, and a launch with nothing to do.

    python -W ignore benchmarks/startup.py [--repeats 5] [--quick]

Each measurement is a whole command in a separate process. Ray is started cold each time. For comparison, plain Ray is
started and stopped with the same options after each launch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.grid import QUICKSTART, accounts, command
from benchmarks.table import Row, arguments, progress, repeated, text

FULL = QUICKSTART.with_name("full.yaml")
PROGRAM = [sys.executable, "-m", "orchestrator"]
EXPERIMENT = """\
name: first
losses: [softmax]
backbones: [resnet8]
datasets: [digits]
seeds: 1
recipe: {epochs: 1}
baseline: softmax
"""
RAY = """
import warnings; warnings.simplefilter("ignore")
import ray, logging
ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
ray.shutdown()
"""


def launched() -> tuple[float, float, float, float]:
    """Seconds until the first cell starts, until it ends, and until the command ends; and of a second launch."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "first.yaml"
        file.write_text(EXPERIMENT, encoding="utf-8")
        line = [*PROGRAM, "launch", str(file), "--workspace", f"{folder}/runs"]
        began = time.time()
        whole, _ = command(line)
        (cell,) = accounts(f"{folder}/runs")
        again, told = command(line)
        assert "nothing is rerun" in told, told
    return cell.started - began, cell.started + cell.seconds - began, whole, again


def rows(*, quick: bool = False, repeats: int = 5, tell: Callable[[str], None]) -> list[Row]:
    """Medians of all measurements; with `quick`, one repeat."""
    repeats = 1 if quick else repeats
    part = "start-up"
    helped = repeated(3 if quick else 2 * repeats, lambda: command([*PROGRAM, "--help"])[0])
    with TemporaryDirectory() as workspace:
        line = [*PROGRAM, "plan", str(FULL), "--seeds", "8", "--workspace", workspace]
        planned = repeated(max(2, repeats), lambda: command(line)[0])
    tell("--help and plan measured")
    bare = list[float]()
    launches = list[tuple[float, float, float, float]]()
    for number in range(repeats):
        bare.append(command([sys.executable, "-c", RAY])[0])
        launches.append(launched())
        tell(f"launch {number + 1} of {repeats}: first cell after {launches[-1][0]:.1f} s, bare Ray {bare[-1]:.1f} s")
    begun, ended, whole, again = zip(*launches, strict=True)
    return [
        Row(part, "--help", helped, "s", note="wanted: below 0.3"),
        Row(part, "plan of 576 cells", planned, "s", note="wanted: below 1"),
        Row(part, "a bare Ray: import, start, stop", tuple(bare), "s"),
        Row(part, "launch: a worker begins the first cell", begun, "s", note="wanted: below 12"),
        Row(part, "launch: the first cell is trained (1 epoch), evaluated and written", ended, "s"),
        Row(part, "launch of one cell, whole command", whole, "s"),
        Row(part, "launch of a finished grid", again, "s", note="wanted: below 3; starts no Ray"),
    ]


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    print(text(rows(quick=asked.quick, repeats=asked.repeats, tell=progress)))
