"""The images of a new lot: in folders of classes, in one folder, or in Parquet files."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.deployment.certificate import Certificate, PixelRule
from orchestrator.deployment.scored import UNKNOWN
from orchestrator.errors import RequestError
from trainers.datasets import grouped, pictures
from trainers.datasets.scan import EXTENSIONS, scan

BATCH = 256
"""Images in memory at a time."""

_TOLD = 3
"""Damaged images that a message names."""


class LotImage(NamedTuple):
    """An encoded image: its name in messages, its bytes or file, and its class."""

    name: str
    content: bytes | Path
    label: int


class Lot(NamedTuple):
    """A new lot, not yet decoded."""

    pictures: Iterator[LotImage]
    is_labelled: bool
    groups: NDArray[np.int64] | None = None
    """What each image belongs to, in their order, where the lot is labelled and the certificate promises per group."""


def lot(new: Path, certificate: Certificate) -> Lot:
    """Find the images of a lot: `CLASS/IMAGE` are labelled, images without folders are not; so are rows of Parquet.

    Args:
        new: A folder, or a Parquet file.
        certificate: Of the model; it names the classes.

    Raises:
        RequestError: There is nothing to read, or a class that the model does not know.
    """
    if not new.exists():
        raise RequestError(f"There is no {new}.")
    if files := [new] if new.is_file() else sorted(new.glob("*.parquet")):
        return _rows(files, certificate)
    found = scan(new)
    if found.names and found.stray:
        raise RequestError(f"{new} has images in folders and beside them: a lot is labelled or not.")
    if found.stray:
        return Lot((LotImage(str(new / name), new / name, UNKNOWN) for name in found.stray), is_labelled=False)
    if not found.names:
        raise RequestError(
            f"{new} has no images: expected CLASS/IMAGE, images, or *.parquet ({', '.join(EXTENSIONS)})."
        )
    names = sorted({name.partition("/")[0] for name in found.names})
    numbers = dict(zip(names, _numbers(names, certificate.classes, str(new)), strict=True))
    labelled = (LotImage(str(new / name), new / name, numbers[name.partition("/")[0]]) for name in found.names)
    groups = _groups(new, found.names, certificate) if certificate.grouped else None
    return Lot(labelled, is_labelled=True, groups=groups)


def every_image(place: Path, reading: PixelRule, column: str) -> tuple[list[str], Iterator[LotImage]]:
    """All images of a place, without labels, and what each is called.

    Args:
        place: A folder, where an image is called by its file's name without the ending, or, where two would be called
            the same, by its path; or Parquet.
        reading: It names the column of images.
        column: The column of what images are called.

    Raises:
        RequestError: There is nothing to read.
    """
    if not place.exists():
        raise RequestError(f"There is no {place}.")
    if files := [place] if place.is_file() else sorted(place.glob("*.parquet")):
        tables = [_opened(file) for file in files]
        for file, table in zip(files, tables, strict=True):
            if lacking := [name for name in (reading.image, column) if name not in table.schema_arrow.names]:
                raise RequestError(f"{file} has no column '{lacking[0]}'.")
        names = [str(name) for table in tables for name in table.read([column]).column(column).to_pylist()]
        parts = (_pictures(file, table, reading, None) for file, table in zip(files, tables, strict=True))
        return names, itertools.chain.from_iterable(parts)
    found = scan(place)
    files_there = [*found.stray, *found.names]
    stems = [Path(name).stem for name in files_there]
    names = stems if len(set(stems)) == len(stems) else files_there
    return names, (LotImage(str(place / name), place / name, UNKNOWN) for name in files_there)


def _groups(new: Path, names: Sequence[str], certificate: Certificate) -> NDArray[np.int64]:
    """The group of each image, as a number: its sub-folder, of whichever class, or itself; equal files share one."""
    inner = [name.partition("/")[2].rpartition("/")[0] for name in names]
    if certificate.reading.has_groups and not any(inner):
        raise RequestError(f"{_ungrouped(new)} Put the images of a group into a folder, as in CLASS/GROUP/IMAGE.")
    own = [f"{folder}/" if folder else name for folder, name in zip(inner, names, strict=True)]
    return _numbered(grouped.merged(own, [_digest(new / name) for name in names]))


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:  # `decoded` names it
        return str(file)


def _ungrouped(new: Path) -> str:
    return f"{new} does not say which images belong together, but the certificate promises rates of groups."


def _numbered(groups: Sequence[str]) -> NDArray[np.int64]:
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def decoded(found: Lot, reading: PixelRule) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int32]]]:
    """Batches of images, uint8 (n, C, size, size), and their labels (n,).

    Raises:
        RequestError: Some cannot be decoded.
    """
    decode = partial(_decoded, reading=reading)
    with pictures.quietly(), ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(itertools.islice(found.pictures, BATCH)):
            images = list(pool.map(decode, batch))
            if damaged := [image for image in images if isinstance(image, str)]:
                more = f" and {len(damaged) - _TOLD} more" if len(damaged) > _TOLD else ""
                raise RequestError(f"These images cannot be decoded: {'; '.join(damaged[:_TOLD])}{more}.")
            labels = np.array([picture.label for picture in batch], np.int32)
            yield np.stack([image for image in images if not isinstance(image, str)]), labels


def _decoded(picture: LotImage, reading: PixelRule) -> NDArray[np.uint8] | str:
    """The image, or what is wrong with it."""
    try:
        content = picture.content if isinstance(picture.content, bytes) else picture.content.read_bytes()
        how = pictures.Reading(reading.levels, reading.upright)
        opener = partial(pictures.opened, content)
        return pictures.decode(opener, size=reading.size, channels=reading.channels, reading=how)
    except Exception as error:  # noqa: BLE001  # Pillow's decoders can raise anything on damaged files
        return f"{picture.name} ({pictures.complaint(error)})"


def _rows(files: Sequence[Path], certificate: Certificate) -> Lot:
    reading = certificate.reading
    tables = [_opened(file) for file in files]
    labelled = {reading.label in table.schema_arrow.names for table in tables}
    if len(labelled) > 1:
        raise RequestError(f"Some files in {files[0].parent} have a column '{reading.label}' and some have not.")
    for file, table in zip(files, tables, strict=True):
        if reading.image not in table.schema_arrow.names:
            raise RequestError(f"{file} has no column '{reading.image}' of images.")
    is_labelled = labelled == {True}
    is_grouped = certificate.grouped and reading.has_groups
    classes = certificate.classes if is_labelled else None
    parts = (_pictures(file, table, reading, classes) for file, table in zip(files, tables, strict=True))
    groups = _group_column(files, tables, reading.group) if is_labelled and is_grouped else None
    return Lot(itertools.chain.from_iterable(parts), is_labelled, groups)


def _group_column(files: Sequence[Path], tables: Sequence[pq.ParquetFile], column: str) -> NDArray[np.int64]:
    """What each row belongs to, as a number."""
    found = list[str]()
    for file, table in zip(files, tables, strict=True):
        if column not in table.schema_arrow.names:
            raise RequestError(f"{_ungrouped(file)} It has no column '{column}'.")
        values = table.read([column]).column(column)
        if values.null_count:
            raise RequestError(f"The column '{column}' of {file} has empty cells: fill them.")
        found += map(str, values.to_pylist())
    return _numbered(found)


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise RequestError(f"{file} cannot be read: {str(error).partition(chr(10))[0]}") from None


def _pictures(
    file: Path, table: pq.ParquetFile, reading: PixelRule, classes: Sequence[str] | None
) -> Iterator[LotImage]:
    """The images of a file, with their labels where these are wanted, as numbers among the classes."""
    columns = [reading.image] if classes is None else [reading.image, reading.label]
    names = _class_names(table, reading.label)
    row = 0
    for batch in table.iter_batches(BATCH, columns=columns):
        labels = [UNKNOWN] * batch.num_rows
        if classes is not None:
            labels = _labels(batch.column(reading.label).to_pylist(), names, classes, str(file))
        for cell, label in zip(batch.column(reading.image).to_pylist(), labels, strict=True):
            content = cell.get("bytes") if isinstance(cell, dict) else cell
            if not isinstance(content, bytes):
                raise RequestError(f"Row {row} of {file} holds no encoded image in column '{reading.image}'.")
            yield LotImage(f"row {row} of {file}", content, label)
            row += 1


def _class_names(table: pq.ParquetFile, column: str) -> list[str]:
    """The names of numbered classes in the metadata of Hugging Face's `datasets`; empty if there are none."""
    try:
        held: dict[bytes, bytes] = table.schema_arrow.metadata or {}
        return list(map(str, json.loads(held[b"huggingface"])["info"]["features"][column]["names"]))
    except (KeyError, TypeError, ValueError):
        return []


def _labels(told: Sequence[Any], names: Sequence[str], classes: Sequence[str], where: str) -> list[int]:
    if any(label is None for label in told):
        raise RequestError(f"{where} has rows without a label: label all of a lot, or leave out the column.")
    if any(isinstance(label, int) and names and not 0 <= label < len(names) for label in told):
        raise RequestError(f"{where} has numbers of classes that its metadata do not name.")
    known = [names[label] if isinstance(label, int) and names else label for label in told]
    return _numbers(known, classes, where)


def _numbers(labels: Sequence[str | int], classes: Sequence[str], where: str) -> list[int]:
    """The numbers of classes that are given by name or number."""
    places = {name: place for place, name in enumerate(classes)}
    found = [
        label if isinstance(label, int) and 0 <= label < len(classes) else places.get(str(label), UNKNOWN)
        for label in labels
    ]
    if strange := sorted({str(label) for label, number in zip(labels, found, strict=True) if number == UNKNOWN}):
        few = ", ".join(strange[:5])
        raise RequestError(
            f"{where} has classes that the model does not know: {few}. It knows {', '.join(classes[:20])}. A lot "
            "without labels is one folder of images."
        )
    return found
