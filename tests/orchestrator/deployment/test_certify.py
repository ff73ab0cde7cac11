"""A deployed model gives the scores that its promise rests on; what does not is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from orchestrator.decision.decide import decide
from orchestrator.deployment import certificate as certificates
from orchestrator.deployment import certify
from orchestrator.deployment.certificate import MODEL
from orchestrator.errors import RequestError
from orchestrator.execution.worker import Worker
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, plan
from orchestrator.outcome import Finished
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.models import Models
from orchestrator.records.files.soundness import check
from orchestrator.records.recorder import Recorder
from orchestrator.records.tracking.runs import Untracked
from orchestrator.report.web.certificate import render
from trainers.commands import Trainer
from trainers.datasets import fingerprint
from trainers.deployment import unpacked

from .conftest import ASKED, Shop


def session(shop: Shop) -> Any:
    options = onnxruntime.SessionOptions()  # pyright: ignore[reportAttributeAccessIssue]
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(shop.folder / MODEL, options, providers=["CPUExecutionProvider"])


def test_the_file_gives_the_scores_and_decisions_of_the_cells_file(shop: Shop) -> None:
    cell = shop.decision.deployed.cell
    rows = shop.evaluations.evaluation(cell)
    assert rows.scores is not None
    scores, probabilities, decision = session(shop).run(None, {"images": shop.data.test.pixels})
    np.testing.assert_allclose(scores, rows.scores, atol=1e-4 * abs(rows.scores).max(1).min())
    above = rows.scores > shop.certificate.threshold
    expected = np.where(above.sum(1) == 1, above.argmax(1), -1)
    assert (decision != expected).sum() == shop.certificate.agreement.differing == 0
    assert shop.certificate.agreement.images == len(rows.label)
    assert 0 < shop.certificate.agreement.largest < 1e-4
    exact = np.exp(rows.scores.astype(np.float64) / shop.certificate.temperature)
    np.testing.assert_allclose(probabilities, exact / exact.sum(1, keepdims=True), atol=1e-4)
    assert shop.certificate.temperature != 1


def test_threshold_and_temperature_are_inputs_with_defaults(shop: Shop) -> None:
    images = shop.data.test.pixels[:20]
    plain = session(shop).run(None, {"images": images})
    warm = np.array([5.0], np.float32)
    top = np.sort(plain[0], axis=1)[:, -2:].mean(axis=1)
    for place in range(3):
        given = {"images": images[place : place + 1], "threshold": top[place : place + 1], "temperature": warm}
        scores, probabilities, decision = session(shop).run(None, given)
        assert decision[0] == plain[0][place].argmax()
        assert scores[0] == pytest.approx(plain[0][place], rel=1e-5)
        exact = np.exp(plain[0][place].astype(np.float64) / 5)
        assert probabilities[0] == pytest.approx(exact / exact.sum(), rel=1e-4)


def test_the_file_says_what_it_takes_to_use_it(shop: Shop) -> None:
    about = {name: json.loads(text) for name, text in session(shop).get_modelmeta().custom_metadata_map.items()}
    assert about["classes"] == list(map(str, range(10)))
    assert about["good"] == list(map(str, range(7)))
    assert (about["review"], about["cell"]) == (True, shop.decision.deployed.cell.id)


def test_the_certificate_holds_what_was_decided_and_what_it_rests_on(shop: Shop) -> None:
    read = certificates.read(shop.folder)
    promise = shop.decision.deployed.promise
    assert read == shop.certificate
    assert [(rate.name, rate.bound, rate.n) for rate in read.rates] == [(r.name, r.bound, r.n) for r in promise.rates]
    assert read.digests[MODEL] == hashlib.sha256((shop.folder / MODEL).read_bytes()).hexdigest()
    review = {rate.name: rate for rate in read.rates}["review_share"]
    assert [(part.share, part.classes) for part in review.parts] == [
        (pytest.approx(0.9), tuple(range(7))),
        (pytest.approx(0.1), (7, 8, 9)),
    ]
    held = read.reference.kinds
    assert [kind.share for kind in held] == [pytest.approx(0.9), pytest.approx(0.1)]
    for kind in held:
        assert sum(kind.top) == sum(kind.second) == sum(kind.outcomes)
    assert sum(sum(kind.top) for kind in held) == 797
    assert not read.retrained


@pytest.mark.parametrize("recorded", [None, "a" * 64])
def test_data_whose_digest_nobody_recorded_go_by_that_of_their_arrays(
    shop: Shop, recorded: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = Evaluations.content

    def told(evaluations: Evaluations, cell: Cell) -> dict[str, Any]:
        known = content(evaluations, cell)
        return {**known, "provenance": {**known["provenance"], "data_digest": recorded}}

    monkeypatch.setattr(Evaluations, "content", told)
    assert shop.certified().digests["data"] == (recorded or fingerprint(shop.data))


def test_a_model_that_was_not_kept_is_trained_again_and_certified_if_it_is_the_same(shop: Shop, tmp_path: Path) -> None:
    found = shop.certified(models=Models(tmp_path))
    assert found.retrained
    assert found.agreement.largest < 1e-4
    assert list(tmp_path.iterdir()) == []


def spoilt(shop: Shop) -> bytes:
    from trainers.deployment import packed

    cell = shop.decision.deployed.cell
    content = shop.models.read(cell.id)
    assert content is not None
    held = unpacked(content, cell.recipe)
    with torch.no_grad():
        held.model.linear.weight *= 1.01
    return packed(held.model, held.mean.numpy(), held.deviation.numpy(), held.shape)


def test_a_kept_model_of_other_scores_is_refused(shop: Shop, tmp_path: Path) -> None:
    models = Models(tmp_path)
    models.write(shop.decision.deployed.cell.id, spoilt(shop))
    with pytest.raises(RequestError, match=r"is not the one of its file: its scores differ .* by up to 0\.0"):
        shop.certified(models=models)


def test_another_model_after_training_again_is_refused(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certify, "_retrained", lambda *_: spoilt(shop))
    with pytest.raises(RequestError, match="Trained again here, it is another one"):
        shop.certified(models=Models(tmp_path))


def test_a_cell_that_cannot_be_trained_again_here_is_refused_and_says_why(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cell = shop.decision.deployed.cell
    on_gpu = replace(cell, resources=cell.resources.model_copy(update={"gpus": 1}))
    found = shop.decision._replace(deployed=shop.decision.deployed._replace(cell=on_gpu))
    with pytest.raises(RequestError, match=r"cannot be trained again here: RuntimeError: "):
        shop.certified(found=found, models=Models(tmp_path))


@pytest.mark.parametrize("content", [b"no model", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_damaged_model_is_refused(shop: Shop, tmp_path: Path, content: bytes) -> None:
    models = Models(tmp_path)
    models.write(shop.decision.deployed.cell.id, content)
    with pytest.raises(RequestError, match=r"The model of .* cannot be deployed: "):
        shop.certified(models=models)


def test_with_images_kept_apart_the_certificate_is_of_these_and_names_them(tmp_path: Path) -> None:
    fields = {**ASKED, "recipe": {**ASKED["recipe"], "epochs": 1}, "operation": {**ASKED["operation"], "certify": 0.4}}
    asked = Experiment.model_validate(fields)
    planned = plan(asked)
    evaluations = Evaluations(tmp_path / "runs" / "evaluations")
    models = Models(tmp_path / "runs" / "models")
    worker = Worker(Recorder(evaluations, Untracked(), {}, models=models), tmp_path)
    (ended,) = [worker.run(cell, lambda _: None) for cell in planned.cells]
    assert isinstance(ended, Finished)
    (cell,) = planned.cells
    check(evaluations.checked(evaluations.name(cell)))
    found = decide(planned, evaluations, {cell.id})
    apart = evaluations.certification(cell)
    assert apart is not None
    assert len(apart.label) == 319 == round(0.4 * 797)
    assert evaluations.account(cell).samples == 797 - len(apart.label)
    certificate, _ = certify.certify(asked, found, evaluations, models, tmp_path)
    assert certificate.units == len(apart.label)
    assert certificate.agreement.images == 797
    assert certificate.agreement.largest < 1e-4
    assert sum(sum(kind.top) for kind in certificate.reference.kinds) == len(apart.label)
    content = evaluations.certifications.read(evaluations.name(cell))
    assert content is not None
    assert certificate.digests["certification"] == hashlib.sha256(content).hexdigest()
    page = render(certificate)
    assert certificate.digests["certification"] in page
    assert "that were kept apart: no choice" in page


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ({}, r"The command left none either: it may write an ONNX file to '\{model\}'"),
        ({"model": {"file": "models/x.onnx", "sha256": "abc"}}, "left: models/x.onnx in the workspace, SHA-256 abc"),
    ],
)
def test_the_model_of_a_command_is_refused_and_the_file_that_it_left_is_named(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, left: dict[str, Any], said: str
) -> None:
    deployed = shop.decision.deployed
    recipe = deployed.cell.recipe.model_copy(update={"trainer": Trainer.model_validate({"command": ["true", "{out}"]})})
    cell = replace(deployed.cell, recipe=recipe)
    monkeypatch.setattr(Evaluations, "content", lambda *_: {"provenance": left})
    with pytest.raises(RequestError, match=said):
        shop.certified(found=shop.decision._replace(deployed=deployed._replace(cell=cell)))


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(RequestError, match="not empty"):
        certify.write(tmp_path, {"a": b""})
    certify.write(tmp_path / "new" / "place", {"a": b"1"})
    assert (tmp_path / "new" / "place" / "a").read_bytes() == b"1"
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "new"}


@pytest.mark.parametrize(
    ("content", "said"), [(None, "no folder that deploy wrote"), ("{}", "experiment: Field required")]
)
def test_a_certificate_that_cannot_be_read_is_said_to_be(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / certificates.CERTIFICATE).write_text(content)
    with pytest.raises(RequestError, match=said):
        certificates.read(tmp_path)
