"""The workspace: the folder, or the place in an object store, that holds everything a launch leaves behind."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from orchestrator.errors import RequestError, WorkspaceError

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss")
"""Object stores that pyarrow speaks to."""

_SECRET = re.compile(r"secret|token|password|key|sas", re.IGNORECASE)


@dataclass(frozen=True)
class Remote:
    """A place in an object store, joined by `/` as paths are.

    It holds no credentials, so that it may stand in any message and file: pyarrow finds
    them where the store's own tools do, in the environment or the machine's role.
    """

    uri: str
    """`SCHEME://BUCKET/PREFIX?QUERY`; the query is pyarrow's, e.g. `endpoint_override=HOST:PORT&scheme=http`."""

    @classmethod
    def at(cls, uri: str) -> Self:
        """The place of a URI as a user gives it.

        Raises:
            WorkspaceError: The URI names no bucket, or credentials.
        """
        parts = urlsplit(uri)
        if parts.scheme not in SCHEMES:
            raise WorkspaceError(f"A workspace is a folder or begins with {', '.join(f'{s}://' for s in SCHEMES)}.")
        if "@" in parts.netloc + parts.query or any(_SECRET.search(name) for name, _ in parse_qsl(parts.query)):
            raise WorkspaceError(
                "The workspace's URI holds credentials, which would end up in logs: leave them out, "
                "and put them into the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3://)."
            )
        if not parts.netloc or parts.fragment:
            raise WorkspaceError(f"{uri} is no place in an object store: write {parts.scheme}://BUCKET/PREFIX.")
        return cls(parts._replace(path=parts.path.rstrip("/")).geturl())

    def __truediv__(self, name: str) -> Remote:
        parts = urlsplit(self.uri)
        return Remote(parts._replace(path=f"{parts.path}/{quote(name, safe='/=')}").geturl())

    def __str__(self) -> str:
        return self.uri

    @property
    def name(self) -> str:
        """The last part."""
        return unquote(urlsplit(self.uri).path.rpartition("/")[2])

    @property
    def parent(self) -> Remote:
        """What it lies in."""
        parts = urlsplit(self.uri)
        return Remote(parts._replace(path=parts.path.rpartition("/")[0]).geturl())

    def as_uri(self) -> str:
        """The URI, by the name that `Path` has for it."""
        return self.uri


Location = Path | Remote
"""Where something lies: on this machine, or in an object store."""


@dataclass(frozen=True)
class Workspace:
    """Where each kind of file lies below one place."""

    root: Location
    """Absolute, because worker processes may run elsewhere."""

    @classmethod
    def at(cls, text: str) -> Self:
        """The workspace that a user names: a folder, or a URI such as `s3://BUCKET/PREFIX`.

        Raises:
            WorkspaceError: The URI cannot be used.
        """
        return cls(Remote.at(text) if "://" in text else Path(text).resolve())

    @property
    def evaluations(self) -> Location:
        """The per-cell files: the truth."""
        return self.root / "evaluations"

    @property
    def validation(self) -> Location:
        """The validation rows of the same cells, apart, so that a scan of the truth meets test rows only."""
        return self.root / "validation"

    @property
    def data(self) -> Location:
        """What the data sets held whenever a launch looked."""
        return self.root / "data"

    def results(self, experiment: str) -> Location:
        """The results table of an experiment."""
        return self.root / "results" / f"{experiment}.parquet"

    def compacted(self, experiment: str) -> Location:
        """The rows of all samples of an experiment, as one partitioned dataset."""
        return self.root / "compacted" / experiment

    def compacted_validation(self, experiment: str) -> Location:
        """The same of the validation splits: apart, so that a scan of either meets rows of one kind."""
        return self.root / "compacted-validation" / experiment

    def report(self, experiment: str) -> Location:
        """The HTML report of an experiment."""
        return self.root / "reports" / experiment / "index.html"

    @property
    def checkpoints(self) -> Location:
        """The states from which attempts go on, in a folder for each cell."""
        return self.root / "checkpoints"

    def drift(self, experiment: str) -> Location:
        """What was found of an experiment's cells of older environments."""
        return self.root / "drift" / f"{experiment}.json"

    def anchors(self, launch: str) -> Workspace:
        """Where a launch trains cells of older environments again; it is gone afterwards."""
        return Workspace(self.root / "drift" / f"anchors-{launch}")

    @property
    def spool(self) -> Location:
        """What the tracking server could not be told yet."""
        return self.root / "spool"

    @property
    def artifacts(self) -> Location:
        """MLflow's artefacts, where its store is the default one."""
        return self.root / "mlartifacts"

    def has_registry(self) -> bool:
        """Whether the default registry exists."""
        return isinstance(self.root, Path) and (self.root / "registry.db").exists()

    @property
    def registry(self) -> str:
        """The default registry's URL.

        Raises:
            RequestError: The workspace is in an object store, where there is none.
        """
        return self._sqlite("registry.db")

    @property
    def tracking(self) -> str:
        """The default MLflow store's URI; raises as `registry` does."""
        return self._sqlite("mlflow.db")

    def _sqlite(self, name: str) -> str:
        if isinstance(self.root, Remote):
            raise RequestError(
                f"The workspace {self.root} is in an object store, which cannot hold a database: "
                "name a registry and a tracking store that all machines reach, with --registry and --tracking."
            )
        return f"sqlite:///{self.root / name}"

    def create(self) -> None:
        """Make sure that the folder exists and can be written; in an object store there is nothing to make.

        Raises:
            WorkspaceError: It cannot.
        """
        if isinstance(self.root, Remote):
            return
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
