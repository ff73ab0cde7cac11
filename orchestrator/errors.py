"""The exception tree. Every message is one a person can act on.

OrchestratorError
├── RequestError               the request is wrong, nothing was started (exit code 2)
│   ├── ExperimentError        an experiment file, with every problem found in it
│   ├── WorkspaceError         the workspace cannot be read or written
│   ├── NewerFormatError       a file was written by a newer version of this program
│   └── UnreachableError       a service (tracking, registry, Ray) does not answer
└── DamagedFileError           a cell's file cannot be trusted
    └── LostRowsError          only the file of its validation rows cannot
"""

from __future__ import annotations

import re


class OrchestratorError(Exception):
    """Any error of ours."""


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
    """A file was written by a newer version of this program, and is left as it is."""


class UnreachableError(RequestError):
    """A service does not answer."""


class DamagedFileError(OrchestratorError):
    """A cell's file is truncated, altered or of a foreign schema."""


class LostRowsError(DamagedFileError):
    """A cell's own file is whole, but the file of its validation rows is missing or another."""


def masked(text: str) -> str:
    """Hide user and password of the URLs in a text, and passwords in their queries."""
    return re.sub(r"(password|token)=[^&\s]+", r"\1=***", re.sub(r"://\S*@", "://***@", text))
