"""Predicted against measured, for a shortened `experiments/fashion.yaml`: `python -m benchmarks.predicted`.

With `--write` the table goes into the page. Each row is predicted before its cells run. Core seconds are those of the
cells, which have a core each; the wall time is from the command to its end.

A rehearsal alone predicts the long grid. In another workspace, where cells run one by one, a rehearsal predicts a seed,
that seed predicts two more, and then all of them predict a run of 3 epochs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.page import PERFORMANCE, fill
from benchmarks.table import arguments, machine
from orchestrator import provenance
from orchestrator.records.files.evaluations import Account, Evaluations

FILE = Path(provenance.ROOT) / "experiments" / "fashion.yaml"

SHORT = {
    "backbones": "[resnet8]",
    "datasets": "[{name: fashion_mnist, train_size: 4000, test_size: 2000}]",
    "seeds": "1",
    "recipe": "{epochs: 1, batch_size: 128, optimizer: sgd, learning_rate: 0.1, augmentation: [crop, flip]}",
}

LONG = ("--seeds", "10", "--set", "recipe.epochs=6")
"""Ten minutes and more, on two cores."""


def command(folder: Path, verb: str, *options: str) -> str:
    """What a verb prints."""
    line = [sys.executable, "-m", "orchestrator", verb, str(folder / "short.yaml"), "--workspace", str(folder / "runs")]
    return subprocess.run([*line, *options], capture_output=True, text=True, check=True).stdout


def predicted(folder: Path, *options: str) -> dict[str, Any]:
    """The price that `plan` prints."""
    return json.loads(command(folder, "plan", *options, "--json"))["price"]


def measured(folder: Path, since: float) -> tuple[int, float]:
    """Cells that began since then, and their seconds."""
    done = [each for _, each in Evaluations(folder / "runs" / "evaluations").accounts() if isinstance(each, Account)]
    late = [account.seconds for account in done if account.started >= since]
    return len(late), sum(late)


def rehearsed(folder: Path, *options: str) -> Path:
    """The same folder, with the shortened experiment in it, rehearsed."""
    text = FILE.read_text(encoding="utf-8")
    for name, value in SHORT.items():
        text = re.sub(rf"^{name}: .*$", f"{name}: {value}", text, flags=re.MULTILINE)
    (folder / "short.yaml").write_text(text)
    command(folder, "rehearse", *options)
    return folder


def row(folder: Path, wished: tuple[str, ...], options: tuple[str, ...] = ()) -> str:
    """A prediction, and what a launch measured then."""
    price = predicted(folder, *wished)
    load = os.getloadavg()[0]
    began = time.time()
    command(folder, "launch", *wished, *options)
    wall = time.time() - began
    cells, seconds = measured(folder, began)
    assert cells == price["cells"], (cells, price)
    sources = ", ".join(source["source"] for source in price["sources"])
    cores = against([3600 * hours for hours in price["core_hours"]], seconds)
    walls = "– | – | –" if "inline" in options else against(price["wall_seconds"], wall)
    return f"| {cells} | {sources} | {cores} | {walls} | {load:.1f} |"


def against(expected: Sequence[float], found: float) -> str:
    """What was predicted, with its range; what was measured; and by how much that is more or less."""
    low, middle, high = expected
    return f"{middle:.0f} s ({low:.0f} – {high:.0f}) | {found:.0f} s | {found / middle - 1:+.0%}"


def rows(folder: Path) -> Iterator[str]:
    """Each row as soon as it is measured."""
    compared = "predicted | measured | off"
    yield f"| cells | times from | core seconds: {compared} | wall time: {compared} | load before |"
    yield "| ---: | --- |" + " ---: |" * 7
    for name in ("long", "short"):
        (folder / name).mkdir()
    yield row(rehearsed(folder / "long", *LONG), LONG)
    inline = ("--executor", "inline")
    short = rehearsed(folder / "short", *inline)
    for wished in ((), ("--seeds", "3"), ("--seeds", "1", "--set", "recipe.epochs=3")):
        yield row(short, wished, inline)


def main() -> None:
    """Measure, and print the table or write it into the page."""
    parser = arguments(__doc__)
    parser.add_argument("--write", action="store_true", help=f"rewrite the table of {PERFORMANCE.name}")
    write = parser.parse_args().write
    told = [f"Measured on {machine()}", ""]
    with TemporaryDirectory() as folder:
        for line in rows(Path(folder)):
            print(line, flush=True)
            told.append(line)
    if write:
        fill("predicted", "\n".join(told), PERFORMANCE)


if __name__ == "__main__":
    main()
