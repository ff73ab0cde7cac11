"""The claims of `digits`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainers.datasets import MissingDataError, TrainTest, fingerprint
from trainers.datasets.digits import Digits

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> TrainTest:
    return Digits().load(tmp_path_factory.mktemp("data"))


def test_a_thousand_digits_train_and_the_other_797_test(digits: TrainTest) -> None:
    assert digits.train.pixels.shape == (1000, 1, 8, 8)
    assert digits.test.pixels.shape == (797, 1, 8, 8)
    assert digits.train.labels.shape == (1000,)
    assert digits.test.labels.shape == (797,)


def test_the_grey_levels_span_the_whole_range_of_a_byte(digits: TrainTest) -> None:
    assert digits.train.pixels.dtype == np.uint8
    levels = np.unique(digits.train.pixels)
    assert levels[0] == 0
    assert levels[-1] == 255
    assert len(levels) == 17


def test_both_splits_hold_all_ten_classes(digits: TrainTest) -> None:
    assert digits.classes == 10
    for split in (digits.train, digits.test):
        assert split.labels.dtype == np.int64
        assert set(split.labels.tolist()) == set(range(10))


def test_the_splits_follow_the_file_and_share_no_image(digits: TrainTest) -> None:
    from sklearn.datasets import load_digits

    _, labels = load_digits(return_X_y=True)
    assert np.array_equal(np.concatenate([digits.train.labels, digits.test.labels]), labels)
    seen = {image.tobytes() for image in digits.train.pixels}
    assert not any(image.tobytes() in seen for image in digits.test.pixels)


def test_the_content_never_changes(digits: TrainTest, tmp_path: Path) -> None:
    assert fingerprint(digits) == fingerprint(Digits().load(tmp_path)) == "7f5b9b1f3b6858ea"


def test_nothing_is_written_to_the_data_folder(tmp_path: Path) -> None:
    Digits().load(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_scikit_learn_the_message_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingDataError, match="scikit-learn"):
        Digits().prepare(tmp_path)
