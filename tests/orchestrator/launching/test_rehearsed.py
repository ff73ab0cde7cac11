"""The experiment that a rehearsal runs, as it follows from the one that is asked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.experiment.choices import Choice
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import plan
from orchestrator.launching.rehearsed import SHORT, SHORTER, Rehearsed, fraction, kinds, rehearsed
from trainers.datasets import Dataset, Extent
from trainers.datasets.stand_in import StandIn

LAPTOP = [{"CPU": 2.0, "GPU": 0.0}]
CLUSTER = [{"CPU": 16.0, "GPU": 4.0}, {"CPU": 64.0}]


def published(choice: Choice) -> Extent | None:
    return cast("Dataset", choice.plugin).extent()


def experiment(**changes: Any) -> Experiment:
    fields: dict[str, Any] = {
        "name": "asked",
        "losses": ["softmax", "bce_unified"],
        "backbones": ["resnet18", "resnet50"],
        "datasets": ["mnist", "imagenet"],
        "seeds": [3, 5],
        "baseline": "softmax",
        "recipe": {"epochs": 90, "warmup_epochs": 5},
        "resources": {"cpus": 4, "gpus": 0.5},
        "overrides": [
            {"where": {"dataset": "imagenet"}, "recipe": {"batch_size": 256}, "resources": {"cpus": 8, "gpus": 1}}
        ],
        "claims": [
            {"id": "P", "metric": "uniform_accuracy", "challenger": "bce_unified", "baseline": "softmax",
             "direction": "higher"}
        ],
    }  # fmt: skip
    return Experiment.model_validate({**fields, **changes})


def on(nodes: list[dict[str, float]], *, stand_in: bool = True, **changes: Any) -> Rehearsed:
    return rehearsed(experiment(**changes), nodes, published, stand_in=stand_in)


def test_there_is_one_cell_of_each_kind_with_its_own_recipe_and_resources() -> None:
    found = on(CLUSTER, stand_in=False)
    cells = plan(found.experiment).cells
    assert Counter((cell.loss, cell.backbone, cell.dataset) for cell in cells) == Counter(
        labels for labels, _ in kinds(experiment())
    )
    for cell in cells:
        settled = experiment().settled(cell.loss, cell.backbone, cell.dataset)
        assert (cell.seed, cell.recipe.training, cell.resources) == (3, settled.training, settled.resources)
    assert (found.brief, found.notes, found.cores_per_gpu) == (SHORT, (), 4)
    assert found.experiment.claims == ()
    assert found.experiment.checkpoint.epochs == 1


def test_it_has_another_name_and_other_cells_than_what_is_asked_on_drawn_images() -> None:
    drawn = plan(on(CLUSTER).experiment)
    assert drawn.experiment.name == "rehearsal-of-asked"
    assert not {cell.id for cell in drawn.cells} & {cell.id for cell in plan(experiment()).cells}


def test_drawn_images_are_as_many_and_of_the_same_shape_and_keep_labels_and_modifiers() -> None:
    found = on(CLUSTER, datasets=[{"name": "mnist", "as": "few", "hold_out": [9], "train_size": 500}, "imagenet"],
               overrides=[{"where": {"dataset": "few"}, "recipe": {"epochs": 7}}])  # fmt: skip
    few, imagenet = found.experiment.datasets
    assert isinstance(few.plugin, StandIn)
    assert (few.label, few.plugin.train, few.plugin.hold_out) == ("few", 500, (9,))
    assert isinstance(imagenet.plugin, StandIn)
    assert imagenet.plugin.extent() == ((3, 224, 224), 1000, 1_281_167, 50_000)
    assert found.experiment.settled("softmax", "resnet18", "few").training.epochs == 7


def test_data_sets_of_the_same_extent_stay_two() -> None:
    drawn = on(CLUSTER, datasets=["mnist", "fashion_mnist"], overrides=[])
    assert len({choice.plugin for choice in drawn.experiment.datasets}) == 2


def test_data_that_nobody_knows_the_number_of_are_read_and_it_is_said() -> None:
    own = {"name": "image_folder", "as": "mine", "path": "mine"}
    found = on(CLUSTER, datasets=["mnist", own], overrides=[])
    assert [type(choice.plugin).__name__ for choice in found.experiment.datasets] == ["StandIn", "ImageFolder"]
    assert "'mine'" in found.notes[0]


def test_where_gpus_are_missing_processors_do_less_work_and_it_is_said() -> None:
    found = on(LAPTOP)
    cells = plan(found.experiment).cells
    assert {(cell.resources.cpus, cell.resources.gpus) for cell in cells} == {(1, 0)}
    sizes = {cell.dataset: cell.recipe.training.batch_size for cell in cells}
    assert sizes == {"mnist": 10, "imagenet": 4}
    assert found.brief == SHORTER
    refused, batches = found.notes
    assert "8 CPUs and 1 GPU" in refused
    assert "2 CPUs and 0 GPUs" in refused
    assert batches.startswith("Batches of 8 of 8 kinds have 4 to 10 images")


def test_cells_that_need_no_gpu_keep_their_batch() -> None:
    found = on(LAPTOP, resources={"cpus": 1}, overrides=[])
    assert {cell.recipe.training.batch_size for cell in plan(found.experiment).cells} == {128}
    assert (found.brief, found.notes) == (SHORT, ())


def test_too_many_cpus_are_as_many_as_there_are() -> None:
    found = on(LAPTOP, resources={"cpus": 6}, overrides=[])
    assert {cell.resources.cpus for cell in plan(found.experiment).cells} == {2}
    assert {cell.recipe.training.batch_size for cell in plan(found.experiment).cells} == {128}


def test_recipes_that_differ_in_their_batches_still_differ_where_these_are_smaller() -> None:
    twice = ["softmax", {"name": "softmax", "as": "large"}, "bce_unified"]
    found = on(LAPTOP, losses=twice, overrides=[{"where": {"loss": "large"}, "recipe": {"batch_size": 512}}])
    sizes = {
        cell.loss: cell.recipe.training.batch_size for cell in plan(found.experiment).cells if cell.dataset == "mnist"
    }
    assert sizes == {"softmax": 10, "large": 11, "bce_unified": 10}


def test_smaller_batches_can_still_be_accumulated() -> None:
    found = on(LAPTOP, recipe={"accumulation": 8}, overrides=[])
    assert {cell.recipe.training.batch_size for cell in plan(found.experiment).cells} == {16}


def test_seeds_that_claims_decide_and_tuning_are_left_out() -> None:
    found = on(
        CLUSTER,
        seeds={"min": 2, "max": 9, "until": "decided"},
        tuning={"space": {"learning_rate": "loguniform(1e-2, 1)"}, "trials": 2},
        stand_in=True,
    )
    assert {cell.seed for cell in plan(found.experiment).cells} == {0}
    assert found.experiment.tuning is None
    assert any("tuning" in note for note in found.notes)


@pytest.mark.parametrize(
    ("peak", "cpus", "cores", "expected"),
    [
        (10, 1, 64, 0.12),  # at most 8 share
        (30, 1, 64, 0.33),
        (45, 1, 64, 0.5),
        (46, 1, 64, 1.0),
        (95, 1, 64, 1.0),
        (10, 4, 8, 0.5),  # cores feed two
        (10, 4, 4, 1.0),
    ],
)
def test_gpus_are_shared_by_as_many_cells_as_fit_and_are_fed(peak: int, cpus: int, cores: int, expected: float) -> None:
    assert fraction(peak, 100, cpus, cores) == expected


def test_the_flagship_has_72_kinds_which_all_can_be_drawn() -> None:
    from orchestrator.experiment.files import filed

    found = rehearsed(filed(Path("experiments/full.yaml")), LAPTOP, published, stand_in=True)
    assert len(plan(found.experiment)) == 72
    assert all(isinstance(choice.plugin, StandIn) for choice in found.experiment.datasets)
