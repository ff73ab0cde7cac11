"""The run of one cell in MLflow, as the process that trains the cell tells it."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.experiment.plan import PROTOCOL, Cell
from orchestrator.privacy import masked, public
from orchestrator.records.tracking import spool
from orchestrator.records.tracking.background_sender import Courier
from orchestrator.records.tracking.mlflow_store import SHOWN, load, sentence
from orchestrator.records.tracking.names import fitted
from orchestrator.records.tracking.run_writer import Delivery
from orchestrator.records.tracking.spool import (
    Attached,
    Described,
    Entry,
    Figures,
    Modelled,
    Opened,
    RunEnded,
    Terminal,
)

_log = logging.getLogger("orchestrator.tracking")


class Run:
    """The run of one cell. Its methods return at once, except at its end, and never raise the store's errors.

    Attributes:
        ended: Whether an outcome was told.

    """

    def __init__(self, cell: Cell, uri: str, experiment: str, outbox: Path | None) -> None:
        """A run that is not open yet.

        Args:
            cell: Whose run it is.
            uri: MLflow's store.
            experiment: The MLflow experiment that holds it.
            outbox: Where what the store does not take waits; without it, that is lost.
        """
        self.ended = False
        self._cell = cell
        self._uri = uri
        self._outbox = outbox
        self._delivery = Delivery(uri, experiment)
        self._courier: Courier | None = None
        self._room: Path | None = None
        self._trouble: Exception | str | None = None
        self._time = 0

    @property
    def run_id(self) -> str | None:
        """MLflow's id, or None where the store has not told it in time."""
        if self._courier:
            self._courier.opened()
        return self._delivery.run_id

    @property
    def trouble(self) -> str | None:
        """The first trouble with the store in one line, or None while all goes well."""
        found = self._trouble or (self._courier and self._courier.error) or self._delivery.refused
        return found and sentence(found)

    def open(self, commit: str | None) -> None:
        """Find the cell's run and mark it running, or create it."""
        try:
            load(self._uri)  # here, because imports in two threads at once can meet half a module
        except ImportError as error:
            self._note(error)
            return
        opened, described = opening(self._cell, commit, self._now())
        journal = self._journal(opened)
        self._room = journal and journal.model
        self._courier = Courier(self._delivery.deliver, journal)
        self._post(opened)
        self._post(described)

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Tell the figures of one epoch; the trainer's observer."""
        self._post(Figures(self._now(), epoch, finite(metrics)))

    def artifacts(self, texts: Mapping[str, str]) -> None:
        """Keep these texts with the run, by file name."""
        self._post(Attached(texts))

    def model(self, write: Callable[[Path], None]) -> None:
        """Keep a model with the run; it waits beside what is to be told of the attempt, and only there.

        Args:
            write: Makes an MLflow model of a folder.
        """
        if self._room is None:
            return
        try:
            write(self._room)
        except Exception as error:  # noqa: BLE001 - torch and MLflow raise anything, and the cell goes on without
            self._note(error)
        else:
            self._post(Modelled(str(self._room)))

    def finish(
        self, metrics: Mapping[str, float | None], collapse: str | None = None, classes: Sequence[str] = ()
    ) -> None:
        """The model is trained.

        Args:
            metrics: Named as in the results table.
            collapse: Why it counts as collapsed, if it does.
            classes: The names of the classes, where the data have some.
        """
        # At the last step: MLflow shows the value of the highest one, and the epochs share names.
        last = self._cell.recipe.training.epochs
        self._post(Figures(self._now(), last, finite(metrics), final=True))
        self._end("FINISHED", **ending(collapse, classes))

    def diverge(self, epoch: int) -> None:
        """The loss became NaN or infinite, which is a result: the run is finished, with a tag."""
        self._end("FINISHED", **divergence(epoch))

    def fail(self, error: BaseException | str) -> None:
        """The attempt broke."""
        said = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self._end("FAILED", error=public(said)[:SHOWN])

    def interrupt(self) -> None:
        """The attempt was stopped from outside."""
        self._end("KILLED")

    def _end(self, status: Terminal, **tags: str) -> None:
        if self.ended:
            return
        self.ended = True
        if self._courier is None:
            return
        self._post(RunEnded(self._now(), status, tags))
        if not self._courier.close():
            self._note(self._courier.error or "it does not answer in time")
        elif self._delivery.refused:
            self._note(self._delivery.refused)

    def _post(self, entry: Entry) -> None:
        if self._courier:
            self._courier.post(entry)

    def _journal(self, opened: Opened) -> spool.Journal | None:
        try:
            return spool.Journal(self._outbox, opened) if self._outbox else None
        except OSError as error:
            self._trouble = error
            return None

    def _note(self, error: Exception | str) -> None:
        self._trouble = self._trouble or error
        kept = f"; what it lacks waits in {self._outbox}" if self._outbox else ""
        message = "MLflow's run of %s is incomplete (%s: %s); the cell itself goes on%s."
        _log.warning(message, self._cell.name, masked(self._uri), sentence(error), kept)

    def _now(self) -> int:
        """Milliseconds since 1970, each later than the one before: of two values at a step, the later is shown."""
        self._time = max(self._time + 1, int(time.time() * 1000))
        return self._time


def opening(cell: Cell, commit: str | None, when: int) -> tuple[Opened, Described]:
    """What is to be told of a cell before it has a result.

    Args:
        cell: Under its experiment's labels.
        commit: The git commit that it is run from.
        when: Its beginning in milliseconds since 1970.

    """
    tags = {"protocol": str(PROTOCOL)} | ({} if commit is None else {"git_commit": commit})
    if cell.environment:
        tags |= {"replica": cell.environment}
    if cell.trial is not None:
        tags |= {"stage": "tuning", "trial": str(cell.trial)}
    recipe = {"recipe.json": cell.recipe.model_dump_json(indent=2)}
    return Opened(when, cell.id, fitted(cell.name), tags), Described(parameters(cell), recipe)


def divergence(epoch: int) -> dict[str, str]:
    """The tags of a cell that diverged in an epoch."""
    return {"outcome": "diverged", "diverged_epoch": str(epoch)}


def ending(collapse: str | None, classes: Sequence[str]) -> dict[str, str]:
    """The tags of a cell with figures: why it collapsed, if it did, and the names of the classes, if they fit."""
    names = ", ".join(classes)
    return (collapsing(collapse) if collapse is not None else {}) | (
        {"classes": names} if 0 < len(names) <= SHOWN else {}
    )


def collapsing(reason: str) -> dict[str, str]:
    """The tags of a cell that collapsed."""
    return {"outcome": "collapsed", "collapse": reason}


def parameters(cell: Cell) -> dict[str, str]:
    """A cell's parameters, by the names the UI groups runs by.

    The axes and the training fields have their plain names; a plug-in's parameter has
    its axis in front, as in `loss.bias_init`.
    """
    axes = {"loss": cell.loss, "backbone": cell.backbone, "dataset": cell.dataset, "seed": cell.seed}
    recipe = cell.recipe.model_dump(mode="json")
    plugins = {
        f"{axis}.{field}": value
        for axis in ("loss", "backbone", "dataset")
        for field, value in recipe[axis].items()
        if field != "name"  # said by the axis
    }
    usual = cell.recipe.training.stated  # some are in the recipe's JSON only if unusual
    words = {"command": " ".join(cell.recipe.trainer.command)} if cell.recipe.trainer else {}
    values = {**axes, **usual, **recipe["training"], **plugins, **words}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Without the values that break MLflow's run page."""
    return {name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)}
