"""The exception tree. Every message says what a person can do.

OrchestratorError
├── RequestError               the request is wrong, nothing was started (exit code 2)
│   ├── ExperimentError        an experiment file, with every problem found in it
│   ├── WorkspaceError         the workspace cannot be read or written
│   ├── NewerFormatError       a file was written by a newer version of this program
│   ├── NotInstalledError      packages are missing that a light install leaves out (`extras`)
│   └── UnreachableError       a service (tracking, registry, Ray) does not answer
│       └── BusyError          it is there, and cannot be used at present
├── OutageError                a launch that had begun ended because a service stayed away (exit code 1)
└── DamagedFileError           a cell's file cannot be trusted
    └── LostRowsError          only the file of its validation rows cannot
"""

from __future__ import annotations


class OrchestratorError(Exception):
    """Any error that this program raises on purpose."""


class RequestError(OrchestratorError):
    """The request is wrong; nothing was started."""


class ExperimentError(RequestError):
    """An experiment file is wrong.

    Args:
        problems: One `file:line: sentence` for each problem, in the order of the file.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class WorkspaceError(RequestError):
    """The workspace cannot be read or written."""


class NewerFormatError(RequestError):
    """A newer version of this program wrote a file, which is left unchanged."""


class UnreachableError(RequestError):
    """A service does not answer."""


class BusyError(UnreachableError):
    """A service is there, and asks to be left alone for a while."""


class OutageError(OrchestratorError):
    """A service that a launch needs stayed away; what is finished is kept."""


class DamagedFileError(OrchestratorError):
    """A cell's file is truncated, altered or has an unknown schema."""


class LostRowsError(DamagedFileError):
    """A cell's own file is intact, but the file of its validation rows is missing or does not match."""
