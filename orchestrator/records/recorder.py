"""Records one cell from the process that trains it: to its Parquet file, and to its MLflow run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import provenance
from orchestrator.errors import RequestError
from orchestrator.experiment.plan import PROTOCOL, Cell
from orchestrator.outcome import Attempt
from orchestrator.provenance import fingerprints
from orchestrator.provenance.environment import Environment
from orchestrator.records.energy import Meter
from orchestrator.records.files import command_logs, left_files
from orchestrator.records.files.evaluations import Account, Evaluations
from orchestrator.records.files.models import Models
from orchestrator.records.files.storage import Storage
from orchestrator.records.tracking import models
from orchestrator.records.tracking.artefacts import artefacts
from orchestrator.records.tracking.runs import Run, Tracking
from orchestrator.workspace import Workspace

if TYPE_CHECKING:  # it imports torch, which the driver does without
    from trainers.fit import Fit


@dataclass(frozen=True)
class Recorder:
    """Opens a log for each cell; a plain value, so that it crosses to worker processes."""

    evaluations: Evaluations
    tracking: Tracking
    code: Mapping[str, Any]
    """The driver's provenance: workers may run from an installed copy without a commit."""
    log_models: bool = False
    """Whether to keep trained models with their runs."""
    models: Models | None = None
    """Where trained models are kept for `deploy`; None to keep none."""

    @contextmanager
    def open(self, cell: Cell) -> Generator[CellLog]:
        """A log for this cell; leaving it by an exception ends the cell's run as failed."""
        if cell.environment and cell.environment != (here := self.environment(cell)):
            raise RequestError(f"It was to be trained in environment {cell.environment}, and this machine is {here}.")
        from orchestrator.provenance import torch_state  # it imports torch, which the driver does without

        meter = Meter(torch_state.gpu_uuid() if cell.resources.gpus else None, provenance.nvml())
        with self.tracking.run(cell, commit=self.code.get("git_commit")) as run, meter:
            yield CellLog(self, cell, run, meter)

    def origin(self, cell: Cell) -> dict[str, Any]:
        """What a cell that is trained in this process records of machine and code."""
        from orchestrator.provenance import torch_state

        return {
            **provenance.machine(),
            **torch_state.computing(gpu=cell.resources.gpus > 0),
            **self.code,
            **fingerprints.recorded(cell.recipe),
            "threads": cell.resources.cpus,
            "devices": cell.resources.devices,
        }

    def environment(self, cell: Cell) -> str:
        """The id of the environment of a cell that is trained in this process."""
        return Environment.of(self.origin(cell)).id


def _named(classes: Sequence[str]) -> dict[str, list[str]]:
    """The names of the classes, where the data have some, and few enough for every cell's file."""
    return {"class_names": list(classes)} if 0 < len(classes) <= MOST_NAMES else {}


MOST_NAMES = 1_000


@dataclass
class CellLog:
    """What one cell tells while it runs, and what is published of it."""

    recorder: Recorder
    cell: Cell
    run: Run
    meter: Meter
    switches: dict[str, bool] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    data_fingerprint: str | None = None
    data_origins: Mapping[str, Any] = field(default_factory=dict[str, Any])
    model: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The file that a command left, if it did."""

    def note_data(self, fingerprint: str, origins: Mapping[str, Any]) -> None:
        """Note what the images and labels hash to, and where they come from."""
        self.data_fingerprint = fingerprint
        self.data_origins = origins

    def resumed(self, history: Sequence[Mapping[str, float]]) -> None:
        """An earlier attempt did these epochs, and told the run of them."""
        self.history[:] = map(dict, history)

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """The figures of an epoch, counted from 1."""
        from orchestrator.provenance import torch_state

        # Asked here, because they are back to what they were once the model is trained.
        self.switches = self.switches or torch_state.switches()
        self.history.append(dict(figures))
        self.run.epoch(epoch, figures)

    def printed(self, output: str) -> None:
        """Keep what a command has printed so far."""
        command_logs.keep(Workspace(self.recorder.evaluations.folder.parent), self.cell.id, output)

    def left_model(self, file: Path) -> None:
        """Keep a model that a command has left, in `models` beside the cells' files, under the name of the cell's."""
        content = file.read_bytes()
        name = left_files.model_of(self.recorder.evaluations.name(self.cell))
        Storage(self.recorder.evaluations.folder.parent).write(name, content)
        self.model = {
            "file": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        }

    def finish(self, fit: Fit, attempt: Attempt) -> str:
        """Publish the file, which makes the cell done, and then end the run; return the id of the environment."""
        account = self._account(attempt)
        account = replace(
            account,
            provenance={**account.provenance, "compiled": fit.compiled, **_named(fit.class_names)},
            state="collapsed" if fit.collapse else "finished",
            collapse=fit.collapse,
            samples=len(fit.evaluation.label),
            metrics=fit.metrics,
            shifts=fit.shifts,
            learned_bias=fit.learned_bias,
            bias=fit.bias,
            sigmoid=fit.sigmoid,
            parameters=fit.parameters,
            train_seconds=fit.train_seconds,
            images_per_second=fit.images_per_second,
            classes=fit.classes,
            temperature=fit.temperature,
        )
        if self.recorder.models is not None and fit.model is not None and not self.cell.environment:
            from trainers.deployment import packed

            # First, so that no cell is done without its model.
            self.recorder.models.write(self.cell.id, packed(fit.model, fit.mean, fit.deviation, fit.example.shape[1:]))
        self.recorder.evaluations.publish(self.cell.recipe, account, fit.evaluation, fit.validation, fit.certification)
        self.run.artifacts(artefacts(account.provenance, fit.evaluation))
        if self.recorder.log_models and fit.model is not None:
            self.run.model(partial(models.save, fit.model, fit.example))
        self.run.finish(account.shown, account.collapse, fit.class_names)
        return Environment.of(account.provenance).id

    def diverge(self, epoch: int, attempt: Attempt) -> str:
        """Publish that the loss became NaN or infinite in `epoch`; return the id of the environment."""
        account = self._account(attempt)
        self.recorder.evaluations.publish(self.cell.recipe, account, None)
        self.run.artifacts(artefacts(account.provenance, None))
        self.run.diverge(epoch)
        return Environment.of(account.provenance).id

    def stop(self) -> None:
        """The user stopped the launch: the run waits for another attempt."""
        self.run.interrupt()

    def _account(self, attempt: Attempt) -> Account:
        """The account of a cell that diverged; one that was trained has more to say."""
        return Account(
            cell_id=self.cell.id,
            state="diverged",
            recipe=self.cell.recipe.model_dump(mode="json"),
            protocol=PROTOCOL,
            samples=0,
            epochs=len(self.history),
            metrics={},
            shifts={},
            learned_bias=[],
            history=self.history,
            parameters=None,
            train_seconds=None,
            images_per_second=None,
            started=attempt.started,
            seconds=attempt.seconds,
            mlflow_run_id=self.run.run_id,
            provenance={
                **self.recorder.origin(self.cell),
                **self.switches,
                "data_digest": self.cell.recipe.data_digest or self.cell.recipe.dataset.published_digest,
                "data_fingerprint": self.data_fingerprint,
                **({"origins": dict(self.data_origins)} if self.data_origins else {}),
                **({"model": dict(self.model)} if self.model else {}),
                **self._costs(attempt.seconds),
            },
        )

    def _costs(self, seconds: float) -> dict[str, float | bool | None]:
        """What the cell took. Where other cells may use a device too, its energy is theirs as well."""
        wanted = self.cell.resources
        # This process does not see the devices of the others that train the cell with it.
        joules = self.meter.joules() if wanted.devices == 1 else {"gpu_joules": None, "cpu_joules": None}
        return {
            "gpu_seconds": seconds * wanted.gpus * wanted.devices,
            **joules,
            "gpu_shared": wanted.gpus % 1 > 0,
            "cpu_shared": wanted.cpus < (os.cpu_count() or 1),
        }
