"""Whether cells that were tested on the same images say so in their rows: the same samples, under the same labels.

Losses are compared sample by sample, so a file that leaves samples out, or gives them other labels, may not count.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.experiment.checks import labels_here
from orchestrator.experiment.plan import Cell
from orchestrator.records.files.origin import Origin
from trainers import selection
from trainers.datasets import Dataset, Labels, UnusableDataError
from trainers.division import TRAINING_ONLY, tested
from trainers.recipe import Recipe


@dataclass(frozen=True)
class Tested:
    """A cell with test rows."""

    name: str
    recipe: Mapping[str, Any]
    """As JSON."""
    origin: Origin
    samples: int
    split: str
    """The digest of its samples and labels."""


@dataclass(frozen=True)
class Stranger:
    """A cell whose samples or labels are not those that others of the same data have."""

    tested: Tested
    why: str
    is_settled: bool
    """Whether the data, or cells that were trained or rerun here, say that it is the one in the wrong."""


def shared(recipe: Mapping[str, Any]) -> str | None:
    """What says which test split a recipe's JSON means: equal wherever the split is; None where a trial looks at none.

    It depends on neither the seed nor the loss.
    """
    if recipe.get("scored_on", "test") != "test":
        return None
    dataset = {name: value for name, value in recipe["dataset"].items() if name not in TRAINING_ONLY}
    apart = [recipe["certify"]] if "certify" in recipe else []
    return json.dumps([dataset, recipe.get("data_digest"), *apart], sort_keys=True)


def digest(sample: NDArray[np.integer[Any]], label: NDArray[np.integer[Any]]) -> str:
    """SHA-256 of the samples and labels of rows, each of shape (n,), in their order."""
    whole = hashlib.sha256(f"{len(sample)}".encode())
    for column in (sample, label):
        whole.update(column.astype("<i4").tobytes())
    return whole.hexdigest()


def of_rows(table: pa.Table) -> str:
    """The digest of a cell's test rows."""
    return digest(table["sample"].to_numpy(), table["label"].to_numpy())


def expected(recipe: Recipe, labels: Labels) -> tuple[int, str]:
    """How many samples the test rows of a recipe have, and their digest.

    Args:
        recipe: With a data set and its modifiers.
        labels: Those that the data set loads.

    Raises:
        ValueError: A class that is held out does not exist.
    """
    _, numbers = selection.relabel(labels.train, recipe.dataset.hold_out, labels.classes)
    rows, _ = tested(labels, recipe)
    return len(rows), digest(rows, numbers[labels.test[rows]])


def published_size(dataset: Dataset) -> int | None:
    """How many test samples a data set has by its name; None where only files tell, or classes are held out."""
    if dataset.hold_out:
        return None
    by_name = getattr(dataset, "test_images", None) if dataset.is_published else None
    return getattr(dataset, "test_size", None) or by_name


def of_data(data_dir: Path, cell: Cell) -> tuple[int, str | None] | None:
    """How many test samples a cell's data have, and their digest where the data are here; None where neither is known.

    Args:
        data_dir: Folder that holds the data.
        cell: The cell.
    """
    dataset = cell.recipe.dataset.model_copy(update={"shift": None})
    with suppress(UnusableDataError, ValueError):  # which others say
        if labels := labels_here(data_dir)(dataset):
            return expected(cell.recipe, labels)
    size = published_size(dataset) if cell.recipe.data_digest is None and not cell.recipe.certify else None
    return None if size is None else (size, None)


Known = Callable[[Tested], tuple[int, str | None] | None]
"""How many test samples a cell's data have, and their digest where the data are here; None where neither is known."""


def unknown(_: Tested) -> None:
    """Nothing is known of any data."""
    return


class _Right(NamedTuple):
    """What the rows of a group have to be, as far as it is known."""

    who: str
    """Who says so."""
    samples: int | None
    split: str | None
    is_settled: bool

    def why_not(self, each: Tested) -> str | None:
        """What is wrong with a cell's rows; None where nothing is."""
        if self.samples is not None and each.samples != self.samples:
            return f"has {each.samples} test samples, where {self.who} {self.samples}"
        if self.samples is None or self.split not in (None, each.split):
            return f"has other samples or labels in its {each.samples} test rows than {self.who}"
        return None


def strangers(tested: Iterable[Tested], known: Known = unknown) -> list[Stranger]:
    """The cells that no other may be compared with, sample by sample.

    Right is what most cells say that were trained, or rerun with the same numbers, in this workspace; where there are
    none, what the data say; where nobody knows these, what most cells say, which settles nothing.

    Args:
        tested: Cells with rows, of any data.
        known: What the data say.
    """
    groups = defaultdict[str, list[Tested]](list)
    for each in tested:
        if (key := shared(each.recipe)) is not None:
            groups[key].append(each)
    found = list[Stranger]()
    for group in groups.values():
        right = _right(group, known)
        wrong = [(each, why) for each in group if (why := right.why_not(each))]
        found += [Stranger(each, why, right.is_settled and each.origin == "unverified") for each, why in wrong]
    return found


def _right(group: Sequence[Tested], known: Known) -> _Right:
    if own := [each for each in group if each.origin != "unverified"]:
        return _Right("the cells of the same data that were trained or rerun here have", *_most(own), is_settled=True)
    if told := known(group[0]):
        return _Right("these data have", *told, is_settled=True)
    return _Right("other imported cells of the same data have", *_most(group), is_settled=False)


def _most(group: Sequence[Tested]) -> tuple[int | None, str | None]:
    """How many samples most cells have, and their digest; None where as many say otherwise."""
    (first, count), *others = Counter((each.samples, each.split) for each in group).most_common(2)
    return (None, None) if others and others[0][1] == count else first
