"""Accuracy over thresholds, from one scan of many cells' files in bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.errors import DamagedFileError
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Location

if TYPE_CHECKING:
    import pyarrow.dataset as ds


@dataclass(frozen=True, eq=False)
class SampledCurve:
    """Uniform accuracy over thresholds: the share of samples with `rival < threshold <= positive`."""

    threshold: NDArray[np.float64]
    """Ascending, at equal distances, shape (points,)."""
    accuracy: NDArray[np.float64]
    """At these thresholds, shape (points,)."""
    samples: int


def accuracy_curves(folder: Location, points: int = 2**14) -> dict[str, SampledCurve]:
    """The curve of every loss, over all its samples below a folder of cells' files or of `compact`.

    One scan in bounded memory: scores are counted between equidistant thresholds that span
    them, as the files' statistics tell. The accuracy at each threshold is exact, but for
    scores within rounding of it; the best of all thresholds may lie between two of them.

    Args:
        folder: Scores of several datasets differ in scale: rather give the folder of one.
        points: How many thresholds.

    Raises:
        DamagedFileError: A file cannot be read as Parquet, or its checksums are wrong.
    """
    import pyarrow.dataset as ds  # half a second, with pandas

    storage = Storage(folder)
    files, path = storage.filesystem
    names = [f"{path}/{file.name}" for file in storage.list() if file.name.endswith(".parquet")]
    checked = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    form = ds.ParquetFileFormat(default_fragment_scan_options=checked)
    try:
        dataset = ds.dataset(names, _SCORES, form, files, ds.partitioning(_AXES, flavor="hive"), path)
        keys = [ds.get_partition_keys(fragment.partition_expression) for fragment in dataset.get_fragments()]
        losses = sorted({key["loss"] for key in keys})
        return {loss: _curve(dataset, ds.field("loss") == loss, points) for loss in losses}
    except (pa.ArrowException, OSError) as error:
        raise DamagedFileError(f"{folder} holds a file that cannot be read: {error}") from None


_AXES = pa.schema([(axis, pa.string()) for axis in ("dataset", "backbone", "loss")])


_READ = ["positive", "rival"]


_SCORES = pa.schema([*((name, pa.float32()) for name in _READ), *_AXES])


def _curve(dataset: ds.Dataset, which: ds.Expression, points: int) -> SampledCurve:
    low, high = _range(dataset, which)
    scale = (points - 1) / (high - low) if high > low else 1.0
    steps = np.zeros(points + 1, np.int64)
    samples = 0
    for batch in dataset.to_batches(_READ, which, batch_size=2**17, batch_readahead=2, fragment_readahead=1):
        positive, rival = (batch[name].to_numpy().astype(np.float64) for name in _READ)
        samples += len(positive)
        separable = rival < positive
        for scores, sign in ((rival, 1), (positive, -1)):
            # The first threshold above a score. A NaN is no score below another.
            above = np.clip(np.floor((scores[separable] - low) * scale) + 1, 0, points).astype(np.intp)
            steps += sign * np.bincount(above, minlength=points + 1)
    accuracy = np.cumsum(steps)[:points] / max(samples, 1)
    return SampledCurve(low + np.arange(points) / scale, accuracy, samples)


def _range(dataset: ds.Dataset, which: ds.Expression) -> tuple[float, float]:
    """The lowest and highest finite score that the statistics in the footers tell."""
    ends = [
        float(end)
        for fragment in dataset.get_fragments(which)
        for group in fragment.row_groups
        for name in _READ
        for end in group.statistics.get(name, {}).values()
    ]
    finite = [end for end in ends if math.isfinite(end)]
    return min(finite, default=0.0), max(finite, default=0.0)
