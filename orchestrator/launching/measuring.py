"""What a rehearsal sees of a cell while it runs: seconds per step, memory, and whether it goes on after a loss."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from orchestrator import provenance
from orchestrator.execution import memory
from orchestrator.execution.faults import InterruptionError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell
from orchestrator.outcome import Attempt
from orchestrator.records.files.checkpoints import Checkpoints, StateFile
from orchestrator.records.files.storage import Storage
from orchestrator.records.recorder import CellLog, Recorder
from orchestrator.stores import Stores

if TYPE_CHECKING:  # it imports torch, which the driver does without
    from trainers.fit import Fit

MEASURED = "measured"
"""The folder of what is measured, in the scratch workspace."""

MARK = "interrupted"
"""The file beside a state that says that the attempt which wrote it was ended on purpose."""


@dataclass(frozen=True)
class Measured:
    """What the last attempt at a cell took."""

    device: str
    machine: str
    shape: tuple[int, int, int]
    classes: int
    seconds: float
    """From its start until its file is to be written."""
    step_seconds: tuple[float, ...]
    memory_bytes: int | None
    gpu_memory_bytes: int | None
    gpu_bytes: int | None
    """Memory of the whole GPU."""
    compiled: bool


class RehearsalStores(Stores):
    """Stores whose checkpoints end the first attempt at a cell once its state is saved."""

    def checkpoints(self, experiment: Experiment, launch: str) -> Checkpoints:
        """As a launch has them, with one interruption per cell."""
        return InterruptingCheckpoints(**vars(super().checkpoints(experiment, launch)))


@dataclass(frozen=True)
class InterruptingCheckpoints(Checkpoints):
    """Checkpoints of which the first of each cell ends the attempt."""

    def shelf(self, cell: Cell) -> StateFile:
        """Where the cell's state is saved."""
        return InterruptingStateFile(Storage(self.place), cell.id) if _is_ended(cell) else super().shelf(cell)


def _is_ended(cell: Cell) -> bool:
    """Whether its first attempt is ended: of several processes, the others would wait for the one that ended."""
    return cell.resources.devices == 1


@dataclass(frozen=True)
class InterruptingStateFile(StateFile):
    """A state file whose first writing ends the attempt."""

    def write(self, content: bytes) -> None:
        """Save the state.

        Raises:
            InterruptionError: It is the first.
        """
        super().write(content)
        mark = f"{self.folder}/{MARK}"
        if self.storage.read(mark) is None:
            self.storage.write(mark, b"")
            raise InterruptionError("ended on purpose, to see how the next attempt goes on")


@dataclass(frozen=True)
class MeasuringRecorder(Recorder):
    """Records cells as a launch does, and what they take."""

    @contextmanager
    def open(self, cell: Cell) -> Generator[CellLog]:
        """A log for this cell, as `Recorder.open`."""
        memory.forget_peaks()
        with super().open(cell) as log:
            yield MeasuringLog(log.recorder, log.cell, log.run, log.meter)


@dataclass
class MeasuringLog(CellLog):
    """A cell's log that also notes what the attempt took."""

    def finish(self, fit: Fit, attempt: Attempt) -> str:
        """Publish the file, and note what was measured.

        Raises:
            RuntimeError: The state that the attempt before had saved was not used.
        """
        if fit.resumed_from is None and _is_ended(self.cell):
            raise RuntimeError("the attempt did not go on from the state that the attempt before had saved")
        environment = super().finish(fit, attempt)
        place = self.recorder.evaluations.folder.parent
        noted = json.dumps(asdict(_measured(self.cell, fit, attempt)))
        Storage(place).write(f"{MEASURED}/{self.cell.id}.json", noted.encode())
        return environment


def read(stores: Stores, cell: Cell) -> Measured | None:
    """What was measured of a cell; None if nothing was."""
    text = Storage(stores.place.root).read(f"{MEASURED}/{cell.id}.json")
    if text is None:
        return None
    return _MEASURED.validate_json(text)


def _measured(cell: Cell, fit: Fit, attempt: Attempt) -> Measured:
    gpu = memory.gpu_peak() if cell.resources.gpus else None
    channels, height, width = fit.example.shape[1:]
    return Measured(
        device=gpu.name if gpu else str(provenance.machine()["processor"]),
        machine=attempt.node,
        shape=(channels, height, width),
        classes=fit.classes,
        seconds=attempt.seconds,
        step_seconds=fit.step_seconds,
        memory_bytes=memory.peak(),
        gpu_memory_bytes=gpu and gpu.peak,
        gpu_bytes=gpu and gpu.memory,
        compiled=fit.compiled,
    )


_MEASURED = TypeAdapter(Measured)
