"""The curve that a run shows is the exact one, drawn at as many points as a screen has."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from orchestrator.records.tracking.artefacts import POINTS, artefacts, curve, drawing
from trainers.evaluation import Evaluation
from trainers.metrics.uniform import accuracy_at, uniform_accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray


def scores(samples: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of a model that is mostly right."""
    draw = np.random.default_rng(seed)
    return draw.normal(1, 1, samples).astype(np.float32), draw.normal(-1, 1, samples).astype(np.float32)


def an_evaluation(samples: int) -> Evaluation:
    whole = np.arange(samples, dtype=np.int32)
    positive, rival = scores(samples)
    return Evaluation(whole, whole % 10, whole % 10, positive, rival, positive, positive)


@pytest.mark.parametrize("samples", [1, 3, 50, 5_000])
def test_the_curve_is_exact_at_its_thresholds_and_reaches_the_uniform_accuracy(samples: int) -> None:
    positive, rival = scores(samples, seed=1)
    thresholds, accuracies = curve(positive, rival)
    assert len(thresholds) == POINTS + 1
    assert (np.diff(thresholds) >= 0).all()
    ends = set(positive.tolist()) | set(rival.tolist())
    for threshold, accuracy in zip(thresholds, accuracies, strict=True):
        if threshold not in ends:  # there it is the accuracy right after the step
            assert accuracy == accuracy_at(threshold, positive, rival)
    assert accuracies.max() == uniform_accuracy(positive, rival).accuracy


def test_a_model_that_is_never_right_has_an_empty_curve() -> None:
    thresholds, accuracies = curve(np.zeros(3, np.float32), np.ones(3, np.float32))
    assert (len(thresholds), len(accuracies)) == (0, 0)
    assert ET.fromstring(drawing(thresholds, accuracies)) is not None  # noqa: S314 - of our own making


def test_the_texts_are_what_their_names_say() -> None:
    texts = artefacts({"git_commit": "abc", "threads": 1}, an_evaluation(50))
    assert json.loads(texts["environment.json"]) == {"git_commit": "abc", "threads": 1}
    rows = list(csv.DictReader(io.StringIO(texts["accuracy_curve.csv"])))
    assert len(rows) == POINTS + 1
    assert 0 <= float(rows[0]["accuracy"]) <= 1
    svg = ET.fromstring(texts["accuracy_curve.svg"])  # noqa: S314 - of our own making
    line = svg.find("{http://www.w3.org/2000/svg}polyline")
    assert line is not None
    assert len(line.attrib["points"].split()) == POINTS + 1
    assert "nan" not in texts["accuracy_curve.svg"]


def test_named_classes_have_a_table() -> None:
    evaluation = Evaluation(
        sample=np.arange(5, dtype=np.int32),
        label=np.array([0, 0, 2, 2, 2], np.int32),
        prediction=np.zeros(5, np.int32),
        positive=np.array([3, 1, 3, 0, 4], np.float32),
        rival=np.array([0, 2, 1, 1, 3.5], np.float32),
        logsumexp=np.zeros(5, np.float32),
        logsumexp_tuned=np.zeros(5, np.float32),
    )
    text = artefacts({"class_names": ["ok", "a, b", "dent"]}, evaluation)["classes.csv"]
    # The best threshold lies between 2 and 3, and gets the first and the third sample right.
    assert text.splitlines() == [
        "class,samples,sample_wise_accuracy,accuracy_at_best_threshold",
        "ok,2,0.5,0.5",
        '"a, b",0,,',
        "dent,3,0.666667,0.333333",
    ]


@pytest.mark.parametrize("evaluation", [None, an_evaluation(0)])
def test_a_cell_without_samples_has_no_curve(evaluation: Evaluation | None) -> None:
    assert set(artefacts({}, evaluation)) == {"environment.json"}


def test_a_test_set_of_ten_thousand_is_drawn_with_as_many_points_as_a_screen_shows() -> None:
    texts = artefacts({}, an_evaluation(10_000))
    assert len(texts["accuracy_curve.csv"].splitlines()) <= POINTS + 2  # a head, and the best threshold
    assert sum(map(len, texts.values())) < 40_000
