"""What a file states is asked of its rows: forged figures and damaged rows are named, honest ones taken."""

from __future__ import annotations

import json
import os
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import DamagedFileError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan, plan
from orchestrator.records.files import pages, soundness
from orchestrator.records.files.cell_file import SCHEMA, columns, encoded
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.import_cells import import_
from orchestrator.records.files.marks import Marks
from orchestrator.records.files.publication import export
from orchestrator.records.files.results import aggregate
from orchestrator.records.files.storage import Storage
from orchestrator.workspace import Workspace
from trainers.metrics import MEASURES, STATED, from_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.experiment.plan import Cell
    from orchestrator.records.files.evaluations import Account
    from trainers.evaluation import Evaluation

    Accounts = Callable[..., Account]
    Rows = Callable[..., Evaluation]

CELLS = 10


@pytest.fixture
def asked() -> Plan:
    fields = {"name": "asked", "losses": ["softmax", "bce_unified"], "backbones": ["resnet8"], "datasets": ["digits"]}
    return plan(Experiment.model_validate({**fields, "seeds": CELLS // 2, "baseline": "softmax"}))


@pytest.fixture
def folder(asked: Plan, an_account: Accounts, drawn: Rows, tmp_path: Path) -> Path:
    """An honest export of ten cells."""
    theirs = Workspace(tmp_path / "theirs")
    for seed, cell in enumerate(asked.cells):
        test = drawn(seed=seed)
        validation = drawn(20, seed=seed + 100)
        account = an_account(cell, test, validation)
        Evaluations(theirs.evaluations).publish(cell.recipe, account, test, validation)
    assert export(asked, theirs, tmp_path / "out").damaged == ()
    return tmp_path / "out"


@pytest.fixture
def ours(tmp_path: Path) -> Evaluations:
    return Evaluations(tmp_path / "ours" / "evaluations")


def replaced(folder: Path, name: str, content: bytes) -> None:
    """Put another file in the place of one, and make the checksums fit."""
    path = folder / name
    path.write_bytes(content)
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.endswith(f"  {name}\n")]
    (folder / "SHA256SUMS").write_text("".join([*kept, f"{sha256(content).hexdigest()}  {name}\n"]))


def forge(folder: Path, cell: Cell, **metrics: float) -> None:
    """State other measures in a cell's file, with all checksums right."""
    there = Evaluations(folder / "evaluations")
    account = there.account(cell)
    forged = replace(account, metrics={**account.metrics, **metrics})
    replaced(folder, f"evaluations/{there.name(cell)}", encoded(forged, there.evaluation(cell)))


def test_ten_forged_cells_are_named_with_the_figure_stated_and_the_one_found_and_none_is_taken(
    folder: Path, asked: Plan, ours: Evaluations
) -> None:
    honest = {cell.id: Evaluations(folder / "evaluations").account(cell).metrics for cell in asked.cells}
    for cell in asked.cells:
        forge(folder, cell, uniform_accuracy=0.999, sample_wise_accuracy=0.999)
    told = import_(folder, ours)
    assert (told.taken, ours.ids()) == ((), set())
    assert len(told.problems) == CELLS
    for cell in asked.cells:
        (said,) = (problem for problem in told.problems if cell.id in problem)
        assert "states sample_wise_accuracy 0.999, but its rows give" in said
        assert f"{honest[cell.id]['sample_wise_accuracy']:.6g}, and 1 more of its figures are others." in said


def test_the_honest_export_is_taken_whole_and_stays_sound(folder: Path, asked: Plan, ours: Evaluations) -> None:
    told = import_(folder, ours)
    assert (len(told.taken), told.problems) == (CELLS, ())
    found = aggregate(asked, ours)
    assert (found.table.num_rows, found.damaged) == (CELLS, ())


@pytest.mark.parametrize("name", [name for name in MEASURES if name not in STATED])
def test_every_measure_that_follows_from_rows_is_asked(
    asked: Plan, drawn: Rows, an_account: Accounts, name: str
) -> None:
    test = drawn(1000, skill=3.0)
    validation = drawn(20, seed=1, skill=3.0)
    bias = [0.25, *[0.5] * 9]
    metrics = {**from_rows(test, validation, bias, 0.5, sigmoid=True), "temperature": 0.5}
    account = an_account(asked.cells[0], test, validation, metrics=metrics, bias=bias, sigmoid=True)
    assert list(soundness.disagreements(account, test, validation)) == []
    value = metrics[name]
    assert value is not None
    for other in (value + 1e-6, None):
        forged = replace(account, metrics={**metrics, name: other})
        (said,) = soundness.disagreements(forged, test, validation)
        assert said.startswith(f"{name} ")
        assert said.endswith(f"but its rows give {value:.6g}")
    absent = replace(account, metrics={of: each for of, each in metrics.items() if of != name})
    (said,) = soundness.disagreements(absent, test, validation)
    assert said == f"{name} none, but its rows give {value:.6g}"
    rounded = replace(account, metrics={**metrics, name: value * (1 + 1e-12)})
    assert list(soundness.disagreements(rounded, test, validation)) == []


def test_what_no_row_determines_stays_as_stated(asked: Plan, drawn: Rows, an_account: Accounts) -> None:
    account = an_account(asked.cells[0])
    stated = replace(account, metrics={**account.metrics, **dict.fromkeys(STATED - {"temperature"}, 0.123)})
    assert list(soundness.disagreements(stated, drawn(), None)) == []


def test_the_accuracy_at_a_forged_threshold_is_no_way_round(folder: Path, asked: Plan, ours: Evaluations) -> None:
    """Measures of the validation split follow from its rows; without these, none may be stated."""
    cell = asked.cells[0]
    there = Evaluations(folder / "evaluations")
    account = there.account(cell)
    content = encoded(replace(account, validation_sha256=None), there.evaluation(cell))
    replaced(folder, f"evaluations/{there.name(cell)}", content)
    (problem,) = import_(folder, ours).problems
    assert "states validation_threshold" in problem
    assert "its rows give none" in problem


def with_rows(rows: Evaluation, place: int, **values: Any) -> Evaluation:
    """The rows, with other values in one of them."""
    columns = {name: getattr(rows, name).copy() for name in values}
    for name, value in values.items():
        columns[name][place] = value
    return replace(rows, **columns)


def lower(rows: Evaluation) -> Evaluation:
    """A prediction that another score beats."""
    wrong = (rows.scores.argmax(axis=1) + 1) % 10  # pyright: ignore[reportOptionalMemberAccess]
    return with_rows(rows, 3, prediction=wrong[3])


DAMAGE: dict[str, tuple[Callable[[Evaluation], Evaluation], str]] = {
    "not a number": (lambda rows: with_rows(rows, 7, positive=np.nan), "positive is not finite in row 7"),
    "infinite": (lambda rows: with_rows(rows, 7, scores=np.inf), "scores is not finite in row 7"),
    "infinite odds": (lambda rows: with_rows(rows, 1, log_odds=np.inf), "log_odds is not finite in row 1"),
    "label too high": (lambda rows: with_rows(rows, 4, label=10), "label is 10 in row 4, of classes 0 to 9"),
    "label below 0": (lambda rows: with_rows(rows, 4, label=-1), "label is -1 in row 4, of classes 0 to 9"),
    "prediction": (lambda rows: with_rows(rows, 2, prediction=99), "prediction is 99 in row 2"),
    "twice": (lambda rows: with_rows(rows, 5, sample=6), "a sample occurs twice"),
    "negative sample": (lambda rows: with_rows(rows, 5, sample=-6), "a sample is numbered -6"),
    "not the highest": (lower, "the highest score is not that of the prediction in row 3"),
    "own score": (
        lambda rows: with_rows(rows, 8, positive=rows.positive[8] - 1e-3),
        "the own score is another in row 8",
    ),
    "rival": (lambda rows: with_rows(rows, 8, rival=rows.rival[8] - 1e-3), "the rival is not the highest other score"),
    "runner-up": (
        lambda rows: with_rows(rows, 9, runner_up=rows.prediction[9]),  # pyright: ignore[reportOptionalSubscript]
        "the runner-up does not score second in row 9",
    ),
    "logsumexp": (lambda rows: with_rows(rows, 0, logsumexp=-9), "logsumexp is not that of such scores in row 0"),
    "odds": (lambda rows: with_rows(rows, 0, log_odds=50), "log_odds are not those of such scores in row 0"),
    "too many": (lambda rows: with_rows(rows, 0, runner_up=-3), "runner_up is -3 in row 0"),
}


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_rows_that_make_no_sense_are_named_in_one_sentence_and_left_out(  # noqa: PLR0917 - fixtures and two parameters
    asked: Plan, drawn: Rows, an_account: Accounts, folder: Path, ours: Evaluations, split: str, damage: str
) -> None:
    cell = asked.cells[3]
    there = Evaluations(folder / "evaluations")
    spoil, said = DAMAGE[damage]
    test = drawn(seed=3)
    validation = drawn(20, seed=103)
    rows = {"test": test, "validation": validation}
    rows[split] = spoil(rows[split])
    there.publish(
        cell.recipe,
        an_account(cell, test, validation),
        evaluation=rows["test"],
        validation=rows["validation"],
    )
    for name in ("evaluations", "validation"):
        replaced(folder, f"{name}/{there.name(cell)}", (folder / name / there.name(cell)).read_bytes())
    told = import_(folder, ours)
    assert len(told.taken) == CELLS - 1
    (problem,) = told.problems
    assert problem.startswith(str(there.path(cell.recipe, cell.id)))
    assert f"has {'validation ' if split == 'validation' else ''}rows that make no sense: {said}" in problem
    assert problem.count(".parquet") == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scores": lambda rows: rows.scores[:, ::-1]}, "scores do not descend"),
        ({"classes": lambda rows: np.zeros_like(rows.classes)}, "a class occurs twice"),
        ({"runner_up_score": lambda rows: rows.runner_up_score - 1e-3}, "the second of the scores is another"),
        ({"classes": lambda rows: np.where(rows.classes == rows.label[:, None], 119 - rows.classes, rows.classes)}, ""),
    ],
)
def test_of_the_ten_highest_scores_the_same_is_asked(drawn: Rows, changes: Any, said: str) -> None:
    rows = drawn(40, classes=120)
    assert list(soundness.faults(rows, 120)) == []
    spoilt = replace(rows, **{name: change(rows) for name, change in changes.items()})
    found = list(soundness.faults(spoilt, 120))
    assert found
    assert said in " ".join(found)


def test_honest_rows_of_ties_and_of_few_classes_make_sense(drawn: Rows) -> None:
    for classes in (2, 3, 10, 100, 101, 300):
        assert list(soundness.faults(drawn(200, classes=classes), classes)) == []


def test_a_small_file_that_claims_four_hundred_million_rows_is_refused_in_little_memory(
    asked: Plan, an_account: Accounts, folder: Path, ours: Evaluations
) -> None:
    cell = asked.cells[0]
    there = Evaluations(folder / "evaluations")
    rows = 400_000_000
    part = {field.name: pa.nulls(1000, field.type) for field in SCHEMA if field.name in ("scores", "classes")}
    numbers = {
        field.name: pa.array(np.zeros(1000), field.type, safe=False) for field in SCHEMA if field.name not in part
    }
    account = an_account(cell, samples=rows)
    whole = encoded(account, None)
    text = pq.read_metadata(pa.BufferReader(whole)).metadata[b"cell"]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd", store_schema=False) as writer:
        group = pa.table({**numbers, **part}, schema=SCHEMA)
        writer.write_table(pa.concat_tables([group] * (rows // 1000 // 100)), row_group_size=4_000_000)
        writer.add_key_value_metadata({"cell": text, "cell_sha256": sha256(text).hexdigest(), "rows_sha256": "0" * 64})
    content = sink.getvalue().to_pybytes()
    replaced(folder, f"evaluations/{there.name(cell)}", content)
    pool = pa.default_memory_pool()
    before = pa.default_memory_pool().bytes_allocated()
    tracemalloc.start()
    told = import_(folder, ours)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert pool.bytes_allocated() <= before + 1e6
    (problem,) = told.problems
    assert "claims to hold 4,000,000 rows in" in problem


def test_a_list_that_claims_many_million_scores_is_refused_before_it_is_decoded(
    asked: Plan, an_account: Accounts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = asked.cells[0]
    there = Evaluations(folder / "evaluations")
    scores = 40_000_000
    first = there.evaluation(cell)
    text = pq.read_metadata(pa.BufferReader(encoded(an_account(cell, samples=1), None))).metadata[b"cell"]
    honest = pa.table(columns(first), schema=SCHEMA).slice(0, 1)
    many = pa.ListArray.from_arrays(
        pa.array([0, scores], pa.int32()), pa.nulls(scores, pa.float32()), type=SCHEMA.field("scores").type
    )
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd", store_schema=False) as writer:
        writer.write_table(honest.set_column(SCHEMA.get_field_index("scores"), SCHEMA.field("scores"), many))
        writer.add_key_value_metadata({"cell": text, "cell_sha256": sha256(text).hexdigest(), "rows_sha256": "0" * 64})
    content = sink.getvalue().to_pybytes()
    assert len(content) < 100_000
    replaced(folder, f"evaluations/{there.name(cell)}", content)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(
        DamagedFileError, match=r"claims to hold [\d,]+ values and [\d,]+ bytes in one page of its 1 rows"
    ):
        there.checked(there.name(cell))


@pytest.mark.parametrize("cut", [0, 1, 7, 20, 400])
def test_headers_that_make_no_sense_are_refused(drawn: Rows, asked: Plan, an_account: Accounts, cut: int) -> None:
    content = encoded(an_account(asked.cells[0]), drawn())
    rows = [each.values for each in pages.claimed(content)]
    assert max(rows) == 50 * 10
    if cut:
        with pytest.raises(ValueError, match=r".+"):
            list(pages.claimed(content[:-cut]))
    length = int.from_bytes(content[-8:-4], "little")
    draw = np.random.default_rng(cut)
    for _ in range(200):
        spoilt = bytearray(content)
        spoilt[int(draw.integers(len(content) - 8 - length, len(content) - 8))] ^= 1 << int(draw.integers(8))
        with suppress(ValueError):
            list(pages.claimed(bytes(spoilt)))


ILL_TYPED: dict[str, Any] = {
    "fingerprints": "x",
    "distributions": {"loss": 3},
    "threads": "one",
    "devices": 2**70,
    "git_commit": 7,
    "git_dirty": "no",
    "torch_version": ["2"],
    "node": {},
    "loss_sha256": 1,
    "stated": {"x": 1},
}


@pytest.mark.parametrize("name", ILL_TYPED)
def test_provenance_of_wrong_types_is_named_by_import_and_set_aside_by_aggregate(
    folder: Path, asked: Plan, ours: Evaluations, name: str
) -> None:
    cell = asked.cells[0]
    there = Evaluations(folder / "evaluations")
    account = there.account(cell)
    rows = there.evaluation(cell)
    forged = encoded(replace(account, provenance={**account.provenance, name: ILL_TYPED[name]}), rows)
    replaced(folder, f"evaluations/{there.name(cell)}", forged)
    told = import_(folder, ours)
    assert len(told.taken) == CELLS - 1
    (problem,) = told.problems
    assert cell.id in problem
    assert name in problem
    ours.storage.write(ours.name(cell), forged)
    found = aggregate(asked, ours)
    assert [missing.id for missing in found.missing] == [cell.id]
    assert "was set aside" in found.damaged[0]


def test_counts_that_no_table_holds_are_named(folder: Path, asked: Plan, ours: Evaluations) -> None:
    cell = asked.cells[0]
    there = Evaluations(folder / "evaluations")
    forged = encoded(replace(there.account(cell), parameters=2**70), there.evaluation(cell))
    replaced(folder, f"evaluations/{there.name(cell)}", forged)
    assert "parameters" in import_(folder, ours).problems[0]


def test_provenance_without_entries_or_with_unknown_ones_is_taken(folder: Path, asked: Plan, ours: Evaluations) -> None:
    there = Evaluations(folder / "evaluations")
    for cell, provenance in zip(asked.cells, ({}, {"threads": None, "mine": {"x": [1]}}), strict=False):
        content = encoded(replace(there.account(cell), provenance=provenance), there.evaluation(cell))
        replaced(folder, f"evaluations/{there.name(cell)}", content)
    told = import_(folder, ours)
    assert (len(told.taken), told.problems) == (CELLS, ())
    assert aggregate(asked, ours).damaged == ()


def test_a_newer_file_or_one_that_breaks_the_reader_is_named_and_the_import_noted(
    folder: Path, asked: Plan, ours: Evaluations, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Evaluations(folder / "evaluations")
    newer = asked.cells[0]
    breaking = asked.cells[1]
    content = encoded(replace(there.account(newer), version=99), there.evaluation(newer))
    replaced(folder, f"evaluations/{there.name(newer)}", content)
    whole = Evaluations.checked

    def checked(self: Evaluations, name: str, *, validation: bool = True) -> Any:
        if breaking.id in name:
            raise AttributeError("a fault of this program")
        return whole(self, name, validation=validation)

    monkeypatch.setattr(Evaluations, "checked", checked)
    told = import_(folder, ours)
    assert len(told.taken) == CELLS - 2
    assert any("version 99" in problem and newer.id in problem for problem in told.problems)
    assert any(f"{breaking.id}.parquet cannot be taken (AttributeError" in problem for problem in told.problems)
    (noted,) = Storage(ours.folder.parent / "imports").list()
    assert set(json.loads(Storage(ours.folder.parent / "imports").read(noted.name) or b"")["cells"]) == ours.ids()


def test_an_import_that_is_stopped_is_noted(folder: Path, ours: Evaluations, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = list[str]()
    take = Evaluations.take

    def stopped(self: Evaluations, name: str, whole: Any) -> None:
        if taken:
            raise KeyboardInterrupt
        taken.append(name)
        take(self, name, whole)

    monkeypatch.setattr(Evaluations, "take", stopped)
    with pytest.raises(KeyboardInterrupt):
        import_(folder, ours)
    assert len(list(Storage(ours.folder.parent / "imports").list())) == 1


# In a workspace


def test_a_forged_cell_is_set_aside_by_aggregate_and_its_name_told(
    folder: Path, asked: Plan, ours: Evaluations
) -> None:
    import_(folder, ours)
    cell = asked.cells[0]
    assert isinstance(ours.folder, type(folder))
    account = ours.account(cell)
    forged = replace(account, metrics={**account.metrics, "uniform_accuracy": 0.999})
    (ours.folder / ours.name(cell)).write_bytes(encoded(forged, ours.evaluation(cell)))
    found = aggregate(asked, ours)
    assert [missing.id for missing in found.missing] == [cell.id]
    (said,) = found.damaged
    assert "states uniform_accuracy 0.999, but its rows give" in said
    assert "was set aside" in said
    assert cell.id not in ours.ids()


@pytest.mark.parametrize("folder_of", ["evaluations", "validation"])
def test_a_file_that_changed_after_it_was_checked_is_read_again(
    folder: Path, asked: Plan, ours: Evaluations, folder_of: str
) -> None:
    """Also where its footer, size and time of change are as they were."""
    import_(folder, ours)
    assert aggregate(asked, ours).damaged == ()
    path = Path(str(ours.folder.parent)) / folder_of / ours.name(asked.cells[0])
    content = bytearray(path.read_bytes())
    before = path.stat()
    content[100] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = aggregate(asked, ours)
    assert len(found.damaged if folder_of == "evaluations" else found.lost) == 1


def test_a_seal_is_of_one_account_and_its_rows(
    asked: Plan, ours: Evaluations, drawn: Rows, an_account: Accounts
) -> None:
    cell = asked.cells[0]
    seals = set[str | None]()
    for seed, changes in ((0, {}), (0, {"seconds": 4.0}), (1, {})):
        ours.publish(cell.recipe, an_account(cell, drawn(seed=seed), **changes), drawn(seed=seed))
        seals.add(ours.footer(cell).seal)
    assert len(seals) == 3


def test_marks_are_added_to_those_that_are_there(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks", "identical")
    assert marks.seals() == set()
    marks.add(["a" * 64])
    marks.add(["b" * 64, "a" * 64])
    assert marks.seals() == {"a" * 64, "b" * 64}
    assert Marks(tmp_path / "marks", "different").seals() == set()


def test_measures_of_another_protocol_are_not_recomputed(
    asked: Plan, ours: Evaluations, drawn: Rows, an_account: Accounts
) -> None:
    cell = asked.cells[0]
    account = an_account(cell, metrics={"uniform_accuracy": 0.999}, protocol=1)
    ours.publish(cell.recipe, account, drawn())
    content = (ours.folder / ours.name(cell)).read_bytes()  # pyright: ignore[reportAttributeAccessIssue]
    assert content
    footer = ours.footer(cell)
    table = footer.table(content)
    soundness.check(soundness.Whole(content, footer, table, None, None))
    with pytest.raises(DamagedFileError, match="a sample occurs twice"):
        twice = pa.concat_tables([table, table])
        soundness.check(soundness.Whole(content, footer, twice, None, None))


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_a_cell_whose_validation_rows_are_lost_stays_done_and_is_named_each_time(
    folder: Path, asked: Plan, ours: Evaluations, damage: str
) -> None:
    import_(folder, ours)
    lost = ours.folder.parent / "validation" / ours.name(asked.cells[0])
    if damage == "missing":
        lost.unlink()
    else:
        lost.write_bytes(lost.read_bytes() + b"?")
    for _ in range(2):  # what could not be asked is never marked as checked
        found = aggregate(asked, ours)
        assert len(found.rows()) == CELLS
        assert found.damaged == ()
        assert [str(lost) in sentence for sentence in found.lost] == [True]


@pytest.mark.parametrize(
    ("forged", "noticed"), [({"uniform_accuracy": 0.999}, True), ({"accuracy_at_validation_threshold": 0.999}, False)]
)
def test_without_validation_rows_only_the_test_rows_are_asked(
    folder: Path, asked: Plan, ours: Evaluations, forged: dict[str, float], *, noticed: bool
) -> None:
    import_(folder, ours)
    cell = asked.cells[0]
    account = ours.account(cell)
    stated = replace(account, metrics={**account.metrics, **forged})
    ours.storage.write(ours.name(cell), encoded(stated, ours.evaluation(cell)))
    ours.validations.delete(ours.name(cell))
    found = aggregate(asked, ours)
    assert [bool(found.damaged), bool(found.lost)] == [noticed, not noticed]
