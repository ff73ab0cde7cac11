"""Reads tables of scores: Parquet, CSV and npz files, and frames and arrays of Python. Nothing is ever unpickled."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import compute, csv

from orchestrator.judging import cells, logs
from orchestrator.judging.source import Array, ScoresError, Source

DELIMITERS = ",;\t"

PICKLES = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".npy"}

KNOWN = "Parquet (.parquet), CSV (.csv), NumPy (.npz), lm-eval (samples_*.jsonl), inspect_ai (.json, .eval)"


def sources(path: Path) -> Iterator[Source]:
    """The tables of a file, or of a folder: what `export` made, or logs of evaluations.

    Raises:
        ScoresError: It cannot be read; a sentence for each problem.
    """
    if path.is_dir():
        yield from _of_folder(path)
        return
    if not path.exists():
        raise ScoresError([f"{path}: there is no such file."])
    try:
        yield _read(path)
    except PermissionError:
        raise ScoresError([f"{path}: cannot be read: permission denied."]) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError, zipfile.BadZipFile, EOFError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise ScoresError([f"{path}: is not a readable {path.suffix or 'table'} file: {reason}."]) from None


def _read(path: Path) -> Source:
    match path.suffix.lower():
        case ".parquet" | ".pq":
            return _parquet(path)
        case ".csv" | ".tsv":
            return _csv(path)
        case ".npz":
            return _npz(path)
        case ".jsonl":
            return logs.lm_eval(path)
        case ".json" | ".eval":
            return logs.inspect_ai(path)
        case suffix if suffix in PICKLES:
            raise ScoresError(
                [f"{path}: files of Python objects are not read, since they can run code. Read: {KNOWN}."]
            )
        case _:
            raise ScoresError([f"{path}: the format '{path.suffix}' is not known. Read: {KNOWN}."])


def _of_folder(folder: Path) -> Iterator[Source]:
    if (folder / "evaluations").is_dir():
        yield from cells.exported(folder)
        return
    found = sorted([*folder.rglob("samples_*.jsonl"), *folder.rglob("*.eval")])
    if not found:
        text = f"{folder}: neither a folder that `export` made, nor one with samples_*.jsonl or .eval logs: name files."
        raise ScoresError([text])
    for path in found:
        yield from sources(path)


def _parquet(path: Path) -> Source:
    file = pq.ParquetFile(path)
    table = file.read()
    metadata = {key.decode(): value.decode(errors="replace") for key, value in (table.schema.metadata or {}).items()}
    if "cell" in metadata:
        return cells.of_file(path, table, metadata["cell"])
    return of_table(str(path), table, _classes(metadata.get("classes")))


def _classes(text: str | None) -> tuple[str, ...] | None:
    """The names of classes in a file's metadata: a JSON list, or names between commas."""
    if text is None:
        return None
    try:
        return tuple(map(str, json.loads(text)))
    except ValueError:
        return tuple(part.strip() for part in text.split(","))


def _csv(path: Path) -> Source:
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    if not header.strip():
        raise ScoresError([f"{path}: the file is empty."])
    delimiter = max(DELIMITERS, key=header.count)
    names = [name.strip().strip('"') for name in header.rstrip("\r\n").split(delimiter)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ScoresError([f"{path}: two columns are called '{name}'." for name in twice])
    # Numbers are parsed later, so that each wrong one is named with its row; 007 stays a name.
    kept = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    options = csv.ReadOptions(column_names=names, skip_rows=1)
    table = csv.read_csv(path, options, csv.ParseOptions(delimiter=delimiter), kept)
    return of_table(str(path), table)


def _npz(path: Path) -> Source:
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except ValueError as error:
        if "pickle" in str(error):
            text = f"{path}: an array holds Python objects, which are not read, since they can run code: save numbers or texts."  # noqa: E501
            raise ScoresError([text]) from None
        raise ScoresError([f"{path}: is not a readable .npz file: {error}."]) from None
    return of_arrays(str(path), arrays)


def of_table(name: str, table: pa.Table, classes: tuple[str, ...] | None = None) -> Source:
    """An Arrow table as columns of NumPy; nested columns other than lists of numbers are left out.

    Raises:
        ScoresError: The rows of a list have different lengths.
    """
    columns = dict[str, Array]()
    matrix = dict[str, Array]()
    for column in table.column_names:
        values = table[column].combine_chunks()
        kind = values.type
        if pa.types.is_dictionary(kind):
            values = values.cast(kind.value_type)
            kind = kind.value_type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            if pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type):
                matrix[column] = _matrix(name, column, values)
        elif pa.types.is_integer(kind) and values.null_count:
            columns[column] = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        elif not pa.types.is_nested(kind):
            columns[column] = values.to_numpy(zero_copy_only=False)
    return Source(name, columns, matrix, classes)


def _matrix(name: str, column: str, values: Any) -> Array:
    counted = compute.call_function("list_value_length", [values]).fill_null(-1)
    lengths = counted.to_numpy() if len(values) else np.zeros(1, int)
    odd = np.flatnonzero(lengths != lengths[0])
    if len(odd) or lengths[0] < 0:
        row = int(odd[0]) + 1 if len(odd) else 1
        text = f"{name}: row {row}, column '{column}': a list of {max(lengths[0], 0)} scores is needed, as in row 1."
        raise ScoresError([text])
    return values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), -1)


def of_arrays(name: str, arrays: Mapping[str, Any]) -> Source:
    """Arrays by name: of n entries, of (n, k) scores, or one entry for all rows.

    Raises:
        ScoresError: Their lengths differ.
    """
    known = {key: np.asarray(value) for key, value in arrays.items()}
    classes = known.pop("classes", None)
    told = {key: value.item() for key, value in known.items() if value.ndim == 0}
    columns = {key: value for key, value in known.items() if value.ndim == 1}
    matrix = {key: value for key, value in known.items() if value.ndim == 2}  # noqa: PLR2004 - samples and classes
    lengths = {key: len(value) for key, value in {**columns, **matrix}.items()}
    if len(set(lengths.values())) > 1:
        text = ", ".join(f"{key} {count}" for key, count in lengths.items())
        raise ScoresError([f"{name}: the arrays have different lengths: {text}."])
    found = None if classes is None else tuple(map(str, classes.tolist()))
    return Source(name, columns, matrix, found, told)


def of_frame(name: str, frame: Any) -> Source:
    """A frame of pandas, polars or Arrow, or a mapping of arrays.

    Raises:
        ScoresError: It is none of these.
    """
    if isinstance(frame, Mapping):
        return of_arrays(name, {str(column): values for column, values in frame.items()})
    if isinstance(frame, pa.Table):
        return of_table(name, frame)
    if not all(isinstance(column, str) for column in getattr(frame, "columns", ())):  # classes as numbers, in pandas
        frame = frame.rename(columns=str)
    if hasattr(frame, "__arrow_c_stream__"):
        return of_table(name, pa.table(frame))
    if hasattr(frame, "__dataframe__"):
        from pyarrow.interchange import from_dataframe

        return of_table(name, from_dataframe(frame))
    raise ScoresError([f"{name}: a {type(frame).__name__} is no table: pass a path, a frame or a mapping of arrays."])
