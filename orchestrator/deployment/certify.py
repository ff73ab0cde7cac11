"""The model of a decision as an ONNX file, certified only if its scores are those that the promise rests on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from orchestrator import provenance
from orchestrator.decision.decide import Decision, promised_rows
from orchestrator.deployment.certificate import MODEL, Agreement, Certificate, Part, Promised, Reading
from orchestrator.deployment.model_file import ModelFile
from orchestrator.deployment.scored import decisions, joined, reference, samples
from orchestrator.errors import RequestError
from orchestrator.execution.worker import Loaded, Worker, loaded
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell
from orchestrator.outcome import has_figures
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.models import Models
from orchestrator.records.recorder import Recorder
from orchestrator.records.tracking.runs import Untracked
from orchestrator.thresholds.consequences import Samples, Use, consequences
from orchestrator.thresholds.reading import samples_of
from trainers.datasets import MissingDataError
from trainers.datasets.decoded import Decoded
from trainers.evaluation import Evaluation

TOLERANCE = 1e-4
"""By how much scores may differ, as a share of the image's largest score."""


class Certified(NamedTuple):
    """A model's file and what is known of it."""

    certificate: Certificate
    model: bytes


def certify(asked: Experiment, found: Decision, evaluations: Evaluations, models: Models, data_dir: Path) -> Certified:
    """Write the decided model as ONNX, and compare its scores with those of the cell's file.

    A model that the launch kept is taken; otherwise the cell is trained again here.

    Args:
        asked: The experiment.
        found: What to deploy.
        evaluations: The cells' files.
        models: The models that launches kept.
        data_dir: The folder of the data sets.

    Raises:
        RequestError: There is no such model here, it gives other scores, or it cannot be written as ONNX.
    """
    from trainers.deployment import exported, unpacked

    cell = found.deployed.cell
    if cell.recipe.dataset.vectors:
        raise RequestError(f"{cell.name} scores vectors. deploy writes models of images only.")
    content = evaluations.content(cell)
    if cell.recipe.trainer is not None:
        raise RequestError(_by_command(cell, content))
    data = _data(cell, data_dir)
    rows = promised_rows(cell, evaluations)
    kept = models.read(cell.id)
    weights = kept if kept is not None else _retrained(cell, content, data_dir)
    threshold = float(np.float32(found.deployed.promise.threshold))
    temperature = float(content["temperature"] or 1.0)
    try:
        trained = unpacked(weights, cell.recipe)
        model = exported(
            trained, cell.recipe, threshold=threshold, temperature=temperature, about=_about(found, cell, data_dir)
        )
    except ValueError as error:
        raise RequestError(f"The model of {cell.name} cannot be deployed: {error}.") from error
    seen = _scored(model, data, rows)
    pairs = [(seen, samples_of(rows))]
    if cell.recipe.certify:
        shown = evaluations.evaluation(cell)
        pairs.append((_scored(model, data, shown), samples_of(shown)))
    new, old = (joined(each) for each in zip(*pairs, strict=True))
    agreement = _agreement(new, old, threshold)
    if not agreement.largest <= TOLERANCE:
        raise RequestError(_differs(cell, agreement, retrained=kept is None))
    digests = {
        MODEL: hashlib.sha256(model).hexdigest(),
        "data": content["provenance"].get("data_digest") or data.fingerprint,
        "cell": hashlib.sha256(evaluations.storage.read(evaluations.name(cell)) or b"").hexdigest(),
    }
    if apart := evaluations.certifications.read(evaluations.name(cell)):
        digests["certification"] = hashlib.sha256(apart).hexdigest()
    use = Use.of(found.operation, found.classes)
    promise = found.deployed.promise
    certificate = Certificate(
        experiment=asked.name,
        question=asked.question,
        issued=datetime.now(UTC).date(),
        version=version("loss-orchestrator"),
        commit=str(commit) if (commit := provenance.code().get("git_commit")) else None,
        cell_id=cell.id,
        loss=cell.loss,
        backbone=cell.backbone,
        seed=cell.seed,
        parameters=content["parameters"],
        retrained=kept is None,
        reading=_reading(cell, trained.shape.channels, trained.shape.height, data_dir),
        classes=found.classes,
        operation=found.operation,
        threshold=threshold,
        temperature=temperature,
        cost=promise.cost,
        cost_bound=promise.cost_bound,
        rates=_rates(found, samples_of(rows), use),
        candidates=found.candidates,
        looked=found.looked,
        units=promise.units,
        grouped=found.is_grouped,
        dataset=found.dataset,
        data=str(getattr(cell.recipe.dataset, "path", cell.recipe.dataset.key)),
        digests=digests,
        agreement=agreement,
        reference=reference(seen, use, threshold),
    )
    return Certified(certificate, model)


def _by_command(cell: Cell, content: Mapping[str, Any]) -> str:
    """Why the model of a command cannot be certified, and what there is of it."""
    told = (
        f"{cell.name} was trained by a command, whose test images this program does not have, so that it cannot check"
    )
    if (left := content["provenance"].get("model")) is None:
        return f"{told} a model. The command left none either: it may write an ONNX file to '{{model}}'."
    file = f"{left['file']} in the workspace, SHA-256 {left['sha256']}"
    return f"{told} the scores of the file that the command left: {file}."


def _data(cell: Cell, data_dir: Path) -> Loaded:
    """The data that the cell was trained on."""
    plain = cell.recipe.dataset.model_copy(update={"shift": None})
    needed = f"The test images of {cell.name} are needed to compare the file's scores with those of the promise"
    try:
        found = loaded(plain, data_dir)  # pyright: ignore[reportArgumentType]  # it hashes
    except MissingDataError as error:
        raise RequestError(f"{needed}: {error}") from error
    if cell.recipe.data_digest != (found.content and found.content.digest):
        raise RequestError(f"{needed}, and the data here are others. Name their folder by --data-dir.")
    return found


def _retrained(cell: Cell, content: Mapping[str, Any], data_dir: Path) -> bytes:
    """The weights of a cell that is trained once more, as it was then."""
    # With the same number of threads, because sums split differently among threads round differently.
    threads = content["provenance"].get("threads") or cell.resources.cpus
    again = replace(cell, resources=cell.resources.model_copy(update={"cpus": threads}))
    with TemporaryDirectory() as folder:
        models = Models(Path(folder) / "models")
        recorder = Recorder(Evaluations(Path(folder) / "evaluations"), Untracked(), provenance.code(), models=models)
        outcome = Worker(recorder, data_dir).run(again, lambda _: None)
        weights = models.read(cell.id)
    if weights is None or not has_figures(type(outcome).__name__.lower()):
        why = getattr(outcome, "error", "") or f"it {type(outcome).__name__.lower()}"
        raise RequestError(
            f"The launch kept no model of {cell.name}, and it cannot be trained again here: {why}. With 'operation:' "
            "in the experiment file, a launch keeps the models that it trains."
        )
    return weights


def _scored(model: bytes, data: Loaded, rows: Evaluation) -> Samples:
    """What the file says of the test images, run by onnxruntime."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        path.write_bytes(model)
        pixels = data.data.test.pixels
        scores = ModelFile(path).scores(np.asarray(pixels[rows.sample]))
    return samples(scores, rows.label)


def _agreement(seen: Samples, then: Samples, threshold: float) -> Agreement:
    """How scores agree with those of the cell's file."""
    scale = np.maximum(abs(then.positive), abs(then.rival))
    pairs = [(getattr(seen, name), getattr(then, name)) for name in ("positive", "rival", "top", "second")]
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.max([np.where(new == old, 0.0, abs(new - old) / scale) for new, old in pairs], axis=0)
    near = np.min([abs(then.top - threshold), abs(then.second - threshold)], axis=0) <= TOLERANCE * scale
    differing = decisions(seen, threshold) != decisions(then, threshold)
    return Agreement(
        images=then.label.size,
        largest=float(apart.max()),
        near=int(np.count_nonzero(near)),
        differing=int(np.count_nonzero(differing)),
    )


def _differs(cell: Cell, agreement: Agreement, *, retrained: bool) -> str:
    found = f"its scores differ from those of the cell's file by up to {agreement.largest:.2g} of an image's largest"
    if retrained:
        return (
            f"The launch kept no model of {cell.name}. Trained again here, it is another one: {found}, so that what "
            "was promised does not hold for it. Deploy where it was trained; or launch it again with 'operation:' in "
            "the experiment file, and the launch keeps the model."
        )
    return f"The model that was kept of {cell.name} is not the one of its file: {found}."


def _about(found: Decision, cell: Cell, data_dir: Path) -> dict[str, str]:
    """The metadata of the file: what it takes to use it without its certificate."""
    use = Use.of(found.operation, found.classes)
    good = (
        found.classes
        if use.good is None
        else [name for name, is_good in zip(found.classes, use.good, strict=True) if is_good]
    )
    reading = _reading(cell, 3, 1, data_dir)
    return {
        "classes": json.dumps(list(found.classes)),
        "good": json.dumps(list(good)),
        "review": json.dumps(use.is_reviewed),
        "upright": json.dumps(reading.upright),
        "cell": json.dumps(cell.id),
    }


def _reading(cell: Cell, channels: int, size: int, data_dir: Path) -> Reading:
    dataset = cell.recipe.dataset
    told = dataset.reading(data_dir) if isinstance(dataset, Decoded) else None
    columns = {
        name: getattr(dataset, name) for name in ("image", "label") if isinstance(getattr(dataset, name, None), str)
    }
    if told is None:
        return Reading(size=size, channels=channels, **columns)
    return Reading(size=size, channels=channels, levels=told.levels, upright=told.upright, **columns)


def _rates(found: Decision, seen: Samples, use: Use) -> tuple[Promised, ...]:
    parts = consequences(seen, use, np.array([found.deployed.promise.threshold]))
    return tuple(
        Promised(
            **rate._asdict(),
            parts=tuple(Part(share=share, classes=tuple(kind.tolist())) for share, kind in parts.strata_of(rate.name)),
        )
        for rate in found.deployed.promise.rates
    )


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put files into a new folder, all or none.

    Raises:
        RequestError: The folder is there and not empty, or cannot be written.
    """
    if problem := occupied(folder):
        raise RequestError(problem)
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        part.mkdir(parents=True)
        for name, content in files.items():
            (part / name).write_bytes(content)
        part.replace(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise RequestError(f"{folder} cannot be written ({error.strerror}).") from error


def occupied(folder: Path) -> str | None:
    """Why nothing can be deployed into a folder; None if it can."""
    if folder.is_dir() and not any(folder.iterdir()):
        return None
    return f"{folder} is there and not empty: name another folder, or remove it." if folder.exists() else None
