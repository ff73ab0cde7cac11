"""Train one cell of the quickstart and store its metrics: the script behind the shell loop, joblib and Hydra.

python -W ignore benchmarks/grid_cell.py NUMBER FOLDER [ours|plain]
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

QUICKSTART = Path(__file__).parents[1] / "experiments" / "quickstart.yaml"


def train(number: int, folder: str, training: str = "ours") -> float:
    """Train a cell with `trainers.fit`, or with the loop of PyTorch's tutorials; return the seconds."""
    from benchmarks.peers import Case, plain
    from orchestrator.experiment.plan import plan
    from orchestrator.experiment.reading import load
    from trainers.fit import fit

    began = time.time()
    cell = plan(load(QUICKSTART)).cells[number]
    data = cell.recipe.dataset.load(Path("data"))
    if training == "plain":
        asked = cell.recipe.training
        case = Case(
            loss=cell.loss,
            backbone=cell.backbone,
            dataset=cell.dataset,
            batch=asked.batch_size,
            images=round(len(data.train) * (1 - asked.validation_fraction)),
            epochs=asked.epochs,
            stop=asked.epochs,
            seed=cell.seed,
        )
        metrics = {"sample_wise_accuracy": plain(case, case.data(), lambda: None)}
    else:
        metrics = fit(cell.recipe, data).metrics
    Path(folder, f"{cell.id}.json").write_text(json.dumps(metrics), encoding="utf-8")
    return time.time() - began


if __name__ == "__main__":
    train(int(sys.argv[1]), *sys.argv[2:])
