"""The file of what flags added to an experiment: `experiments/NAME.additions.json` in the workspace."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import NewerFormatError, WorkspaceError
from orchestrator.experiment.additions import Additions, Entry
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Location

VERSION = 1
"""The version of the file's format. A reader refuses later versions."""


@dataclass(frozen=True)
class AdditionsFile:
    """The entries about one experiment, in one file to which entries are only appended."""

    place: Location

    def read(self) -> Additions:
        """The entries so far; none if there is no file.

        Raises:
            WorkspaceError: The file is damaged, or cannot be read.
            NewerFormatError: A newer version of this program wrote it.
        """
        try:
            content = Storage(self.place.parent).read(self.place.name)
        except OSError as error:
            raise WorkspaceError(f"{self.place} cannot be read: {error.strerror or error}.") from None
        if content is None:
            return Additions()
        try:
            document: dict[str, Any] = json.loads(content)
            version = document["version"]
            if isinstance(version, int) and version > VERSION:
                raise NewerFormatError(
                    f"{self.place} has version {version}; this program reads {VERSION}: upgrade the program."
                )
            return Additions(_ENTRIES.validate_python(document["entries"]))
        except ValidationError as error:
            first = error.errors()[0]
            self._refuse(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        except (ValueError, KeyError, TypeError) as error:
            self._refuse(str(error) if isinstance(error, ValueError) else "it has not the fields of such a file")

    def append(self, entry: Entry) -> Additions:
        """Append an entry, or of an addition what does not stand yet; the file is replaced whole or not at all.

        Only one process at a time may append: `Registry.alone` sees to that.

        Raises:
            WorkspaceError: The file is damaged, or cannot be read or written.
            NewerFormatError: A newer version of this program wrote it.
        """
        before = self.read()
        fresh = before.news(entry) if entry.action == "add" else entry
        if fresh.is_empty:
            return before
        after = Additions((*before.entries, fresh))
        try:
            Storage(self.place.parent).write(self.place.name, _encoded(after))
        except OSError as error:
            raise WorkspaceError(f"{self.place} cannot be written: {error.strerror or error}.") from None
        return after

    def _refuse(self, reason: str) -> NoReturn:
        raise WorkspaceError(
            f"{self.place} is damaged ({reason}), so it is not known what was added to the experiment. Restore "
            "the file from a copy. If there is none, remove it and launch again with the flags that added something."
        ) from None


def _encoded(additions: Additions) -> bytes:
    """One line per entry, for whoever opens the file."""
    lines = [json.dumps(each.model_dump(mode="json", exclude_defaults=True)) for each in additions.entries]
    listed = ",\n  ".join(lines)
    return f'{{"version": {VERSION}, "entries": [\n  {listed}\n]}}\n'.encode()


_ENTRIES = TypeAdapter(tuple[Entry, ...])
