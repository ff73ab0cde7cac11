"""What is built from the cells' files alone: the results table, one dataset of all samples, and curves over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.errors import DamagedFileError, LostRowsError, RequestError
from orchestrator.experiment.own_measures import BALANCED, balanced, is_own, value
from orchestrator.experiment.plan import Cell, Plan, original
from orchestrator.experiment.questions import Key
from orchestrator.outcome import has_figures
from orchestrator.pairing.blocks import POOLS
from orchestrator.provenance.environment import CODES, Environment, sources
from orchestrator.records.files import cell_file, splits
from orchestrator.records.files.cell_file import Footer
from orchestrator.records.files.evaluations import Evaluations, Whole, set_aside
from orchestrator.records.files.origin import Origins
from orchestrator.records.files.soundness import check
from orchestrator.records.files.storage import Storage, in_parallel
from orchestrator.records.files.summaries import Summaries
from orchestrator.workspace import Location
from trainers.metrics import MEASURES

if TYPE_CHECKING:
    import pyarrow.dataset as ds

    from trainers.evaluation import Evaluation

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("experiment", "cell_id", "loss", "backbone", "dataset")),
        ("seed", pa.int64()),
        ("state", pa.string()),
        ("environment", pa.string()),
        ("decide_by", pa.string()),
        ("samples", pa.int64()),
        *((name, pa.float64()) for name in MEASURES),
        ("train_seconds", pa.float64()),
        ("images_per_second", pa.float64()),
        ("epochs", pa.int64()),
        ("parameters", pa.int64()),
        ("mlflow_run_id", pa.string()),
        ("git_commit", pa.string()),
        ("protocol", pa.int64()),
        ("started", pa.float64()),
        ("origin", pa.string()),
        ("git_dirty", pa.bool_()),
        *((name, pa.string()) for name in ("torch_version", "device", "instruction_set", "onednn_isa")),
        ("threads", pa.int64()),
        ("devices", pa.int64()),
        *((f"{name}_sha256", pa.string()) for name in CODES),
        *((f"{name}_source", pa.string()) for name in CODES),
    ]
)

_RECORDED = (
    "git_commit",
    "git_dirty",
    "torch_version",
    "device",
    "instruction_set",
    "onednn_isa",
    "threads",
    "devices",
)
"""Of a cell's provenance: what tells one environment from another."""

SAMPLES = pa.schema([("cell_id", pa.string()), ("seed", pa.int64()), *cell_file.SCHEMA])
"""Of the dataset of all samples; its folders add `dataset`, `backbone` and `loss`, as the experiment labels them."""

_STRETCH = 128
"""Cells whose accounts are in memory at once, for each reader."""

_ROWS = 2**22
"""Of a file of the dataset, about: some 100 MiB."""


Licences = Mapping[tuple[tuple[str, str], str], Sequence[str]]
"""Of a setting and an environment there: the environments whose cells may be pooled with it."""


@dataclass(frozen=True)
class Results:
    """The table, the cells without a file, and what is wrong with files set aside."""

    table: pa.Table
    missing: tuple[Cell, ...]
    damaged: tuple[str, ...]
    replicas: pa.Table
    """In the same columns, the cells that were trained again so that pairs meet in one environment."""
    stated: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What its experiment stated when each cell or replica began, by its id, where that was recorded."""
    lost: tuple[str, ...] = ()
    """Why each file of validation rows that is missing, or another, cannot be read; its cell is done nevertheless."""
    licences: Licences = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a cell, in the order of the plan."""
        return self._licensed(self.table)

    def all_rows(self) -> list[dict[str, Any]]:
        """The rows of cells, and behind them those of replicas."""
        return [*self.rows(), *self.replica_rows()]

    def without(self, cells: Collection[str]) -> Results:
        """The same without the rows of these cells and replicas."""
        if not cells:
            return self
        kept = [
            table.filter(pa.array([each not in cells for each in table["cell_id"].to_pylist()], pa.bool_()))
            for table in (self.table, self.replicas)
        ]
        return replace(self, table=kept[0], replicas=kept[1])

    def statements(self) -> Iterator[tuple[Key, Mapping[str, Any] | None]]:
        """Of each cell its dataset, backbone and loss, and what was stated when it began; None where nothing was."""
        columns = self.table.select(["dataset", "backbone", "loss", "cell_id"]).to_pydict()
        for dataset, backbone, loss, cell in zip(*columns.values(), strict=True):
            yield (dataset, backbone, loss), self.stated.get(cell)

    def runs(self) -> dict[str, str]:
        """MLflow's ids of the runs of cells that were tracked, by cell."""
        columns = self.table.select(["cell_id", "mlflow_run_id"]).to_pydict()
        return {cell: run for cell, run in zip(*columns.values(), strict=True) if run}

    def complaints(self) -> Iterator[str]:
        """What is wrong with files; sentences for people."""
        yield from self.damaged
        if self.lost:
            others = f" So are those of {len(self.lost) - 1} more." if self.lost[1:] else ""
            yield f"{self.lost[0]}{others} Figures that follow from them stand as the cells' own files state them."

    def replica_rows(self) -> list[dict[str, Any]]:
        """One dictionary a replica."""
        return self._licensed(self.replicas)

    def _licensed(self, table: pa.Table) -> list[dict[str, Any]]:
        rows = table.to_pylist()
        if self.licences:
            for row in rows:
                row[POOLS] = self.licences.get(((row["dataset"], row["backbone"]), row["environment"]), ())
        return rows


def aggregate(plan: Plan, evaluations: Evaluations, known: Known = lambda _: None, *, anew: bool = False) -> Results:
    """Build the results table of a plan from the cells' files, each of which is read once.

    What this table, the report, `compare` and other readers need of a file is kept as its summary, beside the table:
    only files that are new, or that changed since, are opened. Measures of one's own are the exception: they may need
    any column, and their code may be another each time, so they are computed from the cells' files each time.

    A file that cannot be trusted is renamed to `….damaged`, so that its cell counts as
    missing and the next launch trains it again.

    Args:
        plan: The experiment's cells.
        evaluations: Their files.
        known: How many test samples a cell's data have, and the digest of these where the data are here.
        anew: Whether to read every file, and to keep nothing.
    """
    summaries = None if anew else Summaries.of_cells(evaluations, plan.cells)
    read = _Reader(plan.experiment.name, evaluations, summaries, Origins.of(evaluations.folder.parent))
    parts = read.parts(plan.cells)
    gone = {cell.id for part in parts for cell in part.missing}
    table = _with_trials(pa.Table.from_batches([part.rows for part in parts], SCHEMA), plan)
    table, spoilt = _with_own_measures(table, plan, evaluations)
    gone |= spoilt.keys()
    again = [cell for cell in evaluations.replicas(plan.cells) if original(cell.id) not in gone]
    replicas = read.parts(again)
    other = pa.Table.from_batches([part.rows for part in replicas], SCHEMA)
    other, spoilt_replicas = _with_own_measures(other, Plan(plan.experiment, tuple(again)), evaluations)
    damaged = [sentence for part in (*parts, *replicas) for sentence in part.damaged]
    tested = [each for part in (*parts, *replicas) for each in part.tested]
    cells = {cell.id: cell for cell in (*plan.cells, *again)}
    strangers = splits.strangers(tested, lambda each: known(cells[each.name]))
    strange = {each.tested.name: _excluded(cells[each.tested.name], each, evaluations) for each in strangers}
    gone |= strange.keys()
    found = Results(
        table,
        tuple(cell for cell in plan.cells if cell.id in gone),
        (*damaged, *spoilt.values(), *spoilt_replicas.values(), *strange.values()),
        other,
        {cell: record for part in (*parts, *replicas) for cell, record in part.stated.items()},
        tuple(sentence for part in (*parts, *replicas) for sentence in part.lost),
    )
    return found.without({*strange, *(cell.id for cell in again if original(cell.id) in strange)})


Known = Callable[[Cell], tuple[int, str | None] | None]
"""How many test samples a cell's data have, and their digest; None where that is not known."""


def _excluded(cell: Cell, stranger: splits.Stranger, evaluations: Evaluations) -> str:
    """What is told of a cell that was tested on other samples than the others, after it is set aside, if it can be."""
    path = evaluations.path(cell.recipe, cell.id)
    if stranger.is_settled:
        return _set_aside(cell, evaluations, DamagedFileError(f"{path} {stranger.why}."))
    return f"{path} {stranger.why}. It is left out: `verify` reruns cells, and tells which are right."


def _with_trials(table: pa.Table, plan: Plan) -> pa.Table:
    """Of a tuning stage: with the number of each trial, and the values that it tried; others are as they were."""
    tuning = plan.experiment.tuning
    cells = {cell.id: cell for cell in plan.cells if cell.trial is not None}
    if tuning is None or not cells:
        return table
    found = [cells[cell_id] for cell_id in table["cell_id"].to_pylist()]
    table = table.append_column("trial", pa.array([cell.trial for cell in found], pa.int64()))
    for name in tuning.space:
        of = "training" if name in tuning.shared else "loss"
        values = [getattr(getattr(cell.recipe, of), name, None) for cell in found]
        numbers = all(isinstance(value, (int, float)) or value is None for value in values)
        form = pa.float64() if numbers else pa.string()
        texts = [value if numbers or value is None else str(value) for value in values]
        table = table.append_column(name, pa.array(texts, form))
    return table


def _with_own_measures(table: pa.Table, plan: Plan, evaluations: Evaluations) -> tuple[pa.Table, dict[str, str]]:
    """With a column for each measure of one's own that a claim is about, and of how many samples each class has.

    Returns:
        The table without cells whose rows cannot be read, and of each of these, by id, what is wrong with its file.
    """
    asked = dict.fromkeys(filter(is_own, (metric for claim in plan.experiment.claims for metric in claim.metrics)))
    if not asked:
        return table, {}
    cells = {cell.id: cell for cell in plan.cells}
    finished = [cells[row["cell_id"]] if has_figures(row["state"]) else None for row in table.to_pylist()]

    spoilt: dict[str, str] = {}

    def of(cell: Cell | None) -> list[float | None]:
        if cell is None:
            return [None] * (len(asked) + 1)
        try:
            columns = {name: each for name, each in vars(evaluations.evaluation(cell)).items() if each is not None}
        except DamagedFileError as error:  # since it was checked, which may be long ago
            spoilt[cell.id] = _set_aside(cell, evaluations, error)
            return [None] * (len(asked) + 1)
        return [*(value(metric, columns, cell.name) for metric in asked), balanced(columns)]

    found = list(in_parallel(of, finished, evaluations.storage.readers))
    for place, metric in enumerate(asked):
        table = table.append_column(metric, pa.array([values[place] for values in found], pa.float64()))
    table = table.append_column(BALANCED, pa.array([values[-1] for values in found], pa.int64()))
    return table.filter(
        pa.array([cell_id not in spoilt for cell_id in table["cell_id"].to_pylist()], pa.bool_())
    ), spoilt


class _Part(NamedTuple):
    rows: pa.RecordBatch
    missing: list[Cell]
    damaged: list[str]
    stated: dict[str, Mapping[str, Any]]
    lost: list[str]
    tested: list[splits.Tested]
    """The cells with rows."""


@dataclass(frozen=True)
class _Reader:
    """Reads the cells of an experiment, and keeps their summaries."""

    experiment: str
    evaluations: Evaluations
    summaries: Summaries | None
    origins: Origins

    def parts(self, cells: Sequence[Cell]) -> list[_Part]:
        """The table in parts, in the order of the cells."""
        stretches = [cells[start : start + _STRETCH] for start in range(0, len(cells), _STRETCH)]
        return list(in_parallel(self._part, stretches, self.evaluations.storage.readers))

    def _part(self, cells: Sequence[Cell]) -> _Part:
        origin = list[str]()
        tested = list[splits.Tested]()
        done = list[Cell]()
        found = list[dict[str, Any]]()
        missing = list[Cell]()
        damaged = list[str]()
        lost = list[str]()
        for cell in cells:
            if not cell.data_known:  # a file of this name says not which data it is of
                missing.append(cell)
                continue
            try:
                footer, split, reason = self._read(cell)
            except FileNotFoundError:
                missing.append(cell)
            except DamagedFileError as error:
                missing.append(cell)
                damaged.append(_set_aside(cell, self.evaluations, error))
            else:
                lost += [reason] if reason else []
                found.append(footer.content)
                done.append(cell)
                origin.append(whence := self.origins.origin(footer.seal, footer.signed))
                if samples := footer.content["samples"]:
                    tested.append(splits.Tested(cell.id, footer.content["recipe"], whence, samples, split))
        columns = {**_columns(self.experiment, done, found), "origin": origin}
        records = (account["provenance"].get("stated") for account in found)
        stated = {cell.id: record for cell, record in zip(done, records, strict=True) if record}
        batch = pa.record_batch([columns[name] for name in SCHEMA.names], SCHEMA)
        return _Part(batch, missing, damaged, stated, lost, tested)

    def _read(self, cell: Cell) -> tuple[Footer, str, str | None]:
        """The footer of a cell's file, the digest of its split, and why its validation rows cannot be read, if so.

        Raises:
            DamagedFileError: The cell's own file cannot be trusted.
        """
        name = self.evaluations.name(cell)
        if self.summaries and (known := self.summaries.find(name)):
            footer, split = known
            return footer.of(cell), split, None
        whole, reason = _checked(self.evaluations, name)
        footer = whole.footer.of(cell)
        split = splits.of_rows(whole.rows)
        if self.summaries and not reason:
            self.summaries.write(name, whole, split)
        return footer, split, reason


def _checked(evaluations: Evaluations, name: str) -> tuple[Whole, str | None]:
    """A cell's files, found sound; and why its validation rows cannot be read, if so.

    Raises:
        DamagedFileError: The cell's own file cannot be trusted.
    """
    try:
        check(whole := evaluations.checked(name))
    except LostRowsError as error:
        check(whole := evaluations.checked(name, validation=False))
        return whole, str(error)
    return whole, None


def _set_aside(cell: Cell, evaluations: Evaluations, error: DamagedFileError) -> str:
    aside = set_aside(evaluations.path(cell.recipe, cell.id))
    return f"{error} It was set aside as {aside.name[:17]}….damaged; launch again to retrain this cell."


def _columns(experiment: str, cells: Sequence[Cell], accounts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    metrics = [account["metrics"] for account in accounts]
    return {
        "experiment": [experiment] * len(cells),
        "cell_id": [cell.id for cell in cells],
        "decide_by": [account["recipe"]["loss"].get("decide_by", "raw") for account in accounts],
        **{name: [getattr(cell, name) for cell in cells] for name in ("loss", "backbone", "dataset", "seed")},
        **{name: [values.get(name) for values in metrics] for name in MEASURES},
        **{name: [account[name] for account in accounts] for name in _COPIED},
        **_origin([account["provenance"] for account in accounts]),
    }


def _origin(provenances: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    prints = [provenance.get("fingerprints") or {} for provenance in provenances]
    told = [sources(provenance) for provenance in provenances]
    return {
        "environment": [Environment.of(provenance).id for provenance in provenances],
        **{name: [provenance.get(name) for provenance in provenances] for name in _RECORDED},
        **{f"{name}_sha256": [each.get(name) for each in prints] for name in CODES},
        **{f"{name}_source": [each.get(name) for each in told] for name in CODES},
    }


_COPIED = (
    "state",
    "samples",
    "train_seconds",
    "images_per_second",
    "epochs",
    "parameters",
    "mlflow_run_id",
    "protocol",
    "started",
)


def write(results: Results, path: Location) -> None:
    """Write the table, whole or not at all, and beside it that of the replicas, where there are any."""
    storage = Storage(path.parent)
    again = of_replicas(path.name)
    storage.write(path.name, _encoded(results.table))
    if results.replicas.num_rows:
        storage.write(again, _encoded(results.replicas))
    else:
        storage.delete(again)


def of_replicas(name: str) -> str:
    """The name of the table of replicas beside a results table of this name."""
    return f"{name.removesuffix('.parquet')}.replicas.parquet"


def _encoded(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def read(place: Location) -> list[dict[str, Any]]:
    """The rows of a table that was written; none where there is no table, or one that cannot be read."""
    content = Storage(place.parent).read(place.name)
    if content is None:
        return []
    try:
        return cell_file.opened_in_memory(content).read(use_threads=False).to_pylist()
    except pa.ArrowException:
        return []


def read_all(place: Location) -> list[dict[str, Any]]:
    """The rows of a table that was written, and those of its replicas; none where there is no table."""
    return [*read(place), *read(place.parent / of_replicas(place.name))]


def environments(place: Location) -> dict[str, str]:
    """The environment of each cell and replica, by id, as a table that was written and that of its replicas say."""
    found: dict[str, str] = {}
    for name in (place.name, of_replicas(place.name)):
        content = Storage(place.parent).read(name)
        with suppress(pa.ArrowException, KeyError):
            if content is not None:
                table = cell_file.opened_in_memory(content).read(["cell_id", "environment"], use_threads=False)
                found |= dict(zip(*(table[column].to_pylist() for column in ("cell_id", "environment")), strict=True))
    return found


def compact(
    plan: Plan,
    evaluations: Evaluations,
    folder: Location,
    read: Callable[[Evaluations, Cell], Evaluation | None] = Evaluations.evaluation,
) -> int:
    """Write the rows of all samples of a finished experiment as one dataset; the cells' files stay.

    It is partitioned by dataset, backbone and loss; within a file each cell has a row group
    of its own, in the order of seeds. Written again, it is the same; files that an earlier
    plan left in the folder are removed.

    Args:
        plan: The experiment's cells.
        evaluations: Their files.
        folder: Where the dataset goes.
        read: Which rows of a cell: those of the test split, or `Evaluations.validation`.

    Returns:
        How many rows there are.

    Raises:
        RequestError: A cell is not done, or its file is damaged and was set aside.
    """
    found = aggregate(plan, evaluations)
    if found.missing:
        name = plan.experiment.name
        count = len(found.missing)
        raise RequestError(
            "\n".join([*found.damaged, f"{count} of {len(plan)} cells of '{name}' are not done: launch it first."])
        )
    storage = Storage(folder)
    written = set[str]()
    rows = 0
    for partition, cells in _partitions(plan):
        samples = max(evaluations.content(cell)["samples"] for cell in cells)
        at_once = max(1, _ROWS // max(1, samples))
        for start in range(0, len(cells), at_once):
            name = f"{partition}/part-{start // at_once:05}.parquet"
            content, count = _joined(cells[start : start + at_once], evaluations, read)
            storage.write(name, content)
            written.add(name)
            rows += count
    for file in storage.list():
        if file.name not in written:
            storage.delete(file.name)
    return rows


def _partitions(plan: Plan) -> Iterator[tuple[str, list[Cell]]]:
    def partition(cell: Cell) -> str:
        return cell_file.partition(cell.dataset, cell.backbone, cell.loss)

    for name, cells in groupby(sorted(plan.cells, key=lambda cell: (partition(cell), cell.seed)), partition):
        yield name, list(cells)


def _joined(
    cells: Sequence[Cell], evaluations: Evaluations, read: Callable[[Evaluations, Cell], Evaluation | None]
) -> tuple[bytes, int]:
    """A Parquet file of the rows of some cells, and how many they are."""
    sink = pa.BufferOutputStream()
    count = 0
    with pq.ParquetWriter(sink, SAMPLES, compression="zstd", store_schema=False, write_page_checksum=True) as writer:
        for cell in cells:
            try:
                rows = cell_file.columns(read(evaluations, cell))
            except DamagedFileError as error:
                raise RequestError(_set_aside(cell, evaluations, error)) from None
            same = {"cell_id": [cell.id] * len(rows["sample"]), "seed": [cell.seed] * len(rows["sample"])}
            writer.write_table(pa.table({**same, **rows}, schema=SAMPLES))
            count += len(rows["sample"])
    return sink.getvalue().to_pybytes(), count


@dataclass(frozen=True, eq=False)
class Curve:
    """Uniform accuracy over thresholds: the share of samples with `rival < threshold <= positive`."""

    threshold: NDArray[np.float64]
    """Ascending, at equal distances, shape (points,)."""
    accuracy: NDArray[np.float64]
    """At these thresholds, shape (points,)."""
    samples: int


def accuracy_curves(folder: Location, points: int = 2**14) -> dict[str, Curve]:
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


def _curve(dataset: ds.Dataset, which: ds.Expression, points: int) -> Curve:
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
    return Curve(low + np.arange(points) / scale, accuracy, samples)


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
