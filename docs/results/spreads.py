"""Print how far paired differences scatter over seeds, as `orchestrator/report/spreads.csv` has it.

    python docs/results/spreads.py WORKSPACE NAME...

From the claims on the pages beside this file, whose intervals give it, and from the results table
that each named experiment left in the workspace: of its claims, and by every measure that a
shipped claim is about, of BCE with a unified bias against SoftMax.
"""

from __future__ import annotations

import csv
import math
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from scipy.special import stdtrit

from orchestrator.claims import Claim
from orchestrator.experiment import Experiment, load
from orchestrator.records import results
from orchestrator.report.comparison import by_seed
from orchestrator.workspace import Workspace

ROOT = Path(__file__).parents[2]
HEADS = ("dataset", "backbone", "challenger", "baseline", "metric", "baseline_metric", "deviation", "pairs", "source")
FINDING = re.compile(r"^\| (?P<id>[\w-]+): .*\| (?P<backbone>\S+) on (?P<dataset>\S+) +\| (?P<rest>.*)", re.MULTILINE)
INTERVAL = re.compile(r"\[(?P<low>[-+.\d]+), (?P<high>[-+.\d]+)\] n=(?P<n>\d+)")

Row = tuple[object, ...]


def is_plain(experiment: Experiment, claim: Claim) -> bool:
    """Whether its losses are as the catalogue has them, without parameters."""
    plain = {choice.label for choice in experiment.losses if choice.label == choice.plugin.key}
    return {claim.challenger, claim.baseline or claim.challenger} <= plain


def named(experiment: Experiment, claim: Claim) -> Row:
    """Losses and measures of a claim under the catalogue's names."""
    key = {choice.label: choice.plugin.key for choice in experiment.losses}
    return key[claim.challenger], key.get(claim.baseline or "", ""), claim.metric, claim.baseline_metric or ""


def on_pages() -> Iterator[Row]:
    """From half the width of each interval: t times the deviation over the root of n."""
    for page in sorted(Path(__file__).parent.glob("*.md")):
        if not (file := ROOT / "experiments" / f"{page.stem}.yaml").exists():
            continue
        experiment = load(file)
        keys = {choice.label: choice.plugin.key for choice in (*experiment.datasets, *experiment.backbones)}
        claims = {claim.id: claim for claim in experiment.claims if is_plain(experiment, claim)}
        for found in FINDING.finditer(page.read_text(encoding="utf-8")):
            if (interval := INTERVAL.search(found["rest"])) and (claim := claims.get(found["id"])):
                n, half = int(interval["n"]), (float(interval["high"]) - float(interval["low"])) / 2
                deviation = half * math.sqrt(n) / float(stdtrit(n - 1, 0.975))
                place = keys[found["dataset"]], keys[found["backbone"]]
                yield *place, *named(experiment, claim), f"{deviation:.3g}", n, f"{page.stem} ({found['dataset']})"


def in_workspace(workspace: Workspace, experiment: Experiment) -> Iterator[Row]:
    """From the finished cells of an experiment, whose labels are the catalogue's names."""
    table = results.read(workspace.results(experiment.name))
    asked = dict.fromkeys(
        pair
        for file in sorted((ROOT / "experiments").glob("*.yaml"))
        for claim in load(file).claims
        for metric in claim.metrics
        for pair in (named(load(file), claim), ("bce_unified", "softmax" if claim.baseline else "", metric, ""))
    )
    for dataset in experiment.datasets:
        for backbone in experiment.backbones:
            here = [row for row in table if (row["dataset"], row["backbone"]) == (dataset.label, backbone.label)]
            for challenger, baseline, metric, other in asked:
                mine = by_seed((row for row in here if row["loss"] == challenger), str(metric))
                theirs = by_seed((row for row in here if row["loss"] == baseline), str(other or metric))
                seeds = sorted(mine.keys() & theirs.keys() if baseline else mine.keys())
                values = [mine[seed] - theirs.get(seed, 0.0) for seed in seeds]
                if len(values) > 1 and (deviation := statistics.stdev(values)) > 0:
                    place = dataset.plugin.key, backbone.plugin.key
                    yield *place, challenger, baseline, metric, other, f"{deviation:.3g}", len(values), experiment.name


if __name__ == "__main__":
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(HEADS)
    writer.writerows(on_pages())
    for name in sys.argv[2:]:
        writer.writerows(in_workspace(Workspace.at(sys.argv[1]), load(ROOT / "experiments" / f"{name}.yaml")))
