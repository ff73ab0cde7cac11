"""A rehearsal: each kind of cell through all that a launch does, in a scratch workspace that is removed afterwards."""

from __future__ import annotations

import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, cast

from orchestrator.errors import DamagedFileError, RequestError, UnreachableError
from orchestrator.execution.faults import InterruptionError
from orchestrator.execution.worker import Worker
from orchestrator.experiment import checks
from orchestrator.experiment.choices import Choice
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell
from orchestrator.launching import measuring
from orchestrator.launching.admission import Admission
from orchestrator.launching.launch import Launch
from orchestrator.launching.measuring import Measured, MeasuringRecorder, RehearsalStores
from orchestrator.launching.rehearsed import Rehearsed, fraction, kinds, rehearsed
from orchestrator.outcome import Collapsed, Diverged, Event, Failed, Finished, Lost, Stopped
from orchestrator.pricing.rates import CellRate, Rates
from orchestrator.process import scratch as temporary
from orchestrator.records.files.cell_file import row_bytes
from orchestrator.records.files.storage import Storage
from orchestrator.records.recorder import Recorder
from orchestrator.report.terminal.console import complain
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace import Workspace, sqlite_url
from trainers.brief import Brief
from trainers.datasets import Dataset, Extent, MissingDataError

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.launching.compute import Compute
    from orchestrator.records.tracking.runs import Tracking
    from orchestrator.report.terminal.progress import LiveTable

State = Literal["passed", "diverged", "failed", "not tried"]


@dataclass(frozen=True)
class RehearsedKind:
    """What came of one kind of cell."""

    loss: str
    backbone: str
    dataset: str
    state: State
    asked_batch_size: int
    batch_size: int
    cpus: int
    gpus: float
    why: str = ""
    """Why it failed or diverged, in a sentence."""
    rate: CellRate | None = None
    file_bytes: int | None = None
    """Of the cell's file with all test images."""
    proposed_gpus: float | None = None
    """GPUs that a cell needs; None where it ran on a processor."""


@dataclass(frozen=True)
class RehearsalReport:
    """What a rehearsal found."""

    experiment: str
    tried: tuple[RehearsedKind, ...]
    notes: tuple[str, ...]
    """In what it differs from a launch, in sentences."""

    @property
    def counts(self) -> Counter[str]:
        """How many kinds are in which state."""
        return Counter[str](each.state for each in self.tried)

    @property
    def is_good(self) -> bool:
        """Whether each kind passed, or diverged, which is a result."""
        return not {"failed", "not tried"} & set(self.counts)


@dataclass(frozen=True)
class Rehearsal(Launch):
    """The launch of a rehearsal."""

    brief: Brief = field(kw_only=True)
    endings: dict[str, Event] = field(default_factory=dict[str, Event])
    """How each cell ended, by its id."""
    farewell: str = "What was measured so far is kept; nothing else is left of the rehearsal."

    def _table(self, cells: Sequence[Cell]) -> LiveTable:
        return super()._table([self._short(cell) for cell in cells])

    def _short(self, cell: Cell) -> Cell:
        """The cell with as many epochs as are done of it, by which people see how far it is."""
        training = cell.recipe.training.model_copy(update={"epochs": self.brief.epochs})
        return replace(cell, recipe=cell.recipe.model_copy(update={"training": training}))

    def _recorder(self, runs: Tracking, code: Mapping[str, Any], keeps_models: bool) -> Recorder:
        return MeasuringRecorder(self.stores.evaluations, runs, code, keeps_models)

    def _worker(self, recorder: Recorder, experiment: Experiment, stores: Stores) -> Worker:
        return replace(super()._worker(recorder, experiment, stores), brief=self.brief)

    def _watch(self, table: Callable[[Event], None], admission: Admission) -> Callable[[Event], None]:
        def show(event: Event) -> None:
            if isinstance(event, (Finished, Diverged, Failed)):
                self.endings[event.cell.id] = event
            table(replace(_plain(event), cell=self._short(event.cell)))

        return super()._watch(show, admission)


def _plain(event: Event) -> Event:
    """An event as a rehearsal shows it: that a model learns nothing in a few steps is no news."""
    match event:
        case Collapsed():
            return Finished(event.cell, event.attempt, {})
        case Lost(error=error) if error.startswith(InterruptionError.__name__):
            return Stopped(event.cell, event.attempt)
        case _:
            return event


@contextmanager
def scratch(place: Workspace) -> Generator[Workspace]:
    """A workspace that is removed afterwards."""
    made = place.rehearsal(secrets.token_hex(4))
    try:
        yield made
    finally:
        if isinstance(made.root, Path):
            shutil.rmtree(made.root, ignore_errors=True)
            with suppress(OSError):  # another rehearsal is under way
                made.root.parent.rmdir()
        else:
            storage = Storage(made.root)
            for file in list(storage.list()):
                storage.delete(file.name)


def _results(launch: Rehearsal, asked: Experiment, what: Rehearsed, source: str) -> Iterator[RehearsedKind]:
    names = {choice.label: choice.plugin.key for choice in asked.datasets}
    for cell in launch.study.plan.cells:
        before = asked.settled(cell.loss, cell.backbone, cell.dataset).training.batch_size
        state, why = _state(launch.endings.get(cell.id))
        training = cell.recipe.training
        about = (cell.loss, cell.backbone, cell.dataset, state, before, training.batch_size)
        tried = RehearsedKind(*about, cell.resources.cpus, cell.resources.gpus, why)
        measured = measuring.read(launch.stores, cell) if state == "passed" else None
        if measured is None:
            yield tried
            continue
        per_row, rest = _sizes(launch.stores, cell)
        extent = what.extents[cell.dataset]
        yield replace(
            tried,
            rate=_rate(cell, measured, launch.brief, dataset=names[cell.dataset], row_bytes=per_row, source=source),
            file_bytes=None if extent is None or per_row is None else round(rest + per_row * extent.test),
            proposed_gpus=_proposed(cell, measured, what.cores_per_gpu),
        )


def _state(ending: Event | None) -> tuple[State, str]:
    match ending:
        case Failed(error=error):
            return "failed", error
        case Finished():
            return "passed", ""
        case Diverged(epoch=epoch):
            return "diverged", f"diverged in epoch {epoch}, so its evaluation was not tried"
        case _:
            return "not tried", ""


def _rate(cell: Cell, measured: Measured, brief: Brief, **told: Any) -> CellRate:
    step = median(measured.step_seconds[1:] or measured.step_seconds)
    training = cell.recipe.training
    # Evaluated without gradients: a third of a training step's work per image.
    passes = EVALUATIONS * brief.rows * step / training.batch_size / 3
    return CellRate(
        backbone=cell.recipe.backbone.key,
        shape=measured.shape,
        classes=measured.classes,
        device=measured.device,
        cpus=cell.resources.cpus,
        gpus=cell.resources.gpus,
        precision=training.precision,
        batch_size=training.batch_size,
        images_per_second=training.batch_size / step,
        fixed_seconds=max(0.0, measured.seconds - len(measured.step_seconds) * step - passes),
        memory_bytes=measured.memory_bytes,
        gpu_memory_bytes=measured.gpu_memory_bytes,
        machine=measured.machine,
        when=time.time(),
        **told,
    )


EVALUATIONS = 5
"""Passes over `Brief.rows` images in the attempt that is measured: an epoch's validation, the look back at training
images, the search for a temperature, validation, test."""


def _sizes(stores: Stores, cell: Cell) -> tuple[float | None, int]:
    """Bytes of a cell's file per test image, and of all else in it."""
    files = stores.evaluations
    with suppress(OSError, DamagedFileError):
        content = files.storage.read(files.name(cell)) or b""
        per_row, count = row_bytes(content)
        return per_row, len(content) - round(per_row * count)
    return None, 0


def _proposed(cell: Cell, measured: Measured, cores: int) -> float | None:
    if measured.gpu_memory_bytes is None or measured.gpu_bytes is None:
        return None
    return fraction(measured.gpu_memory_bytes, measured.gpu_bytes, cell.resources.cpus, cores)


def rehearse(study: Study, compute: Compute, console: Console, *, stand_in: bool = False) -> RehearsalReport:
    """Run one cell of each kind through all that a launch does, and keep only how fast it was.

    Args:
        study: What would be launched, and where.
        compute: Where cells run.
        console: Where people watch.
        stand_in: Whether drawn images take the place of data sets.

    Raises:
        RequestError: Something is missing, so that nothing was begun.
        StoppedLaunch: The user stopped it; what was measured is kept.
    """
    asked = study.experiment
    if asked.trainer:
        raise RequestError(
            "A command runs whole or not at all, so it cannot be rehearsed: launch one cell with --only."
        )
    wants_gpus = any(settled.resources.gpus for _, settled in kinds(asked))
    nodes = compute.nodes(with_gpus=wants_gpus)
    what = rehearsed(asked, nodes, _extents(study.data_dir), stand_in=stand_in)
    for note in what.notes:
        complain(console, note)
    with scratch(study.place) as place, _registry(place) as registry:
        stores = RehearsalStores(place, registry, study.stores.tracking_uri)
        stores.prepare()
        again = Study.of(what.experiment, stores, study.data_dir)
        launch = Rehearsal(study=again, compute=compute, console=console, brief=what.brief)
        try:
            launch.run()
        finally:
            tried = list(_results(launch, asked, what, "rehearsal on drawn images" if stand_in else "rehearsal"))
            if rates := [each.rate for each in tried if each.rate]:
                Rates(study.place.rates).add(rates)
            if stores.tracking_uri:
                with suppress(UnreachableError):
                    stores.tracking(what.experiment.name).delete()
    return RehearsalReport(asked.name, tuple(tried), what.notes)


@contextmanager
def _registry(place: Workspace) -> Generator[str | None]:
    """The URL of a registry that only the rehearsal has; None for that of its workspace."""
    if isinstance(place.root, Path):
        yield None
        return
    with temporary.folder() as folder:
        yield sqlite_url(folder / "registry.db")


def _extents(data_dir: Path) -> Callable[[Choice], Extent | None]:
    labels_of = checks.labels_here(data_dir)

    def ask(choice: Choice) -> Extent | None:
        dataset = cast("Dataset", choice.plugin)
        if known := dataset.extent():
            return known
        with suppress(MissingDataError):
            if labels := labels_of(dataset.model_copy(update={"shift": None})):
                return dataset.extent(labels)
        return None

    return ask
