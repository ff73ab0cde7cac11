"""Predicted against measured, for a short `experiments/fashion.yaml`.

`python -m benchmarks.predicted` prints a table. A rehearsal predicts a seed, that seed predicts two more, and then all
of them predict a run of 3 epochs. Cells run one by one; seconds are those of the cells, each a core's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.table import machine
from orchestrator import provenance
from orchestrator.records.files.evaluations import Account, Evaluations

FILE = Path(provenance.ROOT) / "experiments" / "fashion.yaml"

SHORT = {
    "backbones": "[resnet8]",
    "datasets": "[{name: fashion_mnist, train_size: 4000, test_size: 2000}]",
    "seeds": "1",
    "recipe": "{epochs: 1, batch_size: 128, optimizer: sgd, learning_rate: 0.1, augmentation: [crop, flip]}",
}


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


def rows(folder: Path) -> Iterator[str]:
    """A row for each prediction, as soon as it is measured."""
    text = FILE.read_text(encoding="utf-8")
    for name, value in SHORT.items():
        text = re.sub(rf"^{name}: .*$", f"{name}: {value}", text, flags=re.MULTILINE)
    (folder / "short.yaml").write_text(text)
    command(folder, "rehearse", "--executor", "inline")
    yield "| cells | times from | predicted | measured | off | load |"
    yield "| ---: | --- | ---: | ---: | ---: | ---: |"
    for options in ((), ("--seeds", "3"), ("--seeds", "1", "--set", "recipe.epochs=3")):
        price = predicted(folder, *options)
        low, middle, high = (3600 * hours for hours in price["core_hours"])
        began = time.time()
        command(folder, "launch", "--executor", "inline", *options)
        cells, seconds = measured(folder, began)
        assert cells == price["cells"], (cells, price)
        sources = ", ".join(source["source"] for source in price["sources"])
        yield (
            f"| {cells} | {sources} | {middle:.0f} s ({low:.0f} – {high:.0f}) | {seconds:.0f} s "
            f"| {seconds / middle - 1:+.0%} | {os.getloadavg()[1]:.0f} |"
        )


def main() -> None:
    """Measure and print."""
    print(f"Measured on {machine()}\n")
    with TemporaryDirectory() as folder:
        for row in rows(Path(folder)):
            print(row, flush=True)


if __name__ == "__main__":
    main()
