"""How long `judge` takes beyond reading its files: 10 systems x 10 runs x 10 000 samples x 10 classes.

    python -W ignore -m benchmarks.judge [--quick]

Scores are drawn, written as Parquet files of one run each, and judged with one claim per system. What is measured in
a process of its own are reading, and everything else up to the table that a terminal shows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.table import Row, arguments, progress, text

SYSTEMS = 10
RUNS = 10
SAMPLES = 10_000
CLASSES = 10

CHILD = """
import json, sys, time
from orchestrator.judging import judgement
from orchestrator.report.terminal.console import as_html
started = time.perf_counter()
tables = judgement.read(sys.argv[1:], {})
read = time.perf_counter()
found = judgement.judged(tables, None, judgement.asked_of(None))
as_html(found.table())
print(json.dumps([read - started, time.perf_counter() - read, len(found.findings)]))
"""


def write(folder: Path) -> list[str]:
    """A file for each run."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, CLASSES, SAMPLES)
    paths = list[str]()
    for system in range(SYSTEMS):
        for run in range(RUNS):
            scores = rng.normal(size=(SAMPLES, CLASSES)).astype(np.float32)
            scores[np.arange(SAMPLES), label] += 2 + 0.05 * system
            columns: dict[str, Any] = {
                "system": [f"system {system}"] * SAMPLES,
                "seed": [run] * SAMPLES,
                "sample": [f"image-{number:05}.png" for number in range(SAMPLES)],
                "label": label,
                **{f"score_{k}": scores[:, k] for k in range(CLASSES)},
            }
            path = folder / f"{system}-{run}.parquet"
            pq.write_table(pa.table(columns), path)
            paths.append(str(path))
    return paths


def measure(paths: list[str]) -> tuple[float, float]:
    """Seconds of reading, and of all else."""
    done = subprocess.run([sys.executable, "-c", CHILD, *paths], check=True, capture_output=True, text=True)
    reading, judging, findings = json.loads(done.stdout)
    assert findings == SYSTEMS - 1
    return reading, judging


def rows(*, quick: bool = False, tell: Callable[[str], None]) -> list[Row]:
    """Medians of reading and of judging."""
    with TemporaryDirectory() as folder:
        paths = write(Path(folder))
        found = [measure(paths) for _ in range(1 if quick else 3)]
    reading, judging = zip(*found, strict=True)
    tell(f"judged in {max(judging):.1f} s at most")
    size = f"{SYSTEMS} systems, {RUNS} runs each, {SAMPLES} samples, {CLASSES} classes"
    return [
        Row("judge", "read the files", reading, "s", note=size),
        Row("judge", "judge them", judging, "s", note="from columns to the table of a terminal"),
    ]


if __name__ == "__main__":
    asked = arguments(__doc__)
    asked.add_argument("--quick", action="store_true", help="one repeat")
    print(text(rows(quick=asked.parse_args().quick, tell=progress)))
