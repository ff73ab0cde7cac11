"""The model that a command left, and the test images that it is compared on, which the user names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.deployment.certificate import PixelRule
from orchestrator.deployment.lot import Lot, decoded, every_image
from orchestrator.errors import RequestError
from orchestrator.experiment.plan import Cell
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Location

SAMPLE = "sample"
"""The column of Parquet files that says which sample an image is."""

HOW = "a folder of images that are called by their samples, or Parquet with columns 'sample' and 'image'"


def content_of(cell: Cell, content: Mapping[str, Any], workspace: Location) -> bytes:
    """The ONNX file that a cell's command left.

    Args:
        cell: The cell.
        content: What its file says.
        workspace: Where it is.

    Raises:
        RequestError: There is none, or it was changed.
    """
    if (left := content["provenance"].get("model")) is None:
        raise RequestError(refusal(cell, content))
    found = Storage(workspace).read(left["file"])
    if found is None or hashlib.sha256(found).hexdigest() != left["sha256"]:
        what = "is gone" if found is None else "was changed"
        raise RequestError(f"The model that the command of {cell.name} left {what}: {_told(left)}.")
    return found


def refusal(cell: Cell, content: Mapping[str, Any]) -> str:
    """Why a model cannot be compared where nobody names the test images, and what there is of it."""
    told = (
        f"{cell.name} was trained by a command, whose test images this program does not have, so that it cannot check"
    )
    if (left := content["provenance"].get("model")) is None:
        return f"{told} a model. The command left none either: it may write an ONNX file to '{{model}}'."
    return f"{told} the scores of the file that the command left: {_told(left)}. Name the images by --inputs: {HOW}."


def _told(left: Mapping[str, Any]) -> str:
    return f"{left['file']} in the workspace, SHA-256 {left['sha256']}"


class Inputs(NamedTuple):
    """The images of a split by the numbers of their samples."""

    where: str
    places: Mapping[int, int]
    """Of each sample among the images."""
    images: NDArray[np.uint8]
    """(n, C, H, H)."""

    @property
    def digest(self) -> str:
        """SHA-256 of the pixels, in the order of the samples."""
        order = [place for _, place in sorted(self.places.items())]
        return hashlib.sha256(self.images[order].tobytes()).hexdigest()

    def of(self, sample: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The images of samples.

        Raises:
            RequestError: Some have none.
        """
        if lacking := [number for number in sample.tolist() if number not in self.places]:
            raise RequestError(
                f"{self.where} has no image of {len(lacking)} of {sample.size} test samples, such as {lacking[0]}."
            )
        return self.images[[self.places[number] for number in sample.tolist()]]


def read(path: Path, reading: PixelRule) -> Inputs:
    """Images with their samples, as a new lot is read.

    Samples that are whole numbers keep them. Other names are numbered in their order, as those of a command's scores
    are: then there must be an image of every test sample, and no other.

    Raises:
        RequestError: They cannot be read, or two images are one sample.
    """
    names, pictures = every_image(path, reading, SAMPLE)
    rank = {name: place for place, name in enumerate(sorted(set(names)))}
    is_numbered = all(name.isdecimal() for name in names)
    places = dict[int, int]()
    for place, name in enumerate(names):
        number = int(name) if is_numbered else rank[name]
        if number in places:
            raise RequestError(f"{path} has more than one image of sample '{name}'.")
        places[number] = place
    parts = [images for images, _ in decoded(Lot(pictures, is_labelled=False), reading)]
    if not parts:
        raise RequestError(f"{path} has no images: expected {HOW}.")
    return Inputs(str(path), places, np.concatenate(parts))
