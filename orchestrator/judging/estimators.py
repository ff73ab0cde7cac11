"""Scores of fitted estimators as in scikit-learn: of what has `predict_proba`, `decision_function` or `predict`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.judging.source import Array, ScoresError, Source


def scored(estimators: Mapping[str, Any], data: tuple[Any, Any]) -> Iterator[Source]:
    """The scores of each estimator on test data.

    Args:
        estimators: Fitted estimators by the name of their system; a list of them are runs under several seeds.
        data: What they predict from, (n, …), and the labels (n,).

    Raises:
        ScoresError: An estimator cannot predict, or not these data.
    """
    inputs, labels = data
    y = np.asarray(labels)
    for name, found in estimators.items():
        runs = found if isinstance(found, Sequence) else [found]
        for seed, estimator in enumerate(runs):
            yield _of(name, seed, estimator, inputs, y)


def _of(name: str, seed: int, estimator: Any, inputs: Any, y: Array) -> Source:
    told = {"system": name, "seed": seed}
    columns: dict[str, Array] = {"sample": np.arange(len(y)), "label": y}
    where = f"estimator '{name}', run {seed}"
    method = next(
        (each for each in ("predict_proba", "decision_function", "predict") if hasattr(estimator, each)), None
    )
    if method is None:
        raise ScoresError([f"{where}: a {type(estimator).__name__} has neither predict_proba nor predict."])
    try:
        scores = np.asarray(getattr(estimator, method)(inputs))
    except Exception as error:  # noqa: BLE001 - an estimator may raise anything
        raise ScoresError([f"{where}: {method} failed: {type(error).__name__}: {error}."]) from None
    if len(scores) != len(y):
        raise ScoresError([f"{where}: {method} gives {len(scores)} rows for {len(y)} labels."])
    if method == "predict":
        return Source(where, {**columns, "prediction": scores}, told=told)
    if scores.ndim == 1:  # of two classes, a decision function gives one number, above 0 for the second
        scores = np.stack([-scores, scores], axis=1)
    classes = tuple(map(str, np.asarray(estimator.classes_).tolist()))
    return Source(where, columns, {"scores": scores}, classes, told)
