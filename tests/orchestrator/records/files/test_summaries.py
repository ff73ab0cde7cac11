"""Summaries of cells' files: exact, small, never believed of another file, read in place of the files."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan, plan
from orchestrator.provenance.environment import Environment
from orchestrator.records.files import splits
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.results import aggregate
from orchestrator.records.files.storage import Storage
from orchestrator.records.files.summaries import Summaries

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.experiment.plan import Cell
    from orchestrator.records.files.evaluations import Account
    from orchestrator.workspace import Location
    from trainers.evaluation import Evaluation

SAMPLES = 300
ASKED = {
    "name": "asked",
    "losses": ["softmax", "bce_unified"],
    "backbones": ["resnet8"],
    "datasets": ["digits"],
    "seeds": 3,
    "baseline": "softmax",
    "claims": [
        {
            "id": "P1",
            "metric": "uniform_accuracy",
            "challenger": "bce_unified",
            "baseline": "softmax",
            "direction": "higher",
        }
    ],
}


@pytest.fixture
def asked() -> Plan:
    return plan(Experiment.model_validate(ASKED))


@pytest.fixture
def publish(drawn: Callable[..., Evaluation], an_account: Callable[..., Account]) -> Callable[..., None]:
    """Write the file of a cell, with validation rows; each seed has other scores."""

    def write(evaluations: Evaluations, cell: Cell, *, seed: int | None = None, **changes: Any) -> None:
        test = drawn(SAMPLES, seed=cell.seed if seed is None else seed, skill=1.0)
        validation = drawn(20, seed=cell.seed + 100, skill=1.0)
        account = an_account(cell, test, validation, samples=SAMPLES, **changes)
        evaluations.publish(cell.recipe, account, test, validation)

    return write


@pytest.fixture
def done(asked: Plan, tmp_path: Path, publish: Callable[..., None]) -> Evaluations:
    """All cells, not aggregated yet."""
    evaluations = Evaluations(tmp_path / "runs" / "evaluations")
    for cell in asked.cells:
        publish(evaluations, cell)
    return evaluations


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many files were opened, by the folder of the workspace; to be cleared between steps."""
    count = Counter[str]()
    read = Storage._read

    def counted(self: Storage, name: str, last: int | None) -> bytes | None:
        found = read(self, name, last)
        count[self.root.name] += found is not None
        return found

    monkeypatch.setattr(Storage, "_read", counted)
    return count


def summary(evaluations: Evaluations, cell: Cell) -> Path:
    return Path(str(evaluations.folder.parent)) / "summaries" / evaluations.name(cell)


def same(evaluations: Evaluations, cell: Cell) -> bool:
    """Whether the summaries tell what the cell's file does."""
    summaries = Summaries.of_cells(evaluations, [cell])
    rows = summaries.rows(cell)
    whole = evaluations.evaluation(cell)
    equal = [np.array_equal(getattr(rows, name), getattr(whole, name)) for name in rows._fields]
    return all(equal) and summaries.account(cell) == evaluations.account(cell)


@pytest.mark.parametrize("verb", ["report", "compare", "compare --samples", "compare --format json"])
def test_no_command_opens_a_cells_file_that_did_not_change(
    done: Evaluations, asked: Plan, publish: Callable[..., None], opened: Counter[str], verb: str
) -> None:
    for cell in asked.cells[-2:]:
        done.storage.delete(done.name(cell))
    file = Path(str(done.folder.parent)) / "asked.yaml"
    file.write_text(yaml.safe_dump(ASKED))

    def run(command: str) -> Counter[str]:
        opened.clear()
        name, *options = command.split()
        place = str(done.folder.parent)
        ran = CliRunner().invoke(app, [name, str(file), "--workspace", place, *options], catch_exceptions=False)
        assert ran.exit_code == 0, ran.output
        return Counter({kind: opened[kind] for kind in ("evaluations", "validation") if opened[kind]})

    assert run("aggregate") == {"evaluations": 4, "validation": 4}
    assert run(verb) == {}
    for cell in asked.cells[-2:]:
        publish(done, cell)
    assert run(verb) == {"evaluations": 2, "validation": 2}
    assert run(verb) == {}


def test_a_replica_is_read_once_too(
    done: Evaluations, asked: Plan, publish: Callable[..., None], opened: Counter[str]
) -> None:
    provenance = {"git_commit": "abc", "threads": 2, "devices": 1}
    cell = asked.cells[0]
    again = cell.again_in(Environment.of(provenance).id)
    publish(done, again, provenance=provenance)
    opened.clear()
    assert aggregate(asked, done).replicas.num_rows == 1
    assert opened["evaluations"] == len(asked.cells) + 1
    opened.clear()
    assert aggregate(asked, done).replicas.num_rows == 1
    assert opened["evaluations"] == 0
    assert same(done, again)


def test_a_summary_tells_exactly_what_the_cells_file_does(
    asked: Plan, place: Location, publish: Callable[..., None], opened: Counter[str]
) -> None:
    """Also in an object store."""
    ours = Evaluations(place / "evaluations")
    for cell in asked.cells[:2]:
        publish(ours, cell)
    first = aggregate(asked, ours)
    opened.clear()
    assert aggregate(asked, ours).table.equals(first.table)
    assert (opened["evaluations"], opened["summaries"]) == (0, 2)
    assert all(same(ours, cell) for cell in asked.cells[:2])


def damage(content: bytes, at: float) -> bytes:
    place = int(at * len(content))
    return content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: None,
        lambda _: b"",
        lambda _: b"PAR1",
        lambda content: content[:-100],
        lambda content: content.replace(b'"version": 1', b'"version": 9'),
        *(lambda content, at=at: damage(content, at) for at in np.linspace(0.01, 0.99, 25)),
    ],
)
def test_a_summary_that_is_missing_or_damaged_is_never_believed(
    done: Evaluations, asked: Plan, spoil: Callable[[bytes], bytes | None]
) -> None:
    first = aggregate(asked, done)
    path = summary(done, asked.cells[0])
    content = spoil(path.read_bytes())
    path.unlink() if content is None else path.write_bytes(content)
    assert same(done, asked.cells[0])
    found = aggregate(asked, done)
    assert found.table.equals(first.table)
    assert (found.damaged, found.missing) == ((), ())


def test_a_summary_that_was_lost_is_written_again(done: Evaluations, asked: Plan, opened: Counter[str]) -> None:
    aggregate(asked, done)
    path = summary(done, asked.cells[0])
    before = path.read_bytes()
    path.unlink()
    opened.clear()
    aggregate(asked, done)
    assert opened["evaluations"] == 1
    assert path.read_bytes() == before


def test_another_cells_summary_is_not_believed(done: Evaluations, asked: Plan) -> None:
    aggregate(asked, done)
    summary(done, asked.cells[0]).write_bytes(summary(done, asked.cells[1]).read_bytes())
    assert same(done, asked.cells[0])


@pytest.mark.parametrize("kind", ["evaluations", "validation"])
def test_a_file_that_changed_after_its_summary_is_read_again(
    done: Evaluations, asked: Plan, publish: Callable[..., None], kind: str, opened: Counter[str]
) -> None:
    """Even where another file of the same size has its time of change."""
    aggregate(asked, done)
    cell = asked.cells[0]
    path = Path(str(done.folder.parent)) / kind / done.name(cell)
    before = path.stat()
    if kind == "evaluations":
        publish(done, cell, seed=50)
    else:
        path.write_bytes(path.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert same(done, cell)
    opened.clear()
    aggregate(asked, done)
    assert opened["evaluations"] == 1
    assert same(done, cell)


def test_a_cell_that_is_gone_is_missing_though_its_summary_is_there(done: Evaluations, asked: Plan) -> None:
    aggregate(asked, done)
    cell = asked.cells[0]
    done.storage.delete(done.name(cell))
    assert aggregate(asked, done).missing == (cell,)
    with pytest.raises(FileNotFoundError):
        Summaries.of_cells(done, [cell]).rows(cell)


def test_a_cell_whose_validation_rows_are_lost_is_named_each_time(done: Evaluations, asked: Plan) -> None:
    done.validations.delete(done.name(asked.cells[0]))
    for _ in range(2):
        found = aggregate(asked, done)
        assert (len(found.lost), found.table.num_rows) == (1, len(asked.cells))
    assert not summary(done, asked.cells[0]).exists()
    assert same(done, asked.cells[0])


def test_what_is_read_anew_leaves_no_summary(done: Evaluations, asked: Plan, opened: Counter[str]) -> None:
    opened.clear()
    aggregate(asked, done, anew=True)
    assert opened["evaluations"] == len(asked.cells)
    assert not (Path(str(done.folder.parent)) / "summaries").exists()


@pytest.mark.parametrize("classes", [10, 1000])
def test_a_summary_is_as_small_as_it_says(
    asked: Plan, tmp_path: Path, drawn: Callable[..., Evaluation], an_account: Callable[..., Account], classes: int
) -> None:
    """Whatever the scores are; in another order of the samples, too."""
    ours = Evaluations(tmp_path / "evaluations")
    cell = asked.cells[0]
    samples = 5000
    order = np.random.default_rng(1).permutation(samples).astype(np.int32)
    rows = replace(drawn(samples, classes, seed=1), sample=order)
    account = an_account(cell, rows, samples=samples, classes=classes)
    ours.publish(cell.recipe, account, rows)
    footer = ours.footer(cell)
    name = ours.name(cell)
    Summaries.of(ours, [name]).write(name, ours.checked(name), splits.digest(rows.sample, rows.label))
    size = summary(ours, cell).stat().st_size
    assert size <= 16 * samples + len(footer.text) + 8192
    assert same(ours, cell)
