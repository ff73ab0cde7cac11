"""What the data sets of a launch hold, which has to be known before cells have ids."""

from __future__ import annotations

from functools import partial
from typing import cast

from orchestrator.experiment.plan import Contents
from orchestrator.launching.compute import Compute
from orchestrator.records.files.contents import examine
from orchestrator.study import Study
from trainers.datasets import Dataset, MissingDataError
from trainers.datasets.content import Content
from trainers.datasets.hashes import forget


def contents(study: Study, compute: Compute, *, rehash: bool) -> Contents:
    """What the data sets hold now, which is recorded.

    Args:
        study: Whose data sets.
        compute: Where cells will run, and data may be that are not here.
        rehash: Whether to read all of them again.
    """
    if rehash:
        forget(study.data_dir)
    missing = set[Dataset]()

    def ask(dataset: Dataset, absent: MissingDataError | None) -> Content | None:
        """What a data set holds that is not here, or of which only the arrays tell, in a process that trains."""
        work = partial(examine, dataset, study.data_dir.resolve(), rehash=rehash)
        try:
            # What is not on this machine is not there for a Ray of this machine either, which takes seconds to start.
            return work() if absent and not compute.address else compute.call(work)
        except MissingDataError:  # `prepare` says so, together with whatever else is wrong
            missing.add(dataset)
            return None if dataset.is_published else Content(None)

    history = study.stores.history
    known = study.look(ask)
    for choice in study.experiment.datasets:
        dataset = cast("Dataset", choice.plugin)
        if dataset not in missing:
            history.see(dataset, known.get(choice.label))
            history.put(dataset, study.data_dir)
    return known
