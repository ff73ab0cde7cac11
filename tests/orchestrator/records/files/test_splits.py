"""Cells of one data set are tested on the same samples under the same labels, or they do not count."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from rich.console import Console

from orchestrator.diagnosis.agreement import by_rows
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Plan, plan
from orchestrator.launching.writing import write_results
from orchestrator.records.files import origin, splits
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.import_cells import import_
from orchestrator.records.files.publication import export
from orchestrator.records.files.results import aggregate
from orchestrator.report.terminal.console import complain
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace import Workspace
from trainers.data import split
from trainers.datasets import Dataset
from trainers.datasets.cifar import CIFAR10
from trainers.datasets.digits import Digits
from trainers.evaluation import Evaluation
from trainers.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from orchestrator.experiment.plan import Cell
    from orchestrator.records.files.evaluations import Account

SAMPLES = 50


@pytest.fixture
def asked() -> Plan:
    fields = {"name": "asked", "losses": ["softmax", "bce_unified"], "backbones": ["resnet8"], "datasets": ["digits"]}
    return plan(Experiment.model_validate({**fields, "seeds": 2, "baseline": "softmax"}))


@pytest.fixture
def publish(
    tmp_path: Path, an_account: Callable[..., Account], drawn: Callable[..., Evaluation]
) -> Callable[..., Evaluations]:
    """Cells trained in a workspace, of which some have other test rows."""

    def made(place: str, cells: Sequence[Cell], alter: Callable[[Evaluation], Evaluation] = lambda rows: rows) -> Any:
        evaluations = Evaluations(tmp_path / place / "evaluations")
        for number, cell in enumerate(cells):
            rows = alter(drawn(SAMPLES, seed=number))
            account = replace(an_account(cell, rows), samples=len(rows.sample))
            evaluations.publish(cell.recipe, account, rows)
        return evaluations

    return made


@pytest.fixture
def sent(tmp_path: Path, asked: Plan) -> Callable[[Evaluations], Path]:
    """An export of a workspace."""

    def made(evaluations: Evaluations) -> Path:
        folder = tmp_path / f"{evaluations.folder.parent.name}.out"
        export(asked, Workspace(evaluations.folder.parent), folder)
        return folder

    return made


def without_last(rows: Evaluation) -> Evaluation:
    """Rows that lack a sample."""
    return Evaluation(**{name: None if values is None else values[:-1] for name, values in vars(rows).items()})


def swapped(rows: Evaluation) -> Evaluation:
    """The same rows of two samples that have changed places."""
    order = np.arange(len(rows.sample))
    order[:2] = 1, 0
    taken = {name: None if values is None else values[order] for name, values in vars(rows).items()}
    return Evaluation(**{**taken, "sample": rows.sample})


@pytest.mark.parametrize("alter", [without_last, swapped])
def test_an_import_with_other_samples_than_ones_own_cells_is_not_taken(
    asked: Plan,
    publish: Callable[..., Evaluations],
    sent: Callable[[Evaluations], Path],
    alter: Callable[[Evaluation], Evaluation],
) -> None:
    ours = publish("ours", asked.cells[:1])
    found = import_(sent(publish("theirs", asked.cells[1:], alter)), ours)
    assert found.taken == ()
    assert len(found.problems) == 3
    assert all("test rows than the cells of the same data that were trained or rerun here" in p for p in found.problems)
    assert len(import_(sent(publish("honest", asked.cells[1:])), ours).taken) == 3


@pytest.mark.parametrize("alter", [without_last, swapped])
def test_what_was_imported_before_is_set_aside_once_ones_own_cells_differ(
    asked: Plan,
    publish: Callable[..., Evaluations],
    sent: Callable[[Evaluations], Path],
    alter: Callable[[Evaluation], Evaluation],
) -> None:
    ours = Evaluations(publish("empty", []).folder)
    assert len(import_(sent(publish("theirs", asked.cells[:3], alter)), ours).taken) == 3
    assert aggregate(asked, ours).table.num_rows == 3, "nothing here says that they are wrong"
    publish("empty", asked.cells[3:])
    (finding, *_) = [each for each in by_rows(ours, ours.names()) if each.state == "problem"]
    assert "than the cells of the same data" in finding.found or "where the cells of the same data" in finding.found
    found = aggregate(asked, ours)
    assert [row["cell_id"] for row in found.rows()] == [asked.cells[3].id]
    assert len(found.damaged) == 3
    assert all("was set aside" in sentence for sentence in found.damaged)
    assert ours.ids() == {asked.cells[3].id}


def test_imported_cells_that_disagree_are_left_out_until_a_rerun_tells_which_are_right(
    asked: Plan, publish: Callable[..., Evaluations], sent: Callable[[Evaluations], Path]
) -> None:
    ours = publish("ours", [])
    import_(sent(publish("one", asked.cells[:2])), ours)
    import_(sent(publish("other", asked.cells[2:], without_last)), ours)
    found = aggregate(asked, ours)
    assert found.table.num_rows == 0, "as many say one thing as the other"
    assert len(found.damaged) == len(found.missing) == 4
    assert all("It is left out: `verify` reruns cells" in sentence for sentence in found.damaged)
    assert len(ours.ids()) == 4
    origin.identical(ours.folder.parent).add([ours.footer(asked.cells[0]).seal or ""])
    found = aggregate(asked, ours)
    assert {row["cell_id"] for row in found.rows()} == {cell.id for cell in asked.cells[:2]}
    assert len(ours.ids()) == 2


def test_a_replica_goes_with_its_cell(
    asked: Plan, publish: Callable[..., Evaluations], sent: Callable[[Evaluations], Path]
) -> None:
    from orchestrator.provenance.environment import Environment

    place = Environment.of({"git_commit": "abc", "threads": 1, "devices": 1}).id
    again = asked.cells[0].again_in(place)
    ours = publish("ours", [])
    import_(sent(publish("theirs", [asked.cells[0], again], without_last)), ours)
    publish("ours", asked.cells[1:])
    assert len(ours.replicas(asked.cells)) == 1
    found = aggregate(asked, ours)
    assert (found.table.num_rows, found.replicas.num_rows) == (3, 0)


def test_imported_cells_alone_are_asked_by_the_data_where_these_are_here(
    asked: Plan, publish: Callable[..., Evaluations], sent: Callable[[Evaluations], Path], tmp_path: Path
) -> None:
    ours = publish("ours", [])
    import_(sent(publish("theirs", asked.cells)), ours)
    told = Console(file=io.StringIO(), width=1000)
    study = Study.of(asked.experiment, Stores(Workspace(ours.folder.parent)), tmp_path / "data")
    found = write_results(study, partial(complain, told))
    assert found.table.num_rows == 0
    assert told.file.getvalue().count("has 50 test samples, where these data have 797") == 4  # pyright: ignore[reportAttributeAccessIssue]


def test_where_the_name_alone_tells_how_many_there_are_that_is_asked(
    asked: Plan, publish: Callable[..., Evaluations], sent: Callable[[Evaluations], Path]
) -> None:
    ours = publish("ours", [])
    import_(sent(publish("theirs", asked.cells)), ours)
    assert len(aggregate(asked, ours, known=lambda _: (50, None)).rows()) == 4
    assert len(aggregate(asked, ours, known=lambda _: (51, None)).damaged) == 4
    assert splits.published_size(CIFAR10()) == 10_000
    assert splits.published_size(CIFAR10(test_size=500)) == 500
    assert splits.published_size(CIFAR10(hold_out=(3,))) is None


@pytest.mark.parametrize("hold_out", [(), (0, 7)])
def test_what_data_say_of_a_split_is_what_a_model_is_tested_on(hold_out: tuple[int, ...], tmp_path: Path) -> None:
    dataset = {"name": "digits", "hold_out": hold_out}
    recipe = Recipe.model_validate({"loss": "softmax", "backbone": "resnet8", "dataset": dataset, "seed": 3})
    test = split(Digits().load(tmp_path), recipe, torch.device("cpu")).test
    assert isinstance(recipe.dataset, Dataset)
    count, digest = splits.expected(recipe, recipe.dataset.labels(tmp_path))
    assert (count, digest) == (len(test), splits.digest(test.sample, test.labels.numpy()))


def test_a_split_depends_on_the_data_and_on_what_is_held_out_alone() -> None:
    def shared(**changes: Any) -> str | None:
        dataset = {"name": "digits", **changes.pop("dataset", {})}
        fields = {"loss": "softmax", "backbone": "resnet8", "seed": 0, **changes, "dataset": dataset}
        return splits.shared(Recipe.model_validate(fields).model_dump(mode="json"))

    like = [{"seed": 1}, {"loss": "focal"}, {"dataset": {"train_fraction": 0.5}}, {"dataset": {"imbalance": 10}}]
    assert {shared(**changes) for changes in [{}, *like]} == {shared()}
    others = [{"dataset": {"hold_out": [1]}}, {"data_digest": "a" * 64}]
    assert len({shared(**changes) for changes in [{}, *others]}) == 3
    assert shared(scored_on="validation") is None
