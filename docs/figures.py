"""Draw the README's picture from a finished quickstart: `python docs/figures.py [WORKSPACE]`."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from orchestrator.experiment.plan import plan
from orchestrator.experiment.reading import load
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.workspace import Workspace
from trainers.metrics.uniform import accuracy_curve, uniform_accuracy

ROOT = Path(__file__).parent.parent
COLOURS = {"softmax": "#D55E00", "bce_unified": "#0072B2"}  # Okabe and Ito's, told apart by everyone


def main() -> None:
    """One panel a loss: where scores lie, and what each threshold would achieve."""
    mpl.use("Agg")
    workspace = Workspace(Path(sys.argv[1] if len(sys.argv) > 1 else "runs").resolve())
    evaluations = Evaluations(workspace.evaluations)
    wanted = {
        cell.loss: cell
        for cell in plan(load(ROOT / "experiments" / "quickstart.yaml")).cells
        if (cell.backbone, cell.seed) == ("resnet20", 0) and cell.loss in COLOURS
    }
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True, layout="constrained")
    for panel, (loss, colour) in zip(panels, COLOURS.items(), strict=True):
        evaluation = evaluations.evaluation(wanted[loss])
        account = evaluations.account(wanted[loss])
        positive = evaluation.positive
        rival = evaluation.rival
        bins = np.linspace(min(rival.min(), positive.min()), positive.max(), 60)
        weights = np.full(len(positive), 4 / len(positive))  # raised fourfold, to be seen beside the curve
        panel.hist(rival, bins, weights=weights, color="0.75", label="best rival class")
        panel.hist(positive, bins, weights=weights, color=colour, alpha=0.35, label="own class")
        thresholds, accuracy = accuracy_curve(positive, rival)
        panel.stairs(accuracy, thresholds, color=colour, linewidth=2, baseline=None, label="uniform accuracy at t")
        best = uniform_accuracy(positive, rival)
        panel.axvline(best.threshold, color="0.2", linestyle=":", label=f"best t: {best.accuracy:.1%}")
        if account.learned_bias:
            panel.axvline(account.learned_bias[0], color="black", label=f"learnt bias {account.learned_bias[0]:.2f}")
        panel.set(title=loss, xlabel="score, and threshold t", ylim=(0, 1.02))
        panel.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)
    target = ROOT / "docs" / "images" / "thresholds.svg"
    target.parent.mkdir(exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "orchestrator"  # the same picture gives the same bytes
    figure.savefig(target, metadata={"Date": None})
    print(target)


if __name__ == "__main__":
    main()
