"""Whether what a cell's file states is what its rows say. Whoever wrote it, they are asked, and not the account.

Measures are recomputed from the rows by the functions that a cell's own process used, so they agree but for the last
digits, in which processors differ. What no row determines stays as stated: `trainers.metrics.STATED`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DamagedFileError
from orchestrator.experiment.plan import PROTOCOL
from orchestrator.outcome import has_figures
from orchestrator.records.files.cell_file import Account, evaluation_of
from orchestrator.records.files.evaluations import Whole
from trainers.evaluation import Evaluation
from trainers.metrics import from_rows

_AGREE = 1e-9
"""Relative difference that processors make in sums and logarithms; accuracies and thresholds are the same bits."""

_ROUNDED = 0.05
"""Of a log-probability, which is the difference of two float32."""


def check(whole: Whole) -> None:
    """Look at every row of a cell's files, and at every measure that follows from them.

    Measures of another protocol are not recomputed: they may have meant something else. Where the validation rows
    were not read, neither are the measures that need them.

    Raises:
        DamagedFileError: Rows make no sense, or the account states other figures than they give.
    """
    account = whole.footer.account()
    path = whole.footer.path
    if not has_figures(account.state):
        return
    test = evaluation_of(whole.rows)
    validation = None if whole.validation_rows is None else evaluation_of(whole.validation_rows)
    apart = None if whole.certification_rows is None else evaluation_of(whole.certification_rows)
    for rows, of in ((test, ""), (validation, "validation "), (apart, "certification ")):
        if rows is not None and (fault := next(faults(rows, account.classes), None)):
            raise DamagedFileError(f"{path} has {of}rows that make no sense: {fault}.")
    if account.protocol == PROTOCOL and (wrong := list(disagreements(account, test, validation))):
        more = f", and {len(wrong) - 1} more of its figures are others" if wrong[1:] else ""
        raise DamagedFileError(f"{path} states {wrong[0]}{more}.")


def disagreements(account: Account, test: Evaluation, validation: Evaluation | None) -> Iterator[str]:
    """Each figure that the account states and the rows do not give, with both."""
    temperature = account.metrics.get("temperature")
    is_unread = validation is None and account.validation_sha256 is not None
    found = from_rows(
        test,
        validation,
        account.bias or (),
        math.nan if temperature is None else temperature,
        sigmoid=bool(account.sigmoid),
        decide_by=account.recipe["loss"].get("decide_by", "raw"),
    )
    for name, value in found.items():
        stated = account.metrics.get(name)
        if value is None and (stated is None or is_unread):
            continue
        if stated is None or value is None or not math.isclose(stated, value, rel_tol=_AGREE, abs_tol=_AGREE):
            yield f"{name} {_shown(stated)}, but its rows give {_shown(value)}"


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def faults(rows: Evaluation, classes: int | None) -> Iterator[str]:
    """What makes no sense, in a clause each; the first is enough to refuse the file.

    Args:
        rows: At least one.
        classes: How many there are; None where the file does not say.
    """
    yield from _columns(rows, classes)
    yield from _first("the highest score is not that of the prediction", _mispredicted(rows))
    if rows.scores is not None:
        yield from _scores(rows, rows.scores)
    yield from _levels(rows, classes)


def _columns(rows: Evaluation, classes: int | None) -> Iterator[str]:
    """Columns looked at one by one."""
    if not rows.sample.size:
        yield "there are none"
        return
    if rows.sample.min() < 0:
        yield f"a sample is numbered {rows.sample.min()}"
    if np.unique(rows.sample).size < rows.sample.size:
        yield "a sample occurs twice"
    for name in (field.name for field in fields(Evaluation)):
        values = getattr(rows, name)
        if values is not None and values.dtype.kind == "f" and not np.isfinite(values).all():
            yield f"{name} is not finite in row {_row(~np.isfinite(values))}"
    for name in ("label", "prediction", "runner_up", "classes"):
        values = getattr(rows, name)
        if values is None:
            continue
        strange = (values < 0) | (values >= (classes or math.inf))
        if strange.any():
            yield f"{name} is {values[strange][0]} in row {_row(strange)}, of classes 0 to {(classes or math.inf) - 1}"


def _mispredicted(rows: Evaluation) -> NDArray[np.bool_]:
    own = rows.prediction == rows.label
    return np.where(own, rows.positive < rows.rival, rows.positive > rows.rival)


def _scores(rows: Evaluation, scores: NDArray[np.float32]) -> Iterator[str]:
    """Scores against the columns that follow from them."""
    each = np.arange(len(scores))
    top = np.maximum(rows.positive, rows.rival)
    if rows.classes is not None:
        own = rows.classes == rows.label[:, None]
        kept = np.where(own, scores, -np.inf).max(axis=1)
        absent = ~own.any(axis=1)
        yield from _first("scores do not descend", np.diff(scores, axis=1).max(axis=1) > 0)
        steps = np.diff(np.sort(rows.classes, axis=1), axis=1)
        yield from _first("a class occurs twice", steps.min(axis=1) == 0)
        yield from _first("the highest of the scores is another", scores[:, 0] != top)
        yield from _first("the second of the scores is another", scores[:, 1] != rows.runner_up_score)
        wrong = np.where(absent, rows.positive > scores[:, -1], kept != rows.positive)
        yield from _first("the own score is another", wrong)
        return
    yield from _first("the own score is another", scores[each, rows.label] != rows.positive)
    yield from _first("the rival is not the highest other score", _without(scores, rows.label) != rows.rival)
    yield from _first("the highest score is not that of the prediction", scores[each, rows.prediction] != top)
    second = _without(scores, rows.prediction)
    wrong = (second != rows.runner_up_score) | (scores[each, rows.runner_up] != second)
    yield from _first("the runner-up does not score second", wrong | (rows.runner_up == rows.prediction))


def _without(scores: NDArray[np.float32], classes: NDArray[np.int32]) -> NDArray[np.float32]:
    """The highest score of each row when one class is left out, (n,)."""
    others = scores.copy()
    others[np.arange(len(scores)), classes] = -np.inf
    return others.max(axis=1)


def _levels(rows: Evaluation, classes: int | None) -> Iterator[str]:
    """Logarithms of sums against the highest score in them."""
    top = np.maximum(rows.positive, rows.rival).astype(np.float64)
    most = math.log(classes or math.inf)
    above = rows.logsumexp - top
    yield from _first("logsumexp is not that of such scores", (above < -_ROUNDED) | (above > most + _ROUNDED))
    if rows.log_odds is not None and rows.runner_up_score is not None:
        below = top - rows.runner_up_score - rows.log_odds
        yield from _first("log_odds are not those of such scores", (below < -_ROUNDED) | (below > most + _ROUNDED))


def _first(clause: str, wrong: NDArray[np.bool_]) -> Iterator[str]:
    if wrong.any():
        yield f"{clause} in row {_row(wrong)}"


def _row(wrong: NDArray[np.bool_]) -> int:
    """The first row with something wrong in it, counted from 0."""
    return int(np.argwhere(wrong)[0][0])
