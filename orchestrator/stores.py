"""The stores that options mean: cells' files, registry, MLflow and states of one workspace."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from orchestrator import extras
from orchestrator.workspace import Workspace

# Each store is imported when it is asked for: no verb needs all of them, and each takes a while to import.
if TYPE_CHECKING:
    from orchestrator.experiment.model import Experiment
    from orchestrator.pricing.rates import Rates
    from orchestrator.records.files.additions import AdditionsFile
    from orchestrator.records.files.checkpoints import Checkpoints
    from orchestrator.records.files.contents import History
    from orchestrator.records.files.evaluations import Evaluations
    from orchestrator.records.files.models import Models
    from orchestrator.records.sql.registry import Registry
    from orchestrator.records.tracking.runs import Tracking
    from orchestrator.reproduction.anchor_log import Ledger


@dataclass(frozen=True)
class Stores:
    """A workspace and what it holds; registry and MLflow may be elsewhere."""

    place: Workspace
    registry_url: str | None = None
    """Default: SQLite in the workspace."""
    tracking_uri: str | None = None
    """Default: SQLite in the workspace."""

    @classmethod
    def at(cls, workspace: str, registry_url: str | None = None, tracking_uri: str | None = None) -> Self:
        """The stores of a workspace that a user names.

        Raises:
            WorkspaceError: The URI cannot be used.
            NotInstalledError: A registry is named, and SQLAlchemy is not installed.
        """
        if registry_url:
            extras.need("--registry", *extras.SQL)
        return cls(Workspace.at(workspace), registry_url, tracking_uri)

    def prepare(self) -> Self:
        """Make the workspace, see that it can be written, and make the secret by which workers sign what they train.

        Raises:
            WorkspaceError: It cannot be written.
        """
        from orchestrator.records.files.origin import ensure_secret
        from orchestrator.records.files.storage import Storage

        self.place.create()
        Storage(self.place.root).probe()
        ensure_secret(self.place.root)
        return self

    @cached_property
    def evaluations(self) -> Evaluations:
        """The cells' files."""
        from orchestrator.records.files.evaluations import Evaluations

        return Evaluations(self.place.evaluations)

    @property
    def models(self) -> Models:
        """The trained models that launches keep."""
        from orchestrator.records.files.models import Models

        return Models(self.place.models)

    @cached_property
    def history(self) -> History:
        """What the data sets held whenever a launch looked."""
        from orchestrator.records.files.contents import History

        return History(self.place.data)

    def additions(self, experiment: str) -> AdditionsFile:
        """What flags added to an experiment."""
        from orchestrator.records.files.additions import AdditionsFile

        return AdditionsFile(self.place.additions(experiment))

    @property
    def rates(self) -> Rates:
        """How fast cells ran in rehearsals."""
        from orchestrator.pricing.rates import Rates

        return Rates(self.place.rates)

    def ledger(self, experiment: str) -> Ledger:
        """What was found of an experiment's cells of older environments."""
        from orchestrator.reproduction.anchor_log import Ledger

        return Ledger(self.place.drift(experiment))

    def registry(self) -> Registry:
        """The registry, created if absent."""
        from orchestrator.records.sql.registry import Registry

        return Registry.open(self.registry_url or self.place.registry)

    def registry_if_any(self) -> AbstractContextManager[Registry | None]:
        """A registry to read from; asking a question creates none. None also where it cannot be read: see `unread`."""
        is_there = self.registry_url or self.place.has_registry()
        return self.registry() if is_there and not extras.missing(*extras.SQL) else nullcontext()

    def unread(self) -> list[str]:
        """That there is a registry which cannot be read here, in a sentence."""
        if not self.place.has_registry() or not extras.missing(*extras.SQL):
            return []
        unknown = "which cells failed or are running is not known"
        return [f"The registry is not read, as SQLAlchemy is not installed; {unknown}: {extras.INSTALL}"]

    @property
    def spool(self) -> Path:
        """Where what a service does not take waits; on this machine, whatever the workspace is."""
        spool = self.place.spool
        return spool if isinstance(spool, Path) else Path(tempfile.gettempdir()) / "orchestrator-spool"

    def tracking(self, experiment: str) -> Tracking:
        """The runs of an experiment in MLflow."""
        from orchestrator.records.tracking.runs import Tracking

        spool = self.spool
        if self.tracking_uri:
            return Tracking(self.tracking_uri, experiment, spool=spool)
        return Tracking(self.place.tracking, experiment, artifacts=self.place.artifacts.as_uri(), spool=spool)

    def checkpoints(self, experiment: Experiment, launch: str) -> Checkpoints:
        """Where the cells of a launch keep their states, as often as the experiment says."""
        from orchestrator.records.files.checkpoints import Checkpoints

        epochs = experiment.checkpoint.epochs
        minutes = experiment.checkpoint.minutes
        return Checkpoints(self.place.checkpoints, launch, every_epochs=epochs, every_seconds=minutes and 60 * minutes)

    def anchors(self, launch: str) -> Stores:
        """Where a launch trains old cells again; deleted afterwards."""
        return Stores(self.place.anchors(launch))
