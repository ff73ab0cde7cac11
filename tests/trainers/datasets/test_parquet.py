"""The claims of `parquet`, on files as pandas and Hugging Face's `datasets` write them."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from pydantic import ValidationError

from trainers.datasets import MissingDataError, TrainTest, UnusableDataError
from trainers.datasets.parquet import Parquet

if TYPE_CHECKING:
    from pathlib import Path

MINE = Parquet(path="mine", size=8)


def _encoded(level: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (9, 12), (level, level, level)).save(content, "PNG")
    return content.getvalue()


def _write(path: Path, images: Any, labels: Any, names: tuple[str, str] = ("image", "label")) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table({names[0]: images, names[1]: labels, "other": ["x"] * len(labels)}), path)


def _bytes(path: Path, first: int, count: int) -> None:
    """Row i is all `first` + i, and its label is (first + i) mod 3."""
    levels = range(first, first + count)
    _write(path, [_encoded(level) for level in levels], [level % 3 for level in levels])


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    _bytes(tmp_path / "mine" / "train.parquet", 0, 9)
    _bytes(tmp_path / "mine" / "test.parquet", 100, 4)
    return tmp_path


def _levels(images: TrainTest) -> tuple[list[int], list[int]]:
    return images.train.pixels[:, 0, 4, 4].tolist(), images.test.pixels[:, 0, 4, 4].tolist()


class TestFormats:
    def test_encoded_bytes_come_in_file_order(self, data_dir: Path) -> None:
        images = MINE.load(data_dir)
        assert _levels(images) == (list(range(9)), list(range(100, 104)))
        assert isinstance(images.train.pixels, np.memmap)
        assert images.train.pixels.shape == (9, 3, 8, 8)
        assert images.train.labels.tolist() == [0, 1, 2] * 3
        assert images.test.labels.tolist() == [1, 2, 0, 1]
        assert images.train.labels.dtype == np.int64
        assert images.classes == 3

    def test_hugging_faces_struct_of_bytes_and_path_is_read(self, tmp_path: Path) -> None:
        for split in ("train", "test"):
            structs = [{"bytes": _encoded(level), "path": None if level else "0.png"} for level in range(4)]
            _write(tmp_path / "mine" / f"{split}.parquet", structs, [0, 1, 1, 0], ("img", "fine_label"))
        images = Parquet(path="mine", size=8, image="img", label="fine_label").load(tmp_path)
        assert _levels(images)[0] == [0, 1, 2, 3]
        assert images.classes == 2

    @pytest.mark.parametrize("channels", [1, 3])
    def test_fixed_size_lists_of_bytes_are_read_by_their_shape(self, channels: int, tmp_path: Path) -> None:
        draw = np.random.default_rng(0)
        pixels = draw.integers(0, 256, (6, channels, 5, 5), np.uint8)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(pixels.reshape(-1)), channels * 25)
        for split in ("train", "test"):
            _write(tmp_path / "mine" / f"{split}.parquet", lists, pa.array([0, 1] * 3, pa.uint8()))
        mine = {"path": "mine", "size": 5, "channels": channels, "shape": (channels, 5, 5)}
        assert np.array_equal(Parquet(**mine).load(tmp_path).train.pixels, pixels)

    def test_files_that_pandas_wrote_are_read(self, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        for split in ("train", "test"):
            frame = pd.DataFrame({"label": [1, 0], "image": [_encoded(5), _encoded(6)]}, index=["b", "a"])
            frame.to_parquet(tmp_path / "mine" / f"{split}.parquet")
        assert _levels(MINE.load(tmp_path))[0] == [5, 6]


class TestSeveralFiles:
    @pytest.fixture(params=["{}-0000{}-of-00003.parquet", "{}/{}.parquet"])
    def sharded(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        """Rows 0 to 8 in three files, the first of them written last."""
        for number in (2, 1, 0):
            _bytes(tmp_path / "mine" / request.param.format("train", number), 3 * number, 3)
            _bytes(tmp_path / "mine" / request.param.format("test", number), 100 + 3 * number, 3)
        return tmp_path

    def test_they_are_read_in_the_order_of_their_names(self, sharded: Path) -> None:
        images = MINE.load(sharded)
        assert _levels(images) == (list(range(9)), list(range(100, 109)))
        assert images.train.labels.tolist() == [0, 1, 2] * 3

    def test_a_subset_takes_rows_of_all_files_in_its_own_order(self, sharded: Path) -> None:
        whole = MINE.load(sharded)
        small, large = (Parquet(path="mine", size=8, train_size=size).load(sharded) for size in (4, 7))
        assert _levels(small)[0] == _levels(large)[0][:4]
        assert len(set(_levels(large)[0])) == 7
        assert large.train.labels.tolist() == [level % 3 for level in _levels(large)[0]]
        assert large.classes == whole.classes
        assert _levels(large)[1] == _levels(whole)[1]

    def test_the_images_of_files_without_a_chosen_row_are_not_read(
        self, sharded: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        genuine = pd.read_parquet
        read = []

        def counting(path: Path, columns: list[str]) -> Any:
            read.append(columns[0])
            return genuine(path, columns=columns)

        monkeypatch.setattr(pd, "read_parquet", counting)
        Parquet(path="mine", size=8, train_size=1, test_size=1).load(sharded)
        assert read.count("image") == 4  # one file per split, looked at and then decoded

    def test_images_are_not_read_again(self, sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        MINE.load(sharded)
        genuine = pd.read_parquet
        read = []

        def counting(path: Path, columns: list[str]) -> Any:
            read.append(columns[0])
            return genuine(path, columns=columns)

        monkeypatch.setattr(pd, "read_parquet", counting)
        MINE.load(sharded)
        assert set(read) == {"label"}


class TestClasses:
    def test_names_are_numbered_in_their_order(self, data_dir: Path) -> None:
        _write(data_dir / "mine" / "train.parquet", [_encoded(level) for level in range(4)], ["ok", "dent", "ok", "Öl"])
        _write(data_dir / "mine" / "test.parquet", [_encoded(level) for level in range(9, 11)], ["Öl", "ok"])
        labels = MINE.labels(data_dir)
        assert labels.names == ("dent", "ok", "Öl")
        assert labels.train.tolist() == [1, 0, 1, 2]
        assert labels.test.tolist() == [2, 1]
        assert MINE.load(data_dir).names == labels.names

    def test_hugging_faces_names_of_integers_are_kept(self, data_dir: Path) -> None:
        features = {"label": {"names": ["ok", "dent", "Öl"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        about = {"huggingface": json.dumps({"info": {"features": features}}, ensure_ascii=False)}
        for part in ("train", "test"):
            path = data_dir / "mine" / f"{part}.parquet"
            table = parquet.read_table(path)
            parquet.write_table(table.replace_schema_metadata(about), path)
        assert MINE.labels(data_dir).names == ("ok", "dent", "Öl")

    def test_integers_without_names_have_none(self, data_dir: Path) -> None:
        assert MINE.labels(data_dir).names == ()

    def test_a_name_that_no_training_image_has_is_told(self, data_dir: Path) -> None:
        _write(data_dir / "mine" / "train.parquet", [_encoded(1), _encoded(2)], ["ok", "dent"])
        _write(data_dir / "mine" / "test.parquet", [_encoded(3)], ["scratch"])
        with pytest.raises(UnusableDataError, match=r"include scratch, which no training image has"):
            MINE.labels(data_dir)


class TestOneFile:
    """Files that are not divided."""

    @pytest.fixture
    def whole(self, tmp_path: Path) -> Path:
        """Twelve parts with three pictures each, which are all of one level; every second part is of class b."""
        rows = {
            "image": [_encoded(part) for part in range(12) for _ in range(3)],
            "label": ["ab"[part % 2] for part in range(12) for _ in range(3)],
            "group": [f"part {part}" for part in range(12) for _ in range(3)],
        }
        (tmp_path / "mine").mkdir()
        parquet.write_table(pa.table(rows), tmp_path / "mine" / "all.parquet")
        return tmp_path

    def test_pictures_of_one_part_are_on_one_side(self, whole: Path) -> None:
        divided = Parquet(path="mine", size=8, test_fraction=0.3)
        train, test = _levels(divided.load(whole))
        assert not set(train) & set(test)
        assert Counter(test) == dict.fromkeys(set(test), 3)
        assert np.bincount(divided.labels(whole).test).tolist() == [6, 6]

    def test_another_seed_tests_on_other_parts(self, whole: Path) -> None:
        tested = {
            tuple(_levels(Parquet(path="mine", size=8, test_fraction=0.3, test_seed=seed).load(whole))[1])
            for seed in range(4)
        }
        assert len(tested) > 1

    def test_a_named_column_must_be_there(self, whole: Path) -> None:
        with pytest.raises(UnusableDataError, match=r"The column 'part' of .*all.parquet cannot be read"):
            Parquet(path="mine", test_fraction=0.3, group="part").labels(whole)

    def test_an_empty_group_is_told(self, whole: Path) -> None:
        path = whole / "mine" / "all.parquet"
        table = parquet.read_table(path).set_column(2, "group", pa.array([None] + ["x", "y"] * 17 + ["z"]))
        parquet.write_table(table, path)
        with pytest.raises(UnusableDataError, match=r"The column 'group' of .*mine has 1 empty cells: fill them"):
            Parquet(path="mine", test_fraction=0.3).labels(whole)

    def test_a_class_of_one_part_is_told(self, whole: Path) -> None:
        path = whole / "mine" / "all.parquet"
        table = parquet.read_table(path)
        labels = [
            "c" if group == "part 0" else label
            for group, label in zip(table["group"].to_pylist(), table["label"].to_pylist(), strict=True)
        ]
        parquet.write_table(table.set_column(1, "label", pa.array(labels)), path)
        with pytest.raises(UnusableDataError, match=r"The images of class 'c' cannot be divided"):
            Parquet(path="mine", test_fraction=0.3).labels(whole)

    def test_files_that_are_divided_need_no_fraction(self, data_dir: Path) -> None:
        with pytest.raises(UnusableDataError, match="is divided into train and test already"):
            Parquet(path="mine", test_fraction=0.3).labels(data_dir)


class TestErrors:
    def test_missing_files_are_named_with_their_folder_layout_and_columns(self, tmp_path: Path) -> None:
        with pytest.raises(MissingDataError) as caught:
            MINE.prepare(tmp_path)
        message = str(caught.value)
        assert message.startswith("No data for 'parquet': expected train.parquet and test.parquet")
        assert str(tmp_path / "mine") in message
        assert "'image' and 'label'" in message
        assert "'image_folder'" in message

    @pytest.mark.parametrize("column", ["image", "label"])
    def test_a_column_of_another_name_is_explained(self, column: str, data_dir: Path) -> None:
        with pytest.raises(MissingDataError, match=r"'pixels' of .*train.parquet .*parameters image and label name"):
            Parquet(path="mine", **{column: "pixels"}).load(data_dir)

    def test_a_damaged_file_is_named(self, data_dir: Path) -> None:
        (data_dir / "mine" / "test.parquet").write_bytes(b"PAR1 and nothing else")
        with pytest.raises(MissingDataError, match=r"test.parquet cannot be read"):
            MINE.load(data_dir)

    def test_a_corrupt_image_is_named_by_its_row(self, data_dir: Path) -> None:
        images = [_encoded(1), b"no image", _encoded(2)]
        _write(data_dir / "mine" / "test.parquet", images, [0, 1, 2])
        with pytest.raises(MissingDataError, match=r"Row 1 of .*test.parquet is no image"):
            MINE.prepare(data_dir)

    @pytest.mark.parametrize(
        ("cells", "reason"),
        [
            ([{"bytes": None, "path": "there.png"}], "refers to there.png and holds no bytes"),
            (pa.array([None], pa.binary()), "is NoneType"),
            (["text"], "is str"),
            ([[1, 2, 3]], "its shape must be given"),
        ],
    )
    def test_a_cell_that_holds_no_image_is_explained(self, cells: Any, reason: str, data_dir: Path) -> None:
        _write(data_dir / "mine" / "test.parquet", cells, [0])
        with pytest.raises(MissingDataError, match=f"Row 0 .*{reason}"):
            MINE.load(data_dir)

    @pytest.mark.parametrize(("kind", "count"), [("uint8", 11), ("int64", 12)])
    def test_lists_that_do_not_fit_their_shape_are_explained(self, kind: str, count: int, data_dir: Path) -> None:
        cells = pa.array([np.zeros(count, kind)])
        _write(data_dir / "mine" / "test.parquet", cells, [0])
        _write(data_dir / "mine" / "train.parquet", pa.array([np.zeros(12, np.uint8)]), [0])
        with pytest.raises(MissingDataError, match=r"Row 0 of .*test.parquet"):
            Parquet(path="mine", size=2, shape=(3, 2, 2)).load(data_dir)

    @pytest.mark.parametrize(
        ("labels", "reason"),
        [
            ([0.0, 1.0], "are double|are float64"),
            ([0, None], "expected an integer in each row"),
            (["cat", "dog"], "expected an integer in each row"),
            ([1, 2], "run from 1 to 2 and have 2 values; expected 0 to 1"),
            ([0, 2], "Number the classes from 0 without gaps"),
            ([-1, 0], "run from -1 to 0"),
        ],
    )
    def test_labels_that_do_not_count_the_classes_are_explained(
        self, labels: list[Any], reason: str, data_dir: Path
    ) -> None:
        _write(data_dir / "mine" / "train.parquet", [_encoded(0)] * 2, labels)
        with pytest.raises(MissingDataError, match=reason):
            MINE.load(data_dir)

    def test_a_test_label_that_no_training_image_has_is_named(self, data_dir: Path) -> None:
        _write(data_dir / "mine" / "test.parquet", [_encoded(0)], [7])
        with pytest.raises(MissingDataError, match=r"test labels in .* include 7, which no training image has"):
            MINE.load(data_dir)

    def test_files_without_rows_are_named(self, data_dir: Path) -> None:
        _write(data_dir / "mine" / "test.parquet", pa.array([], pa.binary()), pa.array([], pa.int64()))
        with pytest.raises(MissingDataError, match=r"The test files in .* have no rows"):
            MINE.load(data_dir)

    @pytest.mark.parametrize("shape", [(2, 5, 5), (3, 0, 5), (5, 5)])
    def test_a_shape_that_is_none_is_refused_while_planning(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValidationError, match="shape"):
            Parquet(path="mine", shape=shape)  # pyright: ignore[reportArgumentType]


def test_the_path_is_required() -> None:
    with pytest.raises(ValidationError, match="path"):
        Parquet()  # pyright: ignore[reportCallIssue]


def test_a_changed_file_is_noticed(data_dir: Path) -> None:
    MINE.load(data_dir)
    _bytes(data_dir / "mine" / "test.parquet", 50, 4)
    os.utime(data_dir / "mine" / "test.parquet", (1, 1))  # whatever the clock's grain
    assert _levels(MINE.load(data_dir))[1] == [50, 51, 52, 53]


def test_its_shape_survives_json() -> None:
    mine = Parquet(path="mine", shape=(3, 5, 5))
    dump = mine.model_dump(mode="json")
    del dump["name"]
    assert Parquet.model_validate(dump) == mine
    assert hash(Parquet.model_validate(dump)) == hash(mine)
