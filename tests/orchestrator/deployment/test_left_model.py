"""The ONNX file that a command left is deployed if it gives, on the images, the scores that the command wrote."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.decision.decide import Decision, decide
from orchestrator.deployment import left_model
from orchestrator.deployment.certificate import CERTIFICATE, MODEL, Certificate, PixelRule
from orchestrator.deployment.certify import certify, write
from orchestrator.deployment.check import check
from orchestrator.errors import RequestError
from orchestrator.execution.worker import Worker
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import plan
from orchestrator.experiment.reading import beside
from orchestrator.judging.cell_scores import read
from orchestrator.outcome import Finished
from orchestrator.records.files.checkpoints import Checkpoints
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.models import Models
from orchestrator.records.recorder import Recorder
from orchestrator.records.tracking.runs import Untracked
from orchestrator.reproduction.code_changes import codes_by_plugin
from trainers.deployment import completed

from .conftest import ASKED, Shop, images_in

SCRIPT = """
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

out, model = sys.argv[1:]
pixels, labels = load_digits(return_X_y=True)
fitted = LogisticRegression(max_iter=300).fit(pixels[:600] / 16, labels[:600])
rows = np.arange(600, len(labels))
split = np.where(rows < 1000, "validation", "test")
scores = fitted.decision_function(pixels[rows] / 16)
np.savez(f"{out}.npz", sample=rows, label=labels[rows], split=split, scores=scores)

held = {"weights": (fitted.coef_.T / 16).astype("float32"), "bias": fitted.intercept_.astype("float32")}
graph = helper.make_graph(
    [helper.make_node("Flatten", ["pixels"], ["flat"]), helper.make_node("Gemm", ["flat", *held], ["scores"])],
    "linear",
    [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 1, 8, 8])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])],
    [numpy_helper.from_array(array, name) for name, array in held.items()],
)
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), model)
"""


class Left(NamedTuple):
    """What a command left."""

    asked: Experiment
    decision: Decision
    evaluations: Evaluations
    inputs: Path
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def certified(self, inputs: Path | None, **changes: Any) -> tuple[Certificate, bytes]:
        models = Models(self.evaluations.folder.parent / "models")
        given: dict[str, Any] = {
            "asked": self.asked,
            "found": self.decision,
            "evaluations": self.evaluations,
            **changes,
        }
        return certify(**given, models=models, data_dir=self.inputs, inputs=inputs)


@pytest.fixture(scope="session")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    root = tmp_path_factory.mktemp("left")
    (root / "train.py").write_text(dedent(SCRIPT), encoding="utf-8")
    fields = {
        **{name: ASKED[name] for name in ("name", "operation")},
        "trainer": {"command": ["python", "train.py", "{out}", "{model}"]},
        "losses": ["logistic"],
        "backbones": ["linear"],
        "datasets": ["digits"],
        "seeds": [0],
        "baseline": "logistic",
    }
    (root / "left.yaml").write_text(json.dumps(fields), encoding="utf-8")
    asked = beside(Experiment.model_validate(fields), root)
    evaluations = Evaluations(root / "runs" / "evaluations")
    recorder = Recorder(evaluations, Untracked(), {})
    checkpoints = Checkpoints(root / "runs" / "checkpoints", "launch")
    worker = Worker(recorder, root, checkpoints, planned=codes_by_plugin(asked), read_scores=read)
    planned = plan(asked)
    (ended,) = [worker.run(cell, lambda _: None) for cell in planned.cells]
    assert isinstance(ended, Finished), ended
    digits: Any = load_digits()
    pixels = digits.data[1000:].astype(np.uint8).reshape(-1, 1, 8, 8)
    flat = images_in(root / "flat", pixels)
    for file in sorted(flat.iterdir()):
        file.rename(file.with_name(f"{1000 + int(file.stem)}.png"))
    found = decide(planned, evaluations, {cell.id for cell in planned.cells})
    return Left(asked, found, evaluations, flat, pixels, digits.target[1000:])


def session(content: bytes) -> Any:
    options = onnxruntime.SessionOptions()  # pyright: ignore[reportAttributeAccessIssue]
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def test_a_model_that_a_command_left_is_certified_by_the_scores_that_it_wrote(left: Left, tmp_path: Path) -> None:
    certificate, model = left.certified(left.inputs)
    assert (certificate.agreement.images, certificate.agreement.differing) == (797, 0)
    assert 0 < certificate.agreement.largest < 1e-4
    assert (certificate.reading.size, certificate.reading.channels, certificate.retrained) == (8, 1, False)
    rows = left.evaluations.evaluation(left.decision.deployed.cell)
    assert rows.scores is not None
    scores, probabilities, decision = session(model).run(None, {"images": left.pixels})
    np.testing.assert_allclose(scores, rows.scores, atol=1e-4 * abs(rows.scores).max(1).min())
    exact = np.exp(rows.scores.astype(np.float64))
    np.testing.assert_allclose(probabilities, exact / exact.sum(1, keepdims=True), atol=1e-4)
    above = rows.scores > certificate.threshold
    assert (decision == np.where(above.sum(1) == 1, above.argmax(1), -1)).all()
    about = session(model).get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == list(map(str, range(10)))
    write(tmp_path / "out", {MODEL: model, CERTIFICATE: certificate.model_dump_json().encode()})
    lot = images_in(tmp_path / "lot", left.pixels, left.labels)
    found = check(tmp_path / "out", lot)
    assert found.images == 797
    assert [rate.errors for rate in found.rates if rate.name != "review_share"] == [
        rate.errors for rate in certificate.rates if rate.name != "review_share"
    ]


def test_deploy_takes_the_images_by_an_option(left: Left, tmp_path: Path) -> None:
    root = left.evaluations.folder.parent.parent
    words = ["deploy", str(root / "left.yaml"), "--workspace", str(root / "runs"), "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, RequestError)
    assert "Name the images by --inputs" in str(refused.exception)
    done = CliRunner().invoke(app, [*words, "--inputs", str(left.inputs)])
    assert done.exit_code in {0, 3}, done.output
    assert (tmp_path / "out" / MODEL).exists()


def test_parquet_names_the_same_images(left: Left, tmp_path: Path) -> None:
    files = sorted(left.inputs.iterdir(), reverse=True)
    held = pa.table({"image": [file.read_bytes() for file in files], "sample": [int(file.stem) for file in files]})
    pq.write_table(held, tmp_path / "inputs.parquet")
    first, _ = left.certified(left.inputs)
    again, _ = left.certified(tmp_path / "inputs.parquet")
    assert again.digests == first.digests


def test_without_the_images_it_is_refused_with_the_way_to_name_them(left: Left) -> None:
    with pytest.raises(RequestError, match=r"cannot check the scores of the file .* Name the images by --inputs"):
        left.certified(None)


def test_other_images_or_another_model_are_refused(left: Left, tmp_path: Path) -> None:
    other = images_in(tmp_path / "other", left.pixels[::-1])
    for file in sorted(other.iterdir()):
        file.rename(file.with_name(f"{1000 + int(file.stem)}.png"))
    with pytest.raises(RequestError, match=r"is not the one of its scores: its scores differ .* pixels from 0 to 255"):
        left.certified(other)
    few = images_in(tmp_path / "few", left.pixels[:5])
    with pytest.raises(RequestError, match="has no image of 797 of 797 test samples, such as 1000"):
        left.certified(few)
    with pytest.raises(RequestError, match="There is no "):
        left.certified(tmp_path / "nowhere")
    content = left.evaluations.content(left.decision.deployed.cell)
    file = left.evaluations.folder.parent / content["provenance"]["model"]["file"]
    whole = file.read_bytes()
    try:
        file.write_bytes(whole + b"\0")
        with pytest.raises(RequestError, match="left was changed"):
            left.certified(left.inputs)
        file.unlink()
        with pytest.raises(RequestError, match="left is gone"):
            left.certified(left.inputs)
    finally:
        file.write_bytes(whole)


def test_our_own_cells_know_their_images(shop: Shop, lots: dict[str, Path]) -> None:
    with pytest.raises(RequestError, match="are known: leave out --inputs"):
        shop.certified(inputs=lots["few"])


def test_names_of_samples_are_numbered_in_their_order_and_numbers_are_kept(left: Left, tmp_path: Path) -> None:
    reading = PixelRule(size=8, channels=1)
    files = sorted(images_in(tmp_path / "named", left.pixels[:3]).iterdir())
    for file, name in zip(files, ("c", "a", "b"), strict=True):
        file.rename(file.with_name(f"{name}.png"))
    named = left_model.read(tmp_path / "named", reading)
    np.testing.assert_array_equal(named.of(np.array([0, 1, 2], np.int32)), left.pixels[[1, 2, 0]])
    rows = {"image": [file.read_bytes() for file in sorted((tmp_path / "named").iterdir())], "sample": [7, 3, 3]}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    padded = {**rows, "sample": ["7", "3", "03"]}  # one number, written in two ways
    pq.write_table(pa.table(padded), tmp_path / "padded.parquet")
    with pytest.raises(RequestError, match="more than one image of sample '03'"):
        left_model.read(tmp_path / "padded.parquet", reading)
    with pytest.raises(RequestError, match="more than one image of sample '3'"):
        left_model.read(tmp_path / "rows.parquet", reading)
    pq.write_table(pa.table({**rows, "sample": [7, 30, 3]}), tmp_path / "rows.parquet")
    numbered = left_model.read(tmp_path / "rows.parquet", reading)
    np.testing.assert_array_equal(numbered.of(np.array([3, 7, 30], np.int32)), left.pixels[[0, 1, 2]])
    pq.write_table(pa.table({"image": rows["image"]}), tmp_path / "rows.parquet")
    with pytest.raises(RequestError, match="no column 'sample'"):
        left_model.read(tmp_path / "rows.parquet", reading)


# What a command may leave


def onnx(
    shape: tuple[Any, ...] = ("n", 1, 2, 2),
    kind: int = TensorProto.FLOAT,
    outputs: tuple[str, ...] = ("scores",),
    classes: int = 3,
    opset: int = 18,
) -> bytes:
    """A linear model whose scores are the first pixels."""
    held = [numpy_helper.from_array(np.eye(4, classes, dtype=np.float32), "weights")]
    nodes = [
        helper.make_node("Cast", ["x"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        *(helper.make_node("MatMul", ["flat", "weights"], [name]) for name in outputs),
    ]
    given = [helper.make_tensor_value_info("x", kind, shape)]
    gives = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", classes]) for name in outputs]
    graph = helper.make_graph(nodes, "graph", given, gives, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


@pytest.mark.parametrize(
    "content",
    [onnx(), onnx(kind=TensorProto.UINT8), onnx(outputs=("y",)), onnx(outputs=("z", "scores")), onnx(opset=11)],
    ids=["float", "bytes", "another name", "two outputs", "old"],
)
def test_scores_become_probabilities_and_decisions(content: bytes) -> None:
    found = completed(content, threshold=5.0, temperature=2.0, about={"classes": "[]"})
    assert (found.channels, found.size) == (1, 2)
    images = np.array([[9, 1, 2, 0], [9, 8, 0, 0], [1, 2, 3, 0], [5, 0, 0, 0], [0, 9, 5, 0]], np.uint8)
    scores, probabilities, decision = session(found.content).run(None, {"images": images.reshape(-1, 1, 2, 2)})
    np.testing.assert_array_equal(scores, images[:, :3])
    exact = np.exp(scores.astype(np.float64) / 2)
    np.testing.assert_allclose(probabilities, exact / exact.sum(1, keepdims=True), rtol=1e-5)
    assert decision.tolist() == [0, -1, -1, -1, -1]  # the last two have a score equal to the threshold
    given = {"images": images.reshape(-1, 1, 2, 2), "threshold": np.array([2.5], np.float32)}
    assert session(found.content).run(["decision"], given)[0].tolist() == [0, -1, 2, 0, -1]
    assert session(found.content).get_inputs()[0].shape[1:] == [1, 2, 2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"nothing", "it is not a readable ONNX file"),
        (onnx(("n", 4)), r"it takes x float32 \(n, 4\), not images alone"),
        (onnx((1, 1, 2, 2)), r"it takes x float32 \(1, 1, 2, 2\), not images alone.*n left open"),
        (onnx(("n", 1, 1, 4)), r"x float32 \(n, 1, 1, 4\)"),
        (onnx(kind=TensorProto.INT64), r"x int64"),
        (onnx(outputs=("a", "b")), r"it gives a float32 \(n, 3\), b float32 \(n, 3\), and no float32 \(n, K\)"),
        (onnx(classes=1), r"it gives scores float32 \(n, 1\)"),
    ],
)
def test_what_is_no_model_of_images_is_said_to_be(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        completed(content, threshold=0.0, temperature=1.0, about={})
