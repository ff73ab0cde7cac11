"""A recipe: resolved, closed, immutable, and the same after a trip through JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from trainers.backbones.resnet import ResNet8, ResNet20
from trainers.datasets.digits import Digits
from trainers.losses.bce import BCEUnified
from trainers.losses.softmax import Softmax
from trainers.recipe import Recipe, Training


def _recipe(**changes: Any) -> Recipe:
    return Recipe(**{"loss": "softmax", "backbone": "resnet8", "dataset": "digits", "seed": 0, **changes})


def test_names_become_plug_ins() -> None:
    recipe = _recipe()
    assert (recipe.loss, recipe.backbone, recipe.dataset) == (Softmax(), ResNet8(), Digits())


def test_a_name_its_parameters_and_the_plug_in_itself_are_one_recipe() -> None:
    by_name, by_parameters, by_instance = (
        _recipe(loss=loss) for loss in ("bce_unified", {"name": "bce_unified", "bias_init": "prior"}, BCEUnified())
    )
    assert by_name == by_parameters == by_instance
    assert hash(by_name) == hash(by_parameters) == hash(by_instance)


def test_every_default_is_filled_in() -> None:
    recipe = _recipe(loss="bce_unified")
    dump = recipe.model_dump(mode="json")
    assert dump.keys() == {"loss", "backbone", "dataset", "seed", "training"}
    assert dump["loss"].keys() == {"name", *BCEUnified.model_fields}
    later = {
        "precision", "step_factor", "head_learning_rate", "gradient_clip", "accumulation", "nesterov", "decay",
    }  # fmt: skip
    assert dump["training"].keys() == set(Training.model_fields) - later
    assert dump["loss"].items() >= {"bias_init": "prior", "bias_learning_rate": 1.0, "bias_weight_decay": 0.0}.items()


def test_the_defaults_are_those_of_arxiv_2505_05813() -> None:
    training = Training()
    assert (training.optimizer, training.momentum, training.weight_decay) == ("sgd", 0.9, 5e-4)
    assert (training.epochs, training.batch_size, training.learning_rate) == (100, 128, 0.01)
    assert (training.schedule, training.warmup_epochs, training.augmentation) == ("cosine", 0, ())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": {"name": "bce_diverse", "bias_init": "prior", "bias_learning_rate": 0.5, "bias_weight_decay": 0.25}},
        {"backbone": "torchvision:resnet34"},
        {"backbone": {"name": "torchvision:vit_b_16", "stem": "imagenet"}},
        {"dataset": {"name": "mnist", "train_size": 100}},
        {"training": {"epochs": 3, "augmentation": ["crop", "flip"], "learning_rate": 0.1 + 0.2}},
    ],
    ids=str,
)
def test_a_recipe_survives_json(changes: dict[str, Any]) -> None:
    recipe = _recipe(**changes)
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert Recipe.model_validate(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sead": 0}, "sead"),
        ({"training": {"epoch": 3}}, "epoch"),
        ({"loss": {"name": "bce_unified", "bias_inti": 1}}, "bias_inti"),
        ({"backbone": {"name": "resnet18", "stam": "small"}}, "stam"),
        ({"dataset": {"name": "digits", "train_size": 5}}, "train_size"),
    ],
)
def test_a_misspelt_field_is_rejected_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        _recipe(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": -1},
        {"training": {"epochs": 0}},
        {"training": {"batch_size": 1}},
        {"training": {"learning_rate": 0}},
        {"training": {"learning_rate": float("nan")}},
        {"training": {"momentum": 1}},
        {"training": {"step_factor": 0}},
        {"training": {"step_factor": 1.5}},
        {"training": {"validation_fraction": 1}},
        {"training": {"optimizer": "adam"}},
        {"training": {"augmentation": ["turn"]}},
        {"loss": {"name": "bce_unified", "bias_init": float("inf")}},
        {"loss": {"name": "bce_unified", "bias_weight_decay": -1}},
    ],
    ids=str,
)
def test_values_out_of_range_are_rejected(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _recipe(**changes)


@pytest.mark.parametrize(
    "changes",
    [{"loss": ResNet8()}, {"backbone": Softmax()}, {"dataset": ResNet20()}],
    ids=lambda changes: str(*changes),
)
def test_a_plug_in_of_another_axis_is_rejected(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="instance of"):
        _recipe(**changes)


def test_an_unknown_name_dies_with_the_nearest_one() -> None:
    with pytest.raises(ValidationError, match=r"No loss named 'bce_unifed'\. Did you mean 'bce_unified'\?"):
        _recipe(loss="bce_unifed")


def test_warm_up_has_to_end() -> None:
    with pytest.raises(ValidationError, match=r"warmup_epochs \(3\) must be below epochs \(3\)"):
        Training(epochs=3, warmup_epochs=3)
    assert Training(epochs=3, warmup_epochs=2).warmup_epochs == 2


@pytest.mark.parametrize("part", ["self", "loss", "training"])
def test_nothing_in_a_recipe_can_be_changed(part: str) -> None:
    recipe = _recipe(loss="bce_unified")
    target, field = {
        "self": (recipe, "seed"),
        "loss": (recipe.loss, "bias_init"),
        "training": (recipe.training, "epochs"),
    }[part]
    with pytest.raises(ValidationError, match="frozen"):
        setattr(target, field, 1)


def test_reading_and_hashing_recipes_imports_no_torch() -> None:
    program = (
        "import sys; from trainers import catalogue, recipe\n"
        "for axis in ('losses', 'backbones', 'datasets'): catalogue.plugins(axis)\n"
        "made = recipe.Recipe(loss='bce_unified', backbone='torchvision:resnet34', dataset='mnist', seed=0)\n"
        "hash(made), made.model_dump_json()\n"
        "print(sorted({'torch', 'torchvision', 'sklearn', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_precision_is_part_of_the_identity_only_where_it_is_not_float32() -> None:
    assert "precision" not in Training().model_dump(mode="json")
    assert Training(precision="bfloat16").model_dump(mode="json")["precision"] == "bfloat16"
    assert Training.model_validate_json(Training(precision="tf32").model_dump_json()).precision == "tf32"


def test_a_field_that_came_later_is_left_out_of_the_identity_at_its_default() -> None:
    assert "step_factor" not in Training().model_dump(mode="json")
    assert Training(step_factor=0.2).model_dump(mode="json")["step_factor"] == 0.2
    assert Training.model_validate(Training(step_factor=0.2).model_dump(mode="json")).step_factor == 0.2
