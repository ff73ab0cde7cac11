"""Columns named after classes are scores: the same numbers as under any other name, and never by position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator import judge
from orchestrator.errors import RequestError
from orchestrator.judging.judgement import read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

N = 60
CLASSES = ("cat", "dog", "bird")
NUMBER = np.arange(N) % 3
LABEL = np.array(CLASSES)[NUMBER]

Table = dict[str, Any]


def scores(seed: int, level: float = 1.0, classes: int = 3) -> NDArray[np.float64]:
    """Of each class, the true one higher by a level."""
    found = np.random.default_rng(seed).normal(size=(N, classes))
    found[np.arange(N), NUMBER] += level
    return found


def table(
    columns: Mapping[str, NDArray[Any]], label: NDArray[Any] = LABEL, system: str = "new", seed: int = 0, **more: Any
) -> Table:
    return {"system": [system] * N, "seed": [seed] * N, "sample": np.arange(N), "label": label, **columns, **more}


def under(names: tuple[str, ...], found: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The columns in another order than the classes, so that a place is no name."""
    return {name: found[:, place] for place, name in reversed([*enumerate(names)])}


def accuracies(*tables: Any, **options: Any) -> list[float]:
    return [row["sample_wise_accuracy"] for row in judge(*tables, **options).rows]


def plain(found: NDArray[Any]) -> float:
    return float((found.argmax(axis=1) == NUMBER).mean())


def told(*tables: Any) -> str:
    return read(tables, {}).told()[0]


def refused(*tables: Any, **options: Any) -> str:
    with pytest.raises(RequestError) as error:
        judge(*tables, **options)
    return str(error.value)


def _csv(path: Path, columns: Table) -> Path:
    pd.DataFrame(columns).to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


def _parquet(path: Path, columns: Table) -> Path:
    pq.write_table(pa.table(columns), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def _npz(path: Path, columns: Table) -> Path:
    found = {name: np.asarray(values) for name, values in columns.items()}
    np.savez(path.with_suffix(".npz"), **found)  # pyright: ignore[reportArgumentType] - its stub takes arrays for flags
    return path.with_suffix(".npz")


@pytest.mark.parametrize("write", [_csv, _parquet, _npz])
@pytest.mark.parametrize(
    ("names", "label"),
    [
        (CLASSES, LABEL),
        (("0", "1", "2"), NUMBER),
        (("a", "b", "c"), np.array(["a", "b", "c"])[NUMBER]),
        (("walk", "run", "item"), np.array(["walk", "run", "item"])[NUMBER]),  # `run` and `item` are roles elsewhere
        (("True", "False", "Unsure"), np.array(["True", "False", "Unsure"])[NUMBER]),
    ],
)
def test_columns_named_after_labels_are_the_scores_of_their_class(
    tmp_path: Path, write: Callable[[Path, Table], Path], names: tuple[str, ...], label: NDArray[Any]
) -> None:
    found = [
        (system, seed, scores(10 * seed + len(system), level))
        for system, level in (("old", 0.5), ("newer", 1.5))
        for seed in range(3)
    ]
    bare = [write(tmp_path / f"{s}{n}", table(under(names, each), label, s, n)) for s, n, each in found]
    prefixed = tuple(f"score_{name}" for name in names)
    known = [table(under(prefixed, each), label, s, n) for s, n, each in found]
    rows = judge(*bare).rows
    assert [row["sample_wise_accuracy"] for row in rows] == pytest.approx([plain(each) for _, _, each in found])
    assert [{**row} for row in rows] == [{**row} for row in judge(*known).rows]
    assert f"scores = {names[2]} … {names[0]} (3 classes)" in told(bare[0])


def test_numbers_as_names_in_pandas_are_classes(recwarn: pytest.WarningsRecorder) -> None:
    found = scores(1)
    frame = pd.DataFrame(found[:, ::-1], columns=[2, 1, 0])
    frame["sample"] = range(N)
    frame["label"] = NUMBER
    assert accuracies(frame) == pytest.approx([plain(found)])
    assert not recwarn.list


def test_a_class_without_a_sample_is_known_by_probabilities_or_by_numbers() -> None:
    found = scores(2, classes=4)
    shares = np.exp(found) / np.exp(found).sum(axis=1, keepdims=True)
    names = (*CLASSES, "wolf")
    assert accuracies(table(under(names, shares.round(3)))) == pytest.approx([plain(shares)])
    assert plain(shares) != plain(shares[:, :3])
    assert accuracies(table(under(("0", "1", "2", "3"), found), NUMBER)) == pytest.approx([plain(found)])


def test_other_numbers_are_no_class_where_that_can_be_known() -> None:
    found = scores(3)
    weight = np.full(N, 9.0)
    assert accuracies(table(under(("0", "1", "2"), found), NUMBER, weight=weight)) == pytest.approx([plain(found)])
    shares = np.exp(found) / np.exp(found).sum(axis=1, keepdims=True)
    assert accuracies(table(under(CLASSES, shares), weight=weight)) == pytest.approx([plain(found)])
    assert "weight is not used" in told(table(under(CLASSES, shares), weight=weight))
    assert accuracies(table(under(CLASSES, found), id=100 + np.arange(N))) == pytest.approx([plain(found)])
    assert accuracies(table(under(CLASSES, found), note=["text"] * N)) == pytest.approx([plain(found)])
    numbered = pd.DataFrame(table(under(CLASSES, found)))
    numbered["Unnamed: 0"] = 100 + np.arange(N)
    assert accuracies(numbered) == pytest.approx([plain(found)])


def test_where_it_cannot_be_known_the_user_is_asked() -> None:
    found = scores(4, classes=4)
    columns = table(under((*CLASSES, "wolf"), found))
    said = refused(columns)
    assert "columns are named after labels (bird, dog, cat), but no label is 'wolf': is that a class, too?" in said
    assert "--map scores=bird,dog,cat" in said
    assert "score_CLASS" in said
    assert accuracies(columns, columns={"scores": "bird,dog,cat"}) == pytest.approx([plain(found[:, :3])])
    assert accuracies(columns, columns={"scores": "bird, dog, cat, wolf"}) == pytest.approx([plain(found)])
    assert accuracies(columns, columns={"score_wolf": "wolf"}) == pytest.approx([plain(found)])
    assert plain(found) != plain(found[:, :3])


def test_classes_of_other_names_are_mapped() -> None:
    found = scores(5)
    columns = table(under(("p1", "p2", "p3"), found))
    assert "cannot be judged without a column 'scores'" in refused(columns)
    given = {"score_cat": "p1", "score_dog": "p2", "score_bird": "p3"}
    assert accuracies(columns, columns=given) == pytest.approx([plain(found)])
    swapped = {"score_cat": "p2", "score_dog": "p1", "score_bird": "p3"}
    assert accuracies(columns, columns=swapped) == pytest.approx([plain(found[:, [1, 0, 2]])])
    mixed = table({"p1": found[:, 0], "dog": found[:, 1], "bird": found[:, 2]})
    assert accuracies(mixed, columns={"score_cat": "p1"}) == pytest.approx([plain(found)])


def test_a_table_with_a_prediction_is_judged_by_it_where_a_class_has_no_column() -> None:
    found = scores(6)
    columns = table({"cat": found[:, 0], "dog": found[:, 1]}, prediction=np.array(CLASSES)[found.argmax(axis=1)])
    assert accuracies(columns) == pytest.approx([plain(found)])
    assert "prediction" in told(columns)


def test_classes_that_a_file_names_are_its_columns(tmp_path: Path) -> None:
    found = scores(7, classes=4)
    named = _npz(tmp_path / "named", {**table(under((*CLASSES, "wolf"), found)), "classes": [*CLASSES, "wolf"]})
    numbered = _npz(tmp_path / "numbered", {**table(under(("0", "1", "2"), found)), "classes": [*CLASSES]})
    assert accuracies(named) == pytest.approx([plain(found)])
    assert accuracies(numbered) == pytest.approx([plain(found[:, :3])])


def with_entry(row: int, value: Any) -> dict[str, Any]:
    found = under(CLASSES, scores(8))
    return {**found, "dog": [value if place == row - 1 else each for place, each in enumerate(found["dog"])]}


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (table(with_entry(7, np.nan)), {}, "row 7, column 'dog': empty is not a number"),
        (table(with_entry(7, "high")), {}, "row 7, column 'dog': 'high' is not a number"),
        (
            table({"cat": scores(8)[:, 0], "dog": scores(8)[:, 1]}),
            {},
            "rows 3, 6, 9 and 17 more, column 'label': there are no scores of a class 'bird', but of cat, dog",
        ),
        (
            table(under(CLASSES, scores(8)), np.where(np.arange(N) == 4, "brid", LABEL)),
            {},
            "row 5, column 'label': there are no scores of a class 'brid', but of bird, dog, cat",
        ),
        (table({"cat": scores(8)[:, 0]}), {}, "cannot be judged without a column 'scores'"),
        (table(under(CLASSES, scores(8))), {"scores": "cat,dog,brid"}, "no table has a column 'brid'. Did you mean"),
        (table(under(CLASSES, scores(8))), {"scores": "cat,cat,dog"}, "the column 'cat' is named for 2 classes"),
        (table(under(CLASSES, scores(8))), {"scores": "cat"}, "scores are a column of lists, or the columns of all"),
        (table(under(CLASSES, scores(8))), {"score_cat": "cats"}, "no table has a column 'cats'. Did you mean 'cat'"),
    ],
)
def test_wrong_columns_of_classes_are_one_sentence(columns: Table, options: dict[str, str], message: str) -> None:
    said = refused(columns, columns=options)
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_list_of_columns_is_that_of_every_table_that_has_one_of_them() -> None:
    whole = table(under(CLASSES, scores(9)))
    part = table({"cat": scores(9)[:, 0], "dog": scores(9)[:, 1]}, system="old")
    said = refused(whole, part, columns={"scores": "cat,dog,bird"})
    assert said == "table 2: there is no column 'bird', which --map scores=cat,dog,bird lists."
