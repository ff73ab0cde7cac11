"""The published figures, against a handful typed a second time and the counts that sum them up."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator import analysis
from orchestrator.analysis.comparison import compare
from orchestrator.analysis.published import beside, settings
from orchestrator.experiment.model import Experiment
from orchestrator.report.markdown import markdown
from orchestrator.report.web.translations import words
from trainers.catalogue import plugins, resolve
from trainers.recipe import Training

Row = dict[str, str]

PATH = Path(analysis.__file__).with_name("published.csv")
with PATH.open(encoding="utf-8", newline="") as file:
    ROWS: list[Row] = list(csv.DictReader(file, strict=True))

COLUMNS = [
    *("dataset", "backbone", "loss", "metric", "value", "optimizer", "augmentation", "imbalance"),
    *("network", "setting", "source", "note"),
]
WHERE = ("dataset", "backbone", "metric", "optimizer", "augmentation", "imbalance")
FACES = {"mfr", "lfw"}


def _by_setting(rows: list[Row]) -> dict[tuple[str, ...], dict[str, float]]:
    """Values by loss, in each setting."""
    settings: dict[tuple[str, ...], dict[str, float]] = {}
    for row in rows:
        settings.setdefault(tuple(row[column] for column in WHERE), {})[row["loss"]] = float(row["value"])
    return settings


def _cifar(metric: str) -> list[tuple[float, float]]:
    """Softmax and BCE in each cell of the table of CIFAR results."""
    rows = [row for row in ROWS if row["optimizer"] and row["metric"] == metric]
    return [(values["softmax"], values["bce_diverse"]) for values in _by_setting(rows).values()]


def test_every_row_has_every_column_a_source_and_a_note() -> None:
    for row in ROWS:
        assert list(row) == COLUMNS
        assert all(row[column] for column in ("dataset", "loss", "metric", "value", "source", "note"))


def test_no_figure_comes_twice() -> None:
    assert max(Counter((*(row[column] for column in WHERE), row["loss"]) for row in ROWS).values()) == 1


def test_every_table_is_whole() -> None:
    # 6 networks x 4 recipes, 3 networks, 3 imbalances; losses and accuracies
    expected = {"cifar10": 48, "cifar100": 48 + 6, "imagenet": 12, "mfr": 2, "lfw": 2}
    assert Counter(row["dataset"] for row in ROWS) == expected


def test_values_are_shares() -> None:
    assert all(0 < float(row["value"]) < 1 for row in ROWS)


def test_uniform_is_at_most_sample_wise_accuracy() -> None:
    values = {tuple(row[c] for c in COLUMNS if c not in {"value", "note"}): float(row["value"]) for row in ROWS}
    for key, value in values.items():
        if "uniform_accuracy" in key:
            assert value < values[tuple("sample_wise_accuracy" if part == "uniform_accuracy" else part for part in key)]


@pytest.mark.parametrize(
    ("setting", "percent"),
    [
        (("cifar10", "resnet18", "sgd", "DA1", ""), (92.8, 85.2, 93.2, 91.9)),
        (("cifar10", "resnet50", "adamw", "DA1", ""), (94.5, 87.9, 94.0, 93.6)),
        (("cifar10", "densenet121", "adamw", "DA1+2", ""), (92.6, 90.7, 92.6, 91.8)),
        (("cifar100", "resnet18", "adamw", "DA1+2", ""), (76.5, 64.4, 76.7, 70.0)),
        (("cifar100", "resnet50", "sgd", "DA1+2", ""), (70.3, 55.2, 71.9, 62.8)),
        (("cifar100", "densenet121", "sgd", "DA1", ""), (60.8, 32.9, 61.1, 53.5)),
        (("imagenet", "resnet50", "", "", ""), (76.74, 34.48, 77.12, 66.92)),
        (("imagenet", "torchvision:densenet161", "", "", ""), (78.58, 43.56, 79.19, 69.08)),
    ],
)
def test_cells_hold_the_published_numbers(setting: tuple[str, ...], percent: tuple[float, ...]) -> None:
    dataset, backbone, *recipe = setting
    settings = _by_setting(ROWS)
    found = [
        settings[dataset, backbone, metric, *recipe][loss]
        for loss in ("softmax", "bce_diverse")
        for metric in ("sample_wise_accuracy", "uniform_accuracy")
    ]
    assert [100 * value for value in found] == pytest.approx(percent)


def test_long_tails_and_faces_hold_the_published_numbers() -> None:
    tails = {(row["imbalance"], row["loss"]): float(row["value"]) for row in ROWS if row["imbalance"]}
    assert tails["10", "softmax"] == 0.7091
    assert tails["100", "bce_diverse"] == 0.5288
    faces = {(row["dataset"], row["loss"]): float(row["value"]) for row in ROWS if row["dataset"] in FACES}
    assert faces == {
        ("mfr", "uniface"): 0.4842,
        ("lfw", "uniface"): 0.9956,
        ("mfr", "unitsface"): 0.5025,
        ("lfw", "unitsface"): 0.9953,
    }


def test_bce_leads_in_uniform_accuracy_in_24_of_24_cells() -> None:
    cells = _cifar("uniform_accuracy")
    assert len(cells) == 24
    assert all(softmax < bce for softmax, bce in cells)


def test_bce_leads_in_sample_wise_accuracy_in_19_of_24_cells_with_one_tie() -> None:
    cells = _cifar("sample_wise_accuracy")
    assert sum(softmax < bce for softmax, bce in cells) == 19
    assert sum(softmax > bce for softmax, bce in cells) == 4
    assert sum(softmax == bce for softmax, bce in cells) == 1


def test_names_are_those_of_the_catalogue() -> None:
    for row in ROWS:
        if row["dataset"] not in FACES:
            _assert_known(row)


def _assert_known(row: Row) -> None:
    assert row["loss"] in plugins("losses")
    assert row["dataset"] in plugins("datasets")
    if row["backbone"]:
        assert resolve("backbones", row["backbone"]).key == row["backbone"]
    assert row["optimizer"] in {"", "sgd", "adamw"}


def test_losses_without_a_plug_in_say_so() -> None:
    strangers = [row for row in ROWS if row["loss"] not in plugins("losses")]
    assert {row["loss"] for row in strangers} == {"unitsface"}
    assert all("no plug-in of ours" in row["note"] for row in strangers)


def test_published_recipes_are_recipes_of_ours() -> None:
    assert {row["setting"] for row in ROWS if row["optimizer"]} == set(settings())
    for setting in settings().values():
        Training.model_validate(setting.training)
        for name, fields in setting.losses.items():
            resolve("losses", name, fields)
        for told in (*setting.beyond, *(told for each in setting.datasets.values() for told in each)):
            assert told in words()


def test_a_row_of_another_network_says_which() -> None:
    others = {row["backbone"] for row in ROWS if row["network"]}
    assert others == {"densenet121"}
    assert all("1 766 858 parameters" in row["network"] for row in ROWS if row["network"])


def _beside(recipe: dict[str, Any], *losses: Any, backbone: str = "resnet18", **dataset: Any) -> dict[str, list[str]]:
    experiment = Experiment.model_validate(
        {
            "name": "beside",
            "losses": ["softmax", *losses],
            "backbones": [backbone],
            "datasets": [{"name": "cifar100", **dataset}],
            "recipe": recipe,
            "baseline": "softmax",
        }
    )
    figures = [figure for figure in beside(experiment) if figure.metric == "uniform_accuracy"]
    return {f"{figure.loss} {figure.recipe}": [str(each) for each in figure.differs] for figure in figures}


PUBLISHED_RECIPE = {
    "epochs": 100,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "weight_decay": 5e-4,
    "augmentation": ["crop", "flip"],
    "schedule": "step",
    "milestones": [0.3, 0.6, 0.8],
    "step_factor": 0.2,
    "validation_fraction": 0,
}
BEYOND = [
    "theirs rotates images by up to 15 degrees",
    "theirs draws biases about their mean, and SoftMax has them, too",
    "theirs counts the checkpoint that is best on the test set",
]


def test_of_the_published_recipe_only_that_is_left_which_ours_cannot_say() -> None:
    bce = {"name": "bce_diverse", "bias_init": 6.0, "bias_weight_decay": 5e-4}
    told = _beside(PUBLISHED_RECIPE, bce)
    assert told["softmax sgd DA1"] == BEYOND
    assert told["bce_diverse sgd DA1"] == BEYOND
    assert told["softmax sgd DA1+2"] == ["mixing none instead of mixup+cutmix", "smoothing 0 instead of 0.1", *BEYOND]


def test_every_other_field_is_told() -> None:
    told = _beside({"epochs": 20, "schedule": "cosine"}, "bce_diverse")["bce_diverse sgd DA1"]
    assert told == [
        "epochs 20 instead of 100",
        "schedule cosine instead of step",
        "augmentation none instead of crop+flip",
        "validation_fraction 0.1 instead of 0",
        "bias_init prior instead of 6",
        "bias_weight_decay 0 instead of 0.0005",
        *BEYOND,
    ]


def test_another_network_or_data_set_is_told_first() -> None:
    told = _beside(PUBLISHED_RECIPE, backbone="densenet121", train_size=500)["softmax sgd DA1"]
    assert told[0].startswith("theirs is a DenseNet-BC of growth 16")
    assert told[1:] == ["ours changes the data set", *BEYOND]


def test_figures_of_the_same_cells_stand_beside_ours_and_no_others() -> None:
    experiment = Experiment.model_validate(
        {
            "name": "beside",
            "losses": ["softmax", "bce_diverse"],
            "backbones": ["resnet18", "resnet8"],
            "datasets": ["cifar10", "digits"],
            "baseline": "softmax",
        }
    )
    comparison = compare(experiment, [])
    assert len(comparison.published) == 16
    assert {(figure.dataset, figure.backbone) for figure in comparison.published} == {("cifar10", "resnet18")}
    assert "85.2" in markdown(comparison)
    assert comparison.to_json()["published"][1]["value"] == 0.852


def test_where_nothing_is_published_nothing_is_said() -> None:
    experiment = Experiment.model_validate(
        {
            "name": "alone",
            "losses": ["softmax"],
            "backbones": ["resnet8"],
            "datasets": ["digits"],
            "baseline": "softmax",
        }
    )
    comparison = compare(experiment, [])
    assert comparison.published == ()
    assert "published" not in markdown(comparison)
