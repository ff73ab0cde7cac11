"""The workspace: the folder that holds everything a launch leaves behind."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import WorkspaceError


@dataclass(frozen=True)
class Workspace:
    """Where each kind of file lies below one folder."""

    root: Path
    """Absolute, because worker processes may run elsewhere."""

    @property
    def evaluations(self) -> Path:
        """The per-cell files: the truth."""
        return self.root / "evaluations"

    def results(self, experiment: str) -> Path:
        """The results table of an experiment."""
        return self.root / "results" / f"{experiment}.parquet"

    @property
    def artifacts(self) -> Path:
        """MLflow's artefacts, where its store is the default one."""
        return self.root / "mlartifacts"

    def has_registry(self) -> bool:
        """Whether the default registry exists."""
        return (self.root / "registry.db").exists()

    @property
    def registry(self) -> str:
        """The default registry's URL."""
        return f"sqlite:///{self.root / 'registry.db'}"

    @property
    def tracking(self) -> str:
        """The default MLflow store's URI."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    def create(self) -> None:
        """Make sure that the folder exists and can be written.

        Raises:
            WorkspaceError: It cannot.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise WorkspaceError(
                f"The workspace {self.root} cannot be written ({error.strerror}). "
                "Choose another with --workspace or ORCHESTRATOR_WORKSPACE."
            ) from None
