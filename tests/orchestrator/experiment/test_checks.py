"""What cannot be trained is refused before anything starts, all of it together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from orchestrator.errors import RequestError
from orchestrator.experiment import checks
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import plan
from orchestrator.experiment.reading import beside
from orchestrator.launching.run_plan import prepare
from trainers import catalogue
from trainers.datasets import TrainTest
from trainers.datasets.digits import Digits


def _asked(*datasets: Any, **fields: Any) -> Experiment:
    document = {"name": "x", "losses": ["softmax"], "backbones": ["resnet8"], "seeds": 3, "baseline": "softmax"}
    return Experiment.model_validate({**document, "datasets": list(datasets), **fields})


def _problems(data_dir: Path, experiment: Experiment) -> list[str]:
    return checks.problems(plan(experiment), checks.labels_here(data_dir))


def _folder(
    root: Path, classes: dict[str, int], split: tuple[str, ...] = ("train", "test"), ending: str = "png"
) -> Path:
    """Class folders with this number of images each, in both splits."""
    draw = np.random.RandomState(0)
    for part in split:
        for name, count in classes.items():
            (root / part / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                Image.fromarray(draw.randint(0, 256, (9, 9, 3)).astype("uint8")).save(
                    root / part / name / f"{number}.{ending}"
                )
    return root


def _mine(root: Path, **more: Any) -> dict[str, Any]:
    return {"name": "image_folder", "path": str(root), "size": 8, **more}


SMALL = {"recipe": {"epochs": 1, "batch_size": 2}}


def test_a_sound_grid_has_no_problem(tmp_path: Path) -> None:
    mine = _folder(tmp_path / "mine", {"bad": 9, "good": 9})
    assert _problems(tmp_path, _asked("digits", _mine(mine), recipe={"batch_size": 8})) == []


def test_all_problems_of_all_cells_are_told_together_and_each_once(tmp_path: Path) -> None:
    one = _folder(tmp_path / "one" / "inner", {"bad": 3, "good": 3})
    (tmp_path / "levels" / "train").mkdir(parents=True)
    (tmp_path / "levels" / "test").mkdir()
    for part in ("train", "test"):
        (one / part).rename(tmp_path / "levels" / part / "images")
    few = _folder(tmp_path / "few", {"bad": 2, "good": 2})
    gif = _folder(tmp_path / "gif", {"bad": 3, "good": 3})
    _folder(gif, {"scratch": 1}, ending="gif")
    _folder(gif, {"empty": 0}, split=("test",))
    experiment = _asked(
        _mine(tmp_path / "levels", **{"as": "levels"}),
        _mine(few, **{"as": "few"}),
        _mine(gif, **{"as": "gif"}),
        {"name": "digits", "hold_out": [10]},
        losses=["softmax", "bce"],
        backbones=["resnet8", "resnet20"],
        recipe={"batch_size": 8},
    )
    levels, few_said, gif_said, digits = _problems(tmp_path, experiment)
    train = tmp_path / "levels" / "train"
    assert f"only one class, 'images', in {train}: one folder too many? Move bad, good up into {train}." in levels
    assert (
        few_said
        == "few: batch_size 8 is larger than the 4 training images of 'image_folder'; choose a smaller batch_size."
    )
    assert (
        f"Folder 'scratch' in {gif / 'train'} has no readable image (1 .gif left out): fill or remove it." in gif_said
    )
    assert f"Folder 'empty' in {gif / 'test'} has no readable image (it is empty): fill or remove it." in gif_said
    assert digits == "digits: held_out names 10; the classes are 0 to 9."
    with pytest.raises(RequestError) as caught:
        checks.check(plan(experiment), checks.labels_here(tmp_path))
    assert str(caught.value) == f"{levels}\n{few_said}\n{gif_said}\n{digits}"
    with pytest.raises(RequestError) as caught:
        prepare(plan(experiment), tmp_path)
    assert sorted(str(caught.value).splitlines()) == sorted(f"{levels}\n{few_said}\n{gif_said}\n{digits}".splitlines())


def test_a_link_into_its_own_folder_is_not_followed(tmp_path: Path) -> None:
    mine = _folder(tmp_path / "mine", {"bad": 9, "good": 9})
    (mine / "train" / "good" / "again").symlink_to(".")
    (mine / "train" / "bad" / "again").symlink_to("again")  # leads to itself
    (mine / "train" / "bad" / "lost").symlink_to("nowhere")
    (_, choice) = _asked("digits", _mine(mine)).datasets
    labels = checks.labels_here(tmp_path)(choice.plugin)  # pyright: ignore[reportArgumentType]
    assert labels is not None
    assert np.bincount(labels.train).tolist() == [9, 9]


def test_a_linked_class_folder_is_read(tmp_path: Path) -> None:
    mine = _folder(tmp_path / "mine", {"bad": 9})
    other = _folder(tmp_path / "other", {"good": 9})
    for part in ("train", "test"):
        (mine / part / "good").symlink_to(other / part / "good")
    assert _problems(tmp_path, _asked(_mine(mine), recipe={"batch_size": 8})) == []


def test_data_that_are_not_here_are_no_problem_of_a_plan(tmp_path: Path) -> None:
    experiment = _asked(_mine(tmp_path / "nowhere"), "mnist", recipe={"batch_size": 10_000})
    assert _problems(tmp_path, experiment) == []
    (said,) = checks.absent(plan(beside(experiment, tmp_path)), tmp_path)
    assert said.startswith("image_folder: No data for 'image_folder': expected train/CLASS/IMAGE")
    assert "There is no such folder." in said


def test_what_ones_own_images_are_like_is_said_once_per_data_set(tmp_path: Path) -> None:
    mine = _folder(tmp_path / "mine", {"bad": 4, "good": 4})
    (mine / "train" / "bad" / "x.gif").write_bytes(b"GIF")
    asked = plan(_asked("digits", _mine(mine, **{"as": "parts"}), losses=["softmax", "bce"], **SMALL))
    counted = checks.labels_here(tmp_path)
    (fact,) = checks.facts(asked, counted)
    assert fact == (
        "parts: 2 classes, 8 images to train on + 8 to test on: bad 4 + 4, good 4 + 4; sides of 9 pixels; each image "
        "is scaled to 8 and cropped to a square."
    )
    assert checks.cautions(asked, counted) == ["parts: 1 .gif in train left out: no images by their endings."]


class TestAnEmptyValidationSplit:
    """What needs one, and what does not."""

    NONE: ClassVar[dict[str, Any]] = {"recipe": {"epochs": 1, "validation_fraction": 0}}
    FEW: ClassVar[dict[str, Any]] = {"recipe": {"epochs": 1, "batch_size": 2, "validation_fraction": 0.01}}

    def test_the_threshold_is_chosen_on_it(self, tmp_path: Path) -> None:
        (problem,) = _problems(tmp_path, _asked("digits", **self.NONE))
        assert problem.startswith(
            "digits: the validation split is empty ('validation_fraction' is 0), and the threshold"
        )
        assert "'threshold: bias' or 'threshold: test'" in problem
        assert _problems(tmp_path, _asked("digits", **self.NONE, threshold="test")) == []

    def test_it_is_known_without_the_data(self, tmp_path: Path) -> None:
        assert len(_problems(tmp_path, _asked("mnist", **self.NONE))) == 1

    def test_it_may_be_empty_because_the_set_is_small(self, tmp_path: Path) -> None:
        mine = _folder(tmp_path / "mine", {"bad": 9, "good": 9})
        (problem,) = _problems(tmp_path, _asked(_mine(mine), **self.FEW))
        assert "('validation_fraction' 0.01 of 18 images)" in problem

    @pytest.mark.parametrize(
        ("metric", "where", "problems"),
        [
            ("accuracy_at_validation_threshold", {}, 1),
            ("temperature", {"dataset": "digits"}, 1),
            ("temperature", {"dataset": "mnist"}, 0),
            ("uniform_accuracy", {}, 0),
        ],
    )
    def test_a_claim_may_need_it(self, tmp_path: Path, metric: str, where: dict[str, str], problems: int) -> None:
        claim = {"id": "P", "metric": metric, "challenger": "bce", "baseline": "softmax", "direction": "lower"}
        datasets = ["digits", "mnist"] if where.get("dataset") == "mnist" else ["digits"]
        none = {"where": {"dataset": "digits"}, "recipe": {"validation_fraction": 0}}
        experiment = _asked(
            *datasets, losses=["softmax", "bce"], claims=[{**claim, "where": where}], threshold="test", overrides=[none]
        )
        found = _problems(tmp_path, experiment)
        assert len(found) == problems
        assert all(f"claim 'P' is about {metric}" in each for each in found)

    @pytest.mark.parametrize(
        ("changes", "problems"),
        [
            ({}, 0),
            ({"baseline": "bce", "baseline_metric": "accuracy_at_bias", "metric": "temperature"}, 1),
            ({"baseline": "bce", "baseline_metric": "temperature"}, 1),
            ({"baseline_metric": "temperature"}, 1),
            ({"than": {"metric": "temperature"}}, 1),
            ({"than": {"baseline_metric": "temperature"}}, 1),
            ({"than": {"challenger": "hinge"}, "metric": "temperature", "where": {"dataset": "mnist"}}, 0),
            ({"than": {"dataset": "digits"}, "metric": "temperature", "where": {"dataset": "mnist"}}, 1),
        ],
    )
    def test_each_measure_of_a_claim_may_need_it(self, tmp_path: Path, changes: dict[str, Any], problems: int) -> None:
        claim = {"id": "P", "metric": "accuracy_at_bias", "challenger": "bce", "baseline": "softmax"}
        experiment = _asked(
            "digits",
            "mnist",
            losses=["softmax", "bce", "hinge"],
            claims=[{**claim, "direction": "lower", **changes}],
            threshold="bias",
            overrides=[{"where": {"dataset": "digits"}, "recipe": {"validation_fraction": 0}}],
        )
        found = _problems(tmp_path, experiment)
        assert len(found) == problems
        assert all("claim 'P' is about temperature" in each for each in found)


@pytest.mark.parametrize(
    ("metric", "dataset", "said"),
    [
        ("true_accept_rate_1", "digits", None),
        ("true_accept_rate_01", "digits", "needs 1,000 test images of known classes; there are 797"),
        ("true_accept_rate_01", {"name": "digits", "hold_out": [9]}, "needs 1,000 test images of known classes; there"),
        ("true_accept_rate_01", "mnist", None),
        ("uniform_accuracy", "digits", None),
    ],
)
def test_a_claim_about_a_rate_that_the_test_images_cannot_carry_is_refused(
    tmp_path: Path, metric: str, dataset: Any, said: str | None
) -> None:
    claim = {"id": "P", "metric": metric, "challenger": "bce", "baseline": "softmax", "direction": "higher"}
    found = _problems(tmp_path, _asked(dataset, losses=["softmax", "bce"], claims=[claim]))
    assert len(found) == (said is not None)
    assert all(f"claim 'P' is about {metric}, which {said}" in each for each in found)


class Secretive(Digits):
    """Digits that tell their labels only when they are loaded."""

    name = "secretive"

    def labels(self, data_dir: Path) -> Any:
        """Not offered."""
        raise NotImplementedError(data_dir)

    def load(self, data_dir: Path) -> TrainTest:
        """Of the first class alone."""
        data = super().load(data_dir)
        return TrainTest(data.train.take(np.flatnonzero(data.train.labels == 0)), data.test, 10)


@pytest.fixture
def secretive(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**catalogue.plugins("datasets"), "secretive": Secretive}
    real: Callable[[Any], Any] = catalogue.plugins
    monkeypatch.setattr(catalogue, "plugins", lambda axis: known if axis == "datasets" else real(axis))


@pytest.mark.usefixtures("secretive")
def test_a_dataset_that_does_not_tell_its_labels_is_counted_by_a_launch(tmp_path: Path) -> None:
    experiment = _asked("secretive")
    assert _problems(tmp_path, experiment) == []
    with pytest.raises(RequestError, match="secretive: 'secretive' has only 1 known class; 2 are needed"):
        prepare(plan(experiment), tmp_path)


@pytest.mark.parametrize("dataset", ["digits", "image_folder", "parquet"])
def test_labels_are_those_that_load_gives(dataset: str, tmp_path: Path) -> None:
    if dataset == "parquet":
        pytest.importorskip("pandas")
        import pandas as pd

        (tmp_path / "mine").mkdir()
        for part, count in (("train", 9), ("test", 4)):
            images = [
                b"".join([Path(_folder(tmp_path / "raw", {"a": 1}) / "train" / "a" / "0.png").read_bytes()])
            ] * count
            pd.DataFrame({"image": images, "label": [number % 3 for number in range(count)]}).to_parquet(
                tmp_path / "mine" / f"{part}.parquet"
            )
    else:
        _folder(tmp_path / "mine", {"a": 3, "b": 4, "c": 2})
    parameters = {} if dataset == "digits" else {"path": "mine", "size": 8, "train_size": 5, "test_size": 3}
    plugin = catalogue.resolve("datasets", dataset, parameters)
    told = plugin.labels(tmp_path)
    loaded = plugin.load(tmp_path)  # pyright: ignore[reportAttributeAccessIssue]
    assert np.array_equal(told.train, loaded.train.labels)
    assert np.array_equal(told.test, loaded.test.labels)
    assert told.classes == loaded.classes


class TestStarts:
    """A bias that starts far below log(K - 1) can end a training of many classes before it begins."""

    @staticmethod
    def _told(*losses: Any, dataset: Any = "cifar100", data_dir: Path = Path("nowhere")) -> list[str]:
        experiment = _asked(dataset, losses=["softmax", *losses])
        return checks.cautions(plan(experiment), checks.labels_here(data_dir))

    def test_the_defaults_fit_any_number_of_classes(self) -> None:
        everything = ("bce_fixed", "bce_unified", "bce_diverse", "focal", "hinge", "softmax_unified", "softmax_diverse")
        assert self._told(*everything, dataset="imagenet") == []

    def test_a_start_at_0_is_told_with_the_loss_the_classes_and_the_remedy(self) -> None:
        what = "ours starts from a bias of 0, but cifar100 has 100 classes: at the first step the gradient down is 99 "
        harm = "times the gradient up, which can drive all features to 0. Use 'bias_init: prior', which is log(K - 1)."
        assert self._told({"name": "bce_unified", "as": "ours", "bias_init": 0.0}) == [what + harm]

    def test_a_loss_without_a_bias_starts_at_0(self) -> None:
        (sentence,) = self._told("bce")
        assert sentence.startswith("bce starts from a bias of 0")
        assert sentence.endswith("Use the default bias of bce_fixed and bce_unified, which is log(K - 1).")

    @pytest.mark.parametrize(("start", "told"), [(1.59, True), (1.6, False), (10.0, False), (-1.0, True)])
    def test_up_to_20_times_nothing_is_said_nor_of_a_high_start(self, start: float, told: bool) -> None:
        # log 99 - log 20 = 1.599
        assert bool(self._told({"name": "bce_diverse", "as": "ours", "bias_init": start})) == told
        assert bool(self._told({"name": "bce_fixed", "bias": start})) == told

    def test_ten_classes_start_from_anywhere_near_0(self) -> None:
        assert self._told("bce", {"name": "hinge", "bias_init": 0.0}, dataset="cifar10") == []

    def test_where_differences_decide_no_start_is_wrong(self) -> None:
        assert self._told({"name": "softmax_diverse", "bias_init": -9.0}) == []

    def test_held_out_classes_are_not_counted(self) -> None:
        few = {"name": "cifar100", "hold_out": list(range(80))}
        assert self._told("bce", dataset=few) == []

    def test_classes_of_a_folder_are_counted(self, tmp_path: Path) -> None:
        many = _folder(tmp_path / "many", {f"c{number}": 1 for number in range(25)})
        (sentence,) = self._told("bce", dataset=_mine(many, **{"as": "mine"}), data_dir=tmp_path)
        assert "mine has 25 classes" in sentence
        assert "24 times" in sentence
        assert self._told("bce", dataset=_mine(tmp_path / "absent"), data_dir=tmp_path) == []

    def test_a_launch_says_so_too(self, tmp_path: Path) -> None:
        asked = _asked("digits", losses=["softmax", {"name": "bce_fixed", "bias": -1.0}], recipe={"epochs": 1})
        (sentence,) = prepare(plan(asked), tmp_path)
        assert "24 times" in sentence  # 9 e


class TestUnknowns:
    def test_unsuitable_ones_are_told_with_all_other_problems(self, tmp_path: Path) -> None:
        mine = _folder(tmp_path / "mine", {"bad": 9, "good": 9})
        others = _folder(tmp_path / "others", {"good": 3, "odd": 3})
        large = {"name": "image_folder", "path": str(others), "size": 9}
        asked = _asked(_mine(mine, unknowns=large, **{"as": "parts"}), recipe={"batch_size": 8})
        size, names = _problems(tmp_path, asked)
        assert size.startswith("parts: the samples of 'unknowns: image_folder' have 3x9x9 numbers, and its own 3x8x8")
        assert "known by the same name: good" in names

    def test_missing_ones_are_told_where_they_were_looked_for(self, tmp_path: Path) -> None:
        mine = _folder(tmp_path / "mine", {"bad": 9, "good": 9})
        asked = _asked(_mine(mine, unknowns={"name": "image_folder", "path": "gone"}), recipe={"batch_size": 8})
        placed = beside(asked, tmp_path)
        (told,) = checks.absent(plan(placed), tmp_path / "data")
        assert str(tmp_path / "gone") in told
        with pytest.raises(RequestError, match="gone"):
            prepare(plan(placed), tmp_path / "data")
