"""Every kind of input in ten wrong states: one clear sentence for each, with file, row and column."""

from __future__ import annotations

import csv
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator import judge
from orchestrator.errors import ExperimentError, RequestError

if TYPE_CHECKING:
    from pathlib import Path

Columns = dict[str, list[Any]]


def right() -> Columns:
    """Two systems, two samples, two classes."""
    return {
        "system": ["a", "a", "b", "b"],
        "seed": [0, 0, 0, 0],
        "sample": ["x", "y", "x", "y"],
        "label": [0, 1, 0, 1],
        "score_0": [0.9, 0.2, 0.8, 0.1],
        "score_1": [0.1, 0.8, 0.2, 0.9],
    }


def without(*names: str) -> Columns:
    return {name: values for name, values in right().items() if name not in names}


def changed(name: str, row: int, value: Any) -> Columns:
    found = right()
    found[name][row - 1] = value
    return found


WRONG: list[tuple[str, Columns, str]] = [
    ("no sample", without("sample"), r"cannot be judged without a column 'sample'"),
    ("no label", without("label"), r"cannot be judged without a column 'label'"),
    ("no scores", without("score_0", "score_1"), r"cannot be judged without a column"),
    ("no rows", {name: [] for name in right()}, r"the table has no row"),
    ("an empty score", changed("score_1", 3, None), r"row 3, column 'score_1': empty is not a number"),
    (
        "a strange class",
        changed("label", 2, 7),
        r"row 2, column 'label': there are no scores of a class '7', but of 0, 1",
    ),
    ("a negative seed", changed("seed", 4, -1), r"row 4, column 'seed': -1 is not a whole number from 0"),
    ("a sample twice", changed("sample", 2, "x"), r"row 2, column 'sample': sample 'x' is there in row 1, too"),
    (
        "a sample less",
        {name: values[:3] for name, values in right().items()},
        r"'b' .* lacks 1 of 2 samples .*, such as 'y'",
    ),
    ("another label", changed("label", 4, 0), r"row 4: sample 'y' has label '0', but '1' in"),
    ("an empty system", changed("system", 2, ""), r"row 2, column 'system': empty is not a name"),
    (
        "a strange split",
        {**right(), "split": ["test", "test", "train", "test"]},
        r"row 3, column 'split': 'train' is neither",
    ),
]


def _csv(path: Path, columns: Columns) -> Path:
    with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path.with_suffix(".csv")


def _parquet(path: Path, columns: Columns) -> Path:
    pq.write_table(pa.table(columns), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def _npz(path: Path, columns: Columns) -> Path:
    found = {name: np.array([np.nan if each is None else each for each in values]) for name, values in columns.items()}
    np.savez(path.with_suffix(".npz"), **found)  # pyright: ignore[reportArgumentType] - its stub takes arrays for flags
    return path.with_suffix(".npz")


def refused(*scores: Any, **options: Any) -> list[str]:
    """The sentences with which scores are refused."""
    with pytest.raises(RequestError) as error:
        judge(*scores, **options)
    return str(error.value).splitlines()


@pytest.mark.parametrize("write", [_csv, _parquet, _npz])
@pytest.mark.parametrize(("columns", "message"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG])
def test_a_wrong_table_is_refused_with_its_place(
    tmp_path: Path, write: Callable[[Path, Columns], Path], columns: Columns, message: str
) -> None:
    path = write(tmp_path / "scores", columns)
    first, *others = refused(path)
    assert re.search(message, first), first
    assert first.startswith(str(path))
    assert all("--shared" in each for each in others)


def test_all_problems_of_all_files_are_listed_at_once(tmp_path: Path) -> None:
    one = _csv(tmp_path / "one", changed("score_0", 1, "high") | {"seed": [0, "x", 0, 0]})
    two = _csv(tmp_path / "two", without("label"))
    found = refused(one, two, tmp_path / "three.csv", tmp_path / "four.pdf")
    assert [re.sub(r".*/(\w+\.\w+): ((row \d)?).*", r"\1 \2", each).strip() for each in found] == [
        "three.csv",
        "four.pdf",
        "two.csv",
        "one.csv row 2",
        "one.csv row 1",
    ]


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("unpickled",))

    wrong = {
        "empty.csv": b"",
        "twice.csv": b"system,system,sample\n",
        "ragged.csv": b"system,sample,value\na,x,1\na,y\n",
        "latin.csv": "system,sample,value\nä,x,1\n".encode("latin-1"),
        "torn.parquet": b"PAR1abc",
        "torn.npz": b"PK\x03\x04abc",
        "objects.pkl": pickle.dumps(Evil()),
        "notes.txt": b"hello",
        "torn.json": b"{",
        "torn.jsonl": b"{\n",
        "torn.eval": b"PK",
    }
    for name, content in wrong.items():
        (tmp_path / name).write_bytes(content)
        (sentence,) = refused(tmp_path / name)
        assert sentence.startswith(str(tmp_path / name)), sentence
    np.savez(tmp_path / "objects.npz", value=np.array([Evil()], dtype=object), allow_pickle=True)
    (sentence,) = refused(tmp_path / "objects.npz")
    assert "Python objects, which are not read" in sentence
    (tmp_path / "folder").mkdir()
    assert "neither a folder that `export` made" in refused(tmp_path / "folder")[0]
    np.savez(tmp_path / "lengths.npz", sample=np.arange(3), value=np.arange(2))
    assert "different lengths: sample 3, value 2" in refused(tmp_path / "lengths.npz")[0]
    ragged = pa.table({"sample": ["x", "y"], "label": [0, 1], "scores": [[0.1, 0.9], [0.5]]})
    pq.write_table(ragged, tmp_path / "ragged.parquet")
    assert "row 2, column 'scores': a list of 2 scores is needed" in refused(tmp_path / "ragged.parquet")[0]


def pairs() -> Columns:
    return {
        "system": ["a", "a", "b", "b"],
        "similarity": [0.9, 0.1, 0.8, 0.2],
        "genuine": [1, 0, 1, 0],
        "identity_a": ["p", "p", "p", "p"],
        "identity_b": ["p", "q", "p", "q"],
    }


def pair(name: str, row: int, value: Any) -> Columns:
    found = pairs()
    found[name][row - 1] = value
    return found


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (pair("similarity", 2, "near"), "row 2, column 'similarity': 'near' is not a number"),
        (pair("similarity", 1, None), "row 1, column 'similarity': empty is not a number"),
        (pair("genuine", 3, "maybe"), "row 3, column 'genuine': 'maybe' is neither 1"),
        (pair("genuine", 2, 2), "row 2, column 'genuine': '2' is neither 1"),
        (pair("genuine", 2, 1), "row 2, column 'genuine': a pair is genuine exactly if"),
        (pair("identity_b", 1, "q"), "row 1, column 'genuine': a pair is genuine exactly if"),
        (pair("identity_a", 4, ""), "row 4, column 'identity_a': empty is not a name"),
        ({name: values[:3] for name, values in pairs().items()}, "'b' .* is on other pairs than 'a'"),
        ({name: [] for name in pairs()}, "the table has no row"),
        ({name: values for name, values in pairs().items() if name != "identity_b"}, "without a column 'identity_b'"),
    ],
)
def test_wrong_pairs_are_refused_with_their_place(tmp_path: Path, columns: Columns, message: str) -> None:
    assert re.search(message, refused(_csv(tmp_path / "pairs", columns))[0])


def line(**changes: Any) -> dict[str, Any]:
    """A line of a sample log of lm-eval."""
    found = {"doc_id": 0, "doc": {}, "target": "4", "arguments": {}, "resps": [["4"]], "filtered_resps": ["4"]}
    return {**found, "filter": "none", "metrics": ["acc"], "doc_hash": "a", "acc": 1.0, **changes}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("{", "row 1: is not a JSON object"),
        ("[1, 2]", "row 1: is not a JSON object"),
        (json.dumps({"id": 3}), "row 1: 'doc_id' is missing"),
        ("\n".join([json.dumps(line()), json.dumps({"acc": 1})]), "row 2: 'doc_id' is missing"),
        ("\n".join([json.dumps(line()), json.dumps(line())]), "'doc_id' 0 is there twice"),
        (json.dumps(line(acc="high")), "column 'acc': empty is not a number"),
        (json.dumps(line(acc=[-12.5, 3])), "column 'acc': empty is not a number"),
        (json.dumps(line(metrics=[])), "there is no metric"),
        (
            "\n".join([json.dumps(line()), json.dumps(line(doc_id=1, metrics=["f1"], f1=1))]),
            "row 2, column 'acc': empty",
        ),
    ],
)
def test_wrong_logs_of_lm_eval_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "samples_sums_2026-01-31T10-11-12.123456.jsonl"
    path.write_text(text, encoding="utf-8")
    (sentence,) = refused(path)
    assert re.search(message, sentence), sentence


def log(**changes: Any) -> dict[str, Any]:
    """A log of inspect_ai."""
    sample = {"id": 1, "epoch": 1, "input": "2+2", "target": "4", "scores": {"match": {"value": "C", "answer": "4"}}}
    evaluation = {"task": "sums", "model": "openai/small", "created": "2026-01-31T10:11:12+00:00"}
    return {"version": 2, "status": "success", "eval": evaluation, "samples": [sample], **changes}


def sample(**changes: Any) -> dict[str, Any]:
    return {**log()["samples"][0], **changes}


INSPECT = [
    ({}, "'eval' or 'samples' is missing"),
    (log(status="error"), "status is 'error'"),
    (log(status="started"), "status is 'started'"),
    (log(samples=None), "'eval' or 'samples' is missing"),
    (log(samples=[]), "there is no sample"),
    (log(samples=[{"epoch": 1}]), "row 1: 'id' of the sample is missing"),
    (log(samples=[{"id": 1}]), "row 1: 'epoch' of the sample is missing"),
    (log(samples=[sample(scores={})]), "row 1: sample 1 has no score"),
    (
        log(samples=[sample(), sample(id=2, scores=None, error={"message": "out of time"})]),
        "row 2: sample 2 has no score",
    ),
    (log(samples=[sample(scores={"match": {"value": "maybe"}})]), "column 'match': empty is not a number"),
    (log(samples=[sample(), sample()]), "sample '1' is there in row 1, too"),
]


@pytest.mark.parametrize(("document", "message"), INSPECT)
@pytest.mark.parametrize("is_zipped", [False, True])
def test_wrong_logs_of_inspect_ai_are_refused(
    tmp_path: Path, document: dict[str, Any], message: str, *, is_zipped: bool
) -> None:
    path = tmp_path / ("log.eval" if is_zipped else "log.json")
    if is_zipped:
        samples = document.get("samples") or []
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("header.json", json.dumps({key: each for key, each in document.items() if key != "samples"}))
            for number, each in enumerate(samples):
                file.writestr(f"samples/{number}_epoch_1.json", json.dumps(each))
        message = "there is no sample" if document and not samples else message
    else:
        path.write_text(json.dumps(document), encoding="utf-8")
    (sentence,) = refused(path)
    assert re.search(message, sentence), sentence


def claim(**changes: Any) -> dict[str, Any]:
    about = {"metric": "sample_wise_accuracy", "challenger": "b", "baseline": "a", "direction": "higher"}
    return {"id": "C", **about, **changes}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"c.yaml:1: a claims file is a list of claims"),
        ("claims: []", r"c.yaml:1: a claims file is a list of claims"),
        ("- {", r"not valid YAML"),
        (json.dumps({"claims": [claim()], "baselin": "a"}), r"Unknown key 'baselin'. Did you mean 'baseline'"),
        ("\n- " + json.dumps(claim(metric="accuracy")), r"c.yaml:2: No measure named 'accuracy'"),
        ("\n\n- " + json.dumps(claim(challenger="c")), r"c.yaml:3: No system in this experiment is named 'c'"),
        ("claims:\n- " + json.dumps(claim(challenger="a")), r"c.yaml:2: Claim 'C' compares a system with itself"),
        (json.dumps([claim(), claim()]), r"The claim 'C' is given 2 times"),
        (
            json.dumps([claim(direction="better")]),
            r"'claims.direction' cannot be 'better'|'direction' cannot be 'better'",
        ),
        (json.dumps({"claims": [claim()], "baseline": "z"}), r"No system is called 'z'"),
        (json.dumps([claim(metric="nc1")]), r"these scores do not give 'nc1'. They give: .*sample_wise_accuracy"),
        (json.dumps([claim(over="mean")]), r"combines settings, which takes runs under several seeds"),
    ],
)
def test_a_wrong_claims_file_is_refused_at_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    (sentence,) = refused(right(), claims=path)
    assert re.search(message, sentence), sentence


def test_a_claim_about_a_value_takes_scores_not_cells() -> None:
    from orchestrator.experiment.model import Experiment

    small = {
        "name": "n",
        "losses": ["softmax", "bce"],
        "backbones": ["resnet8"],
        "datasets": ["digits"],
        "baseline": "bce",
    }
    with pytest.raises(Exception, match="No measure named 'value'"):
        Experiment.model_validate({**small, "claims": [claim(metric="value", challenger="softmax", baseline="bce")]})
    assert ExperimentError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scores": (3,)}, "table 1: a int is no table"),
        ({"scores": ()}, "No scores are given"),
        ({"baseline": "c"}, "No system is called 'c'"),
        ({"columns": {"labels": "label"}}, "'labels' is none of our columns. Did you mean 'label'"),
        ({"columns": {"label": "lable"}}, "no table has a column 'lable'. Did you mean 'label'"),
        ({"estimators": {"a": object()}}, "`estimators` and `data` go together"),
        ({"scores": (), "estimators": {"a": object()}, "data": ([[1.0]], [0])}, "neither predict_proba nor predict"),
        ({"scores": ({"sample": [1], "value": [1, 2]},)}, "different lengths"),
        (
            {"scores": ({"seed": "first", "sample": [1], "value": [1]},)},
            "the seed 'first' is not a whole number from 0",
        ),
        ({"scores": ({"system": "a", "sample": [1.5], "value": [1]},)}, "row 1, column 'sample': '1.5' is not a name"),
        (
            {"scores": ({"system": "a", "sample": [1], "value": [np.inf]},)},
            "row 1, column 'value': 'inf' is not a number",
        ),
    ],
)
def test_a_wrong_call_is_refused(given: dict[str, Any], message: str) -> None:
    scores = given.pop("scores", (right(),))
    (sentence,) = refused(*scores, **given)
    assert message in sentence, sentence
