"""An exported folder described in Croissant 1.0 (mlcommons.org/croissant), for dataset searches and loaders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from orchestrator.experiment.model import Experiment
from orchestrator.records.files import cell_file, cell_rows
from trainers.metrics import MEASURES

_PARQUET = "application/x-parquet"

_WORDS = (
    "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset "
    "jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source "
    "subField transform"
)

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{word: f"cr:{word}" for word in _WORDS.split()},
}
"""What the words mean, as the standard gives it for all who use it."""


def croissant(experiment: Experiment, results_sha256: str, *, validation: bool = False) -> dict[str, Any]:
    """The description, as JSON-LD.

    Args:
        experiment: What the folder holds.
        results_sha256: Of the file `results.parquet`; the cells' files have checksums of their own.
        validation: Whether there are files of validation rows.
    """
    table = {
        "@type": "cr:FileObject",
        "@id": "results.parquet",
        "name": "results.parquet",
        "contentUrl": "results.parquet",
        "encodingFormat": _PARQUET,
        "sha256": results_sha256,
    }
    of_table = {"fileObject": {"@id": table["@id"]}}
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": experiment.name,
        "description": experiment.question or "An experiment that states no question.",
        "distribution": [table, _file_set("evaluations"), *([_file_set("validation")] if validation else [])],
        "recordSet": [
            _records("results", "One model.", _fields("results", cell_rows.SCHEMA, of_table)),
            _samples("samples", "A test sample of a model.", "evaluations"),
            *([_samples("validation_samples", "A validation sample of a model.", "validation")] if validation else []),
        ],
    }


def _file_set(folder: str) -> dict[str, Any]:
    """The files of all models below a folder."""
    includes = f"{folder}/*/*/*/*.parquet"
    return {"@type": "cr:FileSet", "@id": folder, "name": folder, "includes": includes, "encodingFormat": _PARQUET}


def _samples(records: str, what: str, folder: str) -> dict[str, Any]:
    """The rows of these files."""
    source = {"fileSet": {"@id": folder}}
    model = {
        "@type": "cr:Field",
        "@id": f"{records}/cell_id",
        "name": "cell_id",
        "description": "The model, as in the results.",
        "dataType": "sc:Text",
        "source": {
            **source,
            "extract": {"fileProperty": "filename"},
            "transform": {"regex": r"^([0-9a-f]+)\.parquet$"},
        },
    }
    return _records(records, what, [model, *_fields(records, cell_file.SCHEMA, source)])


def _records(name: str, what: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": what, "field": fields}


def _fields(records: str, schema: pa.Schema, source: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:Field",
            "@id": f"{records}/{field.name}",
            "name": field.name,
            "dataType": _kind(field.type.value_type if pa.types.is_list(field.type) else field.type),
            "source": {**source, "extract": {"column": field.name}},
        }
        | ({"repeated": True} if pa.types.is_list(field.type) else {})
        | ({"description": MEASURES[field.name]} if field.name in MEASURES else {})
        for field in schema
    ]


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
