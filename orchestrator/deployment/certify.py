"""The model of a decision as an ONNX file, certified only if its scores are those that the promise rests on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator import provenance
from orchestrator.decision.decide import Decision, promised_rows
from orchestrator.deployment import left_model
from orchestrator.deployment.certificate import MODEL, Agreement, Certificate, CertifiedRate, ClassGroup, PixelRule
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
from orchestrator.workspace import Location
from trainers.datasets import MissingDataError
from trainers.datasets.decoded import Decoded
from trainers.datasets.image_folder import ImageFolder
from trainers.datasets.parquet import Parquet
from trainers.evaluation import Evaluation

TOLERANCE = 1e-4
"""By how much scores may differ, as a share of the image's largest score."""


class Certified(NamedTuple):
    """A model's file and what is known of it."""

    certificate: Certificate
    model: bytes


class _Built(NamedTuple):
    """A model's file, not yet compared, and what it is compared on."""

    model: bytes
    pixels: Callable[[NDArray[np.int32]], NDArray[np.uint8]]
    """The images of test samples."""
    reading: PixelRule
    data: str
    """A digest of the data."""
    retrained: bool


def certify(
    asked: Experiment,
    found: Decision,
    evaluations: Evaluations,
    models: Models,
    data_dir: Path,
    *,
    inputs: Path | None = None,
) -> Certified:
    """Write the decided model as ONNX, and compare its scores with those of the cell's file.

    A model that the launch kept is taken, or that a command left; otherwise the cell is trained again here.

    Args:
        asked: The experiment.
        found: What to deploy.
        evaluations: The cells' files.
        models: The models that launches kept.
        data_dir: The folder of the data sets.
        inputs: The test images of a command, which only it knows.

    Raises:
        RequestError: There is no such model here, it gives other scores, or it cannot be written as ONNX.
    """
    cell = found.deployed.cell
    if cell.recipe.dataset.vectors:
        raise RequestError(f"{cell.name} scores vectors. deploy writes models of images only.")
    content = evaluations.content(cell)
    promise = found.deployed.promise
    threshold = float(np.float32(promise.threshold))
    temperature = float(content.get("temperature") or 1.0)
    settings = {"threshold": threshold, "temperature": temperature}
    if cell.recipe.trainer is not None:
        built = _completed(found, content, evaluations.folder.parent, inputs, settings)
    elif inputs is not None:
        raise RequestError(f"The test images of {cell.name} are known: leave out --inputs.")
    else:
        built = _exported(found, content, models, data_dir, settings)
    rows = promised_rows(cell, evaluations)
    seen = _scored(built, rows)
    then = samples_of(rows)
    agreement = _compared(built, cell, evaluations, (seen, then), threshold)
    use = Use.of(found.operation, found.classes)
    commit = provenance.code().get("git_commit")
    certificate = Certificate(
        experiment=asked.name,
        question=asked.question,
        issued=datetime.now(UTC).date(),
        version=version("loss-orchestrator"),
        commit=str(commit) if commit else None,
        cell_id=cell.id,
        loss=cell.loss,
        backbone=cell.backbone,
        seed=cell.seed,
        parameters=content["parameters"],
        retrained=built.retrained,
        reading=built.reading,
        classes=found.classes,
        operation=found.operation,
        threshold=threshold,
        temperature=temperature,
        cost=promise.cost,
        cost_bound=promise.cost_bound,
        rates=_rates(found, then, use),
        candidates=found.candidates,
        looked=found.looked,
        units=promise.units,
        grouped=found.is_grouped,
        dataset=found.dataset,
        data=str(getattr(cell.recipe.dataset, "path", cell.recipe.dataset.key)),
        digests=_digests(built, cell, content, evaluations),
        agreement=agreement,
        reference=reference(seen, use, threshold),
    )
    return Certified(certificate, built.model)


def _exported(
    found: Decision, content: Mapping[str, Any], models: Models, data_dir: Path, settings: Mapping[str, float]
) -> _Built:
    """The model of a cell that was trained by our own loop."""
    from trainers.deployment import exported, unpacked

    cell = found.deployed.cell
    data = _data(cell, data_dir)
    kept = models.read(cell.id)
    weights = kept if kept is not None else _retrained(cell, content, data_dir)
    try:
        trained = unpacked(weights, cell.recipe)
        reading = reading_of(cell, trained.shape.channels, trained.shape.height, data_dir)
        model = exported(trained, cell.recipe, **settings, about=_about(found, upright=reading.upright))
    except ValueError as error:
        raise RequestError(f"The model of {cell.name} cannot be deployed: {error}.") from error
    images = data.data.test.pixels
    return _Built(model, lambda sample: np.asarray(images[sample]), reading, data.fingerprint, kept is None)


def _completed(
    found: Decision, content: Mapping[str, Any], workspace: Location, inputs: Path | None, settings: Mapping[str, float]
) -> _Built:
    """The model that a command left."""
    from trainers.deployment import completed

    cell = found.deployed.cell
    if inputs is None:
        raise RequestError(left_model.refusal(cell, content))
    left = left_model.content_of(cell, content, workspace)
    try:
        made = completed(left, **settings, about=_about(found, upright=False))
    except ValueError as error:
        raise RequestError(f"The model that the command of {cell.name} left cannot be deployed: {error}.") from error
    if made.classes != len(found.classes):
        told = f"{made.classes} classes, and the command wrote those of {len(found.classes)}"
        raise RequestError(f"The model that the command of {cell.name} left gives scores of {told}.")
    reading = PixelRule(size=made.size, channels=made.channels)
    images = left_model.read(inputs, reading)
    return _Built(made.content, images.of, reading, images.digest, retrained=False)


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


def _scored(built: _Built, rows: Evaluation) -> Samples:
    """What the file says of the test images, run by onnxruntime."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        path.write_bytes(built.model)
        scores = ModelFile(path).scores(built.pixels(rows.sample))
    return samples(scores, rows.label)


def _compared(
    built: _Built, cell: Cell, evaluations: Evaluations, promised: tuple[Samples, Samples], threshold: float
) -> Agreement:
    """How the file's scores agree with the cell's, on all its test images.

    Args:
        built: The file.
        cell: The cell.
        evaluations: The cells' files.
        promised: The images that the promise is about, by the file and by the cell.
        threshold: Of the decision.

    Raises:
        RequestError: They differ.
    """
    pairs = [promised]
    if cell.recipe.certify:  # then the promise is about images that were kept apart
        rows = evaluations.evaluation(cell)
        pairs.append((_scored(built, rows), samples_of(rows)))
    seen, then = (joined(each) for each in zip(*pairs, strict=True))
    agreement = _agreement(seen, then, threshold)
    if not agreement.largest <= TOLERANCE:  # also if it is NaN
        raise RequestError(_differs(cell, agreement, retrained=built.retrained))
    return agreement


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
    if cell.recipe.trainer is not None:
        return (
            f"The model that the command of {cell.name} left is not the one of its scores: {found}. It has to take "
            "pixels from 0 to 255, as the images have them, and give what the command wrote as scores."
        )
    return f"The model that was kept of {cell.name} is not the one of its file: {found}."


def _digests(built: _Built, cell: Cell, content: Mapping[str, Any], evaluations: Evaluations) -> dict[str, str]:
    """SHA-256 of all that the certificate rests on."""
    name = evaluations.name(cell)
    digests = {
        MODEL: hashlib.sha256(built.model).hexdigest(),
        "data": content["provenance"].get("data_digest") or built.data,
        "cell": hashlib.sha256(evaluations.storage.read(name) or b"").hexdigest(),
    }
    if apart := evaluations.certifications.read(name):
        digests["certification"] = hashlib.sha256(apart).hexdigest()
    return digests


def _about(found: Decision, *, upright: bool) -> dict[str, str]:
    """The metadata of the file: what it takes to use it without its certificate."""
    use = Use.of(found.operation, found.classes)
    good = list(found.classes)
    if use.good is not None:
        good = [name for name, is_good in zip(found.classes, use.good, strict=True) if is_good]
    return {
        "classes": json.dumps(list(found.classes)),
        "good": json.dumps(good),
        "review": json.dumps(use.is_reviewed),
        "upright": json.dumps(upright),
        "cell": json.dumps(found.deployed.cell.id),
    }


def reading_of(cell: Cell, channels: int, size: int, data_dir: Path) -> PixelRule:
    """How images of a cell's data become what its model sees, and how a new lot has to be told."""
    dataset = cell.recipe.dataset
    told = dataset.reading(data_dir) if isinstance(dataset, Decoded) else None
    more: dict[str, Any] = {} if told is None else {"levels": told.levels, "upright": told.upright}
    if isinstance(dataset, Parquet):
        more |= {"image": dataset.image, "label": dataset.label, "group": dataset.group or "group"}
    if isinstance(dataset, ImageFolder):
        files = dataset.manifest(data_dir)  # SPLIT/CLASS/IMAGE, or SPLIT/CLASS/GROUP/IMAGE
        more["has_groups"] = dataset.group == "folder" and any(len(Path(file).parts) > 3 for file in files)  # noqa: PLR2004
    return PixelRule(size=size, channels=channels, **more)


def _rates(found: Decision, seen: Samples, use: Use) -> tuple[CertifiedRate, ...]:
    parts = consequences(seen, use, np.array([found.deployed.promise.threshold]))
    return tuple(
        CertifiedRate(
            **rate._asdict(),
            parts=tuple(
                ClassGroup(share=share, classes=tuple(kind.tolist())) for share, kind in parts.strata_of(rate.name)
            ),
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
