"""Reads the sample logs of lm-eval and inspect_ai, whose formats are read here without these packages.

lm-eval (`--log_samples`) writes a JSON object per line and document, with a number under the name of each metric.
inspect_ai writes one JSON document, or a zip file (`.eval`) with one per sample, which has a score of each scorer.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.judging.source import ScoresError, Source

LM_EVAL = re.compile(r"samples_(?P<task>.+?)(_\d{4}-\d{2}-\d{2}T[\d.-]+)?")

GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0}
"""The numbers by which inspect_ai counts grades: correct, partly correct, incorrect, no answer."""


def lm_eval(path: Path) -> Source:
    """A `samples_TASK_DATE.jsonl` in the folder of its model: columns `sample` and one per metric and filter.

    Raises:
        ScoresError: A line is not of that format.
    """
    lines = list(_lines(path))
    problems = [
        f"{path}: row {row}: 'doc_id' is missing: is this a sample log of lm-eval?"
        for row, line in lines
        if "doc_id" not in line
    ]
    if problems or not lines:
        raise ScoresError(problems[:3] or [f"{path}: the file is empty."])
    records = [line for _, line in lines]
    filters = list(dict.fromkeys(str(line.get("filter", "none")) for line in records))
    ids = list(dict.fromkeys(str(line["doc_id"]) for line in records))
    place = {name: row for row, name in enumerate(ids)}
    columns: dict[str, Any] = {"sample": np.array(ids)}
    seen = set[tuple[str, str]]()
    for line in records:
        key = (str(line.get("filter", "none")), str(line["doc_id"]))
        if key in seen:
            raise ScoresError([f"{path}: 'doc_id' {key[1]} is there twice with filter '{key[0]}'."])
        seen.add(key)
        for metric in _metrics(line):
            name = metric if len(filters) == 1 else f"{metric},{key[0]}"
            values = columns.setdefault(name, np.full(len(ids), np.nan))
            values[place[key[1]]] = _scalar(line[metric])
    if len(columns) == 1:
        raise ScoresError([f"{path}: there is no metric: a line has none under the names in 'metrics'."])
    match = LM_EVAL.fullmatch(path.stem)
    told = {"system": path.absolute().parent.name, "setting": match["task"] if match else path.stem}
    return Source(str(path), columns, told=told)


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for row, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except ValueError:
                raise ScoresError([f"{path}: row {row}: is not a JSON object."]) from None
            if not isinstance(line, dict):
                raise ScoresError([f"{path}: row {row}: is not a JSON object."])
            yield row, line


def _metrics(line: Mapping[str, Any]) -> list[str]:
    """The metrics of a line; older versions do not list them."""
    named = line.get("metrics")
    if isinstance(named, list):
        return [metric for metric in named if metric in line]
    return [key for key, value in line.items() if key != "doc_id" and isinstance(value, (int, float))]


def _scalar(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else np.nan


def inspect_ai(path: Path) -> Source:
    """A log of inspect_ai: columns `sample`, `seed` (the epoch) and one per scorer.

    Raises:
        ScoresError: It is not of that format, or the evaluation did not end well.
    """
    document = _zipped(path) if zipfile.is_zipfile(path) else _document(path)
    evaluation = document.get("eval")
    samples = document.get("samples")
    if not isinstance(evaluation, dict) or not isinstance(samples, list):
        raise ScoresError([f"{path}: 'eval' or 'samples' is missing: is this a log of inspect_ai?"])
    if (status := document.get("status")) != "success":
        raise ScoresError([f"{path}: the evaluation's status is '{status}': only one that ended with success counts."])
    told = {"system": str(evaluation.get("model", path.stem)), "setting": str(evaluation.get("task", path.stem))}
    return Source(str(path), dict(_columns(path, samples)), told=told)


def _columns(path: Path, samples: list[Any]) -> Iterator[tuple[str, Any]]:
    problems = list[str]()
    for row, sample in enumerate(samples, start=1):
        lacking = [key for key in ("id", "epoch") if not isinstance(sample, dict) or key not in sample]
        problems += [f"{path}: row {row}: '{key}' of the sample is missing." for key in lacking]
        if not lacking and not sample.get("scores"):
            problems.append(f"{path}: row {row}: sample {sample['id']} has no score.")
    if problems or not samples:
        raise ScoresError(problems or [f"{path}: there is no sample."])
    scorers = list(dict.fromkeys(name for sample in samples for name in sample["scores"]))
    yield "sample", np.array([str(sample["id"]) for sample in samples])
    yield "seed", np.array([int(sample["epoch"]) for sample in samples])
    for name in scorers:
        yield name, np.array([_grade(sample["scores"].get(name)) for sample in samples])


def _grade(score: object) -> float:
    value = score.get("value") if isinstance(score, dict) else None
    if isinstance(value, str):
        return GRADES.get(value, GRADES.get(value.lower(), np.nan))
    return _scalar(value)


def _document(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ScoresError([f"{path}: is not valid JSON: {error}."]) from None
    return found if isinstance(found, dict) else {}


def _zipped(path: Path) -> Mapping[str, Any]:
    """A zip file with `header.json`, or of older versions `start.json` and `results.json`, and `samples/*.json`."""
    with zipfile.ZipFile(path) as file:
        names = set(file.namelist())
        heads = [name for name in ("header.json", "start.json", "results.json") if name in names]
        document: dict[str, Any] = {}
        try:
            for name in heads:
                document |= json.loads(file.read(name))
            samples = sorted(name for name in names if name.startswith("samples/") and name.endswith(".json"))
            document["samples"] = [json.loads(file.read(name)) for name in samples]
        except (ValueError, NotImplementedError) as error:
            raise ScoresError([f"{path}: cannot be read: {error}."]) from None
    return document
