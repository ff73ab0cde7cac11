"""Results by setting: a setting is a dataset and a backbone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import product

from orchestrator.adaptive.seeds import Row
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.questions import Key


def settings_of(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """Dataset and backbone of each setting, in the order of the file."""
    for dataset, backbone in product(experiment.datasets, experiment.backbones):
        yield dataset.label, backbone.label


def keys_of(experiment: Experiment) -> list[Key]:
    """Dataset, backbone and loss of everything that is planned."""
    return [(*setting, loss.label) for setting in settings_of(experiment) for loss in experiment.losses]


def rows_by_key(rows: Iterable[Row]) -> defaultdict[Key, list[Row]]:
    """The rows of a results table by dataset, backbone and loss; none where there are none."""
    found: defaultdict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["dataset"], row["backbone"], row["loss"]].append(row)
    return found
