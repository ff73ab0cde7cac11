"""The workspace: the folder, or the location in an object store, where a launch stores everything."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from orchestrator.errors import RequestError, WorkspaceError

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss")
"""The schemes of the object stores that pyarrow supports."""

ANCHORS = "anchors-"
"""With which the names of scratch workspaces begin."""

REHEARSALS = "rehearsals"
"""The folder of the scratch workspaces of rehearsals."""

PROBE = ".probe-"
"""With which the names of files begin that show whether a folder can be written."""

_SECRET = re.compile(r"secret|token|password|key|sas", re.IGNORECASE)


@dataclass(frozen=True)
class Remote:
    """A location in an object store, joined with `/` like a path.

    It holds no credentials, so it may appear in any message and file. Pyarrow finds credentials where the
    store's own tools do: in the environment or the machine's role.
    """

    uri: str
    """`SCHEME://BUCKET/PREFIX?QUERY`; pyarrow reads the query, such as `endpoint_override=HOST:PORT&scheme=http`."""

    @classmethod
    def at(cls, uri: str) -> Self:
        """The location of a URI that a user gives.

        Raises:
            WorkspaceError: The URI names no bucket, or contains credentials.
        """
        parts = urlsplit(uri)
        if parts.scheme not in SCHEMES:
            raise WorkspaceError(f"A workspace is a folder or begins with {', '.join(f'{s}://' for s in SCHEMES)}.")
        if "@" in parts.netloc + parts.query or any(_SECRET.search(name) for name, _ in parse_qsl(parts.query)):
            raise WorkspaceError(
                "The workspace's URI contains credentials, which would appear in logs: remove them, "
                "and set them in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3://)."
            )
        if not parts.netloc or parts.fragment:
            raise WorkspaceError(f"{uri} is not a location in an object store: write {parts.scheme}://BUCKET/PREFIX.")
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
        """The location that contains it."""
        parts = urlsplit(self.uri)
        return Remote(parts._replace(path=parts.path.rpartition("/")[0]).geturl())

    def as_uri(self) -> str:
        """The URI; named as in `Path`."""
        return self.uri


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, whatever characters its path has."""
    return f"sqlite:///{re.sub('[%?#]', lambda found: quote(found[0]), str(path))}"


Location = Path | Remote
"""A path on this machine, or a location in an object store."""


@dataclass(frozen=True)
class Workspace:
    """Where each kind of file is stored below one location."""

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
        """The folder of the cells' files, from which everything else can be rebuilt."""
        return self.root / "evaluations"

    @property
    def validation(self) -> Location:
        """The validation rows of the same cells, apart from the files, so that scans of these read test rows only."""
        return self.root / "validation"

    @property
    def certification(self) -> Location:
        """The rows of test images that were kept apart for a promise; no scan of the cells' files reads them."""
        return self.root / "certification"

    @property
    def data(self) -> Location:
        """The recorded contents of the data sets, from each launch."""
        return self.root / "data"

    def experiment(self, name: str) -> Location:
        """An experiment as its file had it at the last launch."""
        return self.root / "experiments" / f"{name}.json"

    def results(self, experiment: str) -> Location:
        """The results table of an experiment."""
        return self.root / "results" / f"{experiment}.parquet"

    def additions(self, experiment: str) -> Location:
        """What flags added to an experiment."""
        return self.root / "experiments" / f"{experiment}.additions.json"

    def compacted(self, experiment: str) -> Location:
        """The rows of all samples of an experiment, as one partitioned dataset."""
        return self.root / "compacted" / experiment

    def compacted_validation(self, experiment: str) -> Location:
        """The same for the validation splits, in a separate folder, so that a scan of either reads rows of one kind."""
        return self.root / "compacted-validation" / experiment

    def report(self, experiment: str) -> Location:
        """The HTML report of an experiment."""
        return self.root / "reports" / experiment / "index.html"

    @property
    def checkpoints(self) -> Location:
        """The saved states from which attempts continue, one folder per cell."""
        return self.root / "checkpoints"

    @property
    def rates(self) -> Location:
        """How fast cells ran in rehearsals."""
        return self.root / "rates.json"

    @property
    def logs(self) -> Location:
        """What commands printed: the last attempt at each cell, one file per cell."""
        return self.root / "logs"

    @property
    def models(self) -> Location:
        """Trained models: those that launches keep for `deploy`, and those that commands left, as ONNX."""
        return self.root / "models"

    def drift(self, experiment: str) -> Location:
        """The anchor log of an experiment: how its cells from older environments compare."""
        return self.root / "drift" / f"{experiment}.json"

    def anchors(self, launch: str) -> Workspace:
        """The scratch workspace in which a launch retrains cells of older environments; deleted afterwards."""
        return Workspace(self.root / "drift" / f"{ANCHORS}{launch}")

    def rehearsal(self, number: str) -> Workspace:
        """The scratch workspace of a rehearsal; deleted afterwards."""
        return Workspace(self.root / REHEARSALS / number)

    @property
    def spool(self) -> Location:
        """Updates that the tracking server has not accepted yet."""
        return self.root / "spool"

    @property
    def artifacts(self) -> Location:
        """MLflow's artifacts, if its store is the default one."""
        return self.root / "mlartifacts"

    def has_registry(self) -> bool:
        """Whether the default registry exists."""
        return isinstance(self.root, Path) and (self.root / "registry.db").exists()

    @property
    def registry(self) -> str:
        """The default registry's URL.

        Raises:
            RequestError: The workspace is in an object store, which has no default registry.
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
                "pass --registry and --tracking with a registry and a tracking store that all machines reach."
            )
        return sqlite_url(self.root / name)

    def create(self) -> None:
        """Create the folder if needed and check that it can be written; an object store needs no folder.

        Raises:
            WorkspaceError: It cannot be written.
        """
        if isinstance(self.root, Remote):
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f"{PROBE}{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise WorkspaceError(
                f"The workspace {self.root} cannot be written ({error.strerror}). "
                "Choose another with --workspace or ORCHESTRATOR_WORKSPACE."
            ) from error
