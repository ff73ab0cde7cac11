"""Rates that rehearsals measured in a workspace: `rates.json`, which only grows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter
from pydantic_core import from_json

from orchestrator.errors import DamagedFileError, NewerFormatError
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Location

VERSION = 1
"""Of such a file. A reader refuses what it does not know."""


@dataclass(frozen=True)
class CellRate:
    """How fast cells of one backbone on one data set ran on one kind of device, and what they took up."""

    backbone: str
    """By the catalogue's name, as `Cell.kind` has it; so is the data set."""
    dataset: str
    shape: tuple[int, int, int]
    """Channels, height and width of an image, as the network saw it."""
    classes: int
    device: str
    """The GPU by torch's name; without one, the processor as provenance has it."""
    cpus: int
    """Cores of one cell, and so its threads."""
    gpus: float
    """GPUs of one cell; 0 on a processor. Below 1, other cells shared the GPU while it was measured."""
    precision: str
    batch_size: int
    images_per_second: float
    """Of training, in its steady state: what the first step takes, for example to compile, is in `fixed_seconds`."""
    fixed_seconds: float
    """What a cell takes beside work that grows with its images: start, reading data, first step, files."""
    memory_bytes: int | None = None
    """Peak of its process."""
    gpu_memory_bytes: int | None = None
    """Peak on the GPU."""
    row_bytes: float | None = None
    """Of the cell's file, per test image."""
    source: str = "rehearsal"
    """What measured it, for people; for example `rehearsal on drawn images`."""
    machine: str = ""
    """The host."""
    when: float = 0.0
    """Seconds since 1970, UTC."""


@dataclass(frozen=True)
class Rates:
    """The file of rates."""

    place: Location

    def read(self) -> tuple[CellRate, ...]:
        """All rates, the oldest first; none where there is no file.

        Raises:
            DamagedFileError: The file does not hold rates.
            NewerFormatError: A newer version of this program wrote it.
        """
        content = Storage(self.place.parent).read(self.place.name)
        if content is None:
            return ()
        try:
            document = from_json(content)
            version = document["version"]
            if version > VERSION:
                raise NewerFormatError(f"{self.place} has version {version}; this program reads {VERSION}: upgrade it.")
            return _RATES.validate_python(document["rates"])
        except (ValueError, KeyError, TypeError):
            raise DamagedFileError(
                f"{self.place} does not hold rates: remove it, and the next rehearsal measures them again."
            ) from None

    def add(self, rates: Iterable[CellRate]) -> None:
        """Append rates, all or none."""
        document = {"version": VERSION, "rates": [asdict(rate) for rate in (*self.read(), *rates)]}
        text = json.dumps(document, indent=1, allow_nan=False) + "\n"
        Storage(self.place.parent).write(self.place.name, text.encode())


_RATES = TypeAdapter(tuple[CellRate, ...])
