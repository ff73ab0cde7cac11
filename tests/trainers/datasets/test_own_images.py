"""Folders as people have them: divided or not, odd in many ways, and answered before training."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from trainers.datasets import Labels, MissingDataError, UnreadableHereError, UnusableDataError, grouped, hashes, own
from trainers.datasets.image_folder import ImageFolder

if TYPE_CHECKING:
    from collections.abc import Callable

DRAW = np.random.RandomState(0)
MINE = ImageFolder(path="mine", size=8)
DIVIDED = ImageFolder(path="mine", size=8, test_fraction=0.25)


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (9, 9), **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = DRAW.randint(0, 256, (size[1], size[0], 3)).astype("uint8")
    Image.fromarray(noise).convert(mode).save(path, **options)


def folder(root: Path, classes: tuple[str, ...] = ("bad", "good"), parts: tuple[str, ...] = ("train", "test")) -> Path:
    for part in parts:
        for name in classes:
            for number in range(4):
                picture(root / "mine" / part / name / f"{number}.png")
    return root / "mine"


def refusal(data_dir: Path, dataset: ImageFolder = MINE) -> str:
    with pytest.raises(UnusableDataError) as caught:
        dataset.labels(data_dir)
    with pytest.raises(MissingDataError):
        dataset.prepare(data_dir)
    return str(caught.value)


def labels(data_dir: Path, **parameters: Any) -> Labels:
    return ImageFolder(**{"path": "mine", "size": 8, **parameters}).labels(data_dir)


class TestThePath:
    def test_it_begins_at_the_experiment_file(self, tmp_path: Path) -> None:
        folder(tmp_path / "file")
        placed = MINE.beside(tmp_path / "file")
        assert placed.labels(tmp_path / "data").names == ("bad", "good")
        assert placed.model_dump() == MINE.model_dump()
        assert hash(placed) == hash(MINE)

    def test_or_else_at_the_data_folder(self, tmp_path: Path) -> None:
        folder(tmp_path / "data")
        assert MINE.beside(tmp_path / "file").labels(tmp_path / "data").classes == 2

    def test_the_same_images_are_the_same_wherever_they_are(self, tmp_path: Path) -> None:
        folder(tmp_path / "one")
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        one, two = (MINE.beside(tmp_path / name).digest(tmp_path / "data") for name in ("one", "two"))
        assert one == two

    def test_a_missing_folder_is_told_with_both_places_and_the_nearest_name(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "file" / "mime").mkdir(parents=True)
        with pytest.raises(MissingDataError) as caught:
            MINE.beside(tmp_path / "file").labels(tmp_path / "data")
        assert not isinstance(caught.value, UnusableDataError)
        assert f"{tmp_path / 'file' / 'mine'} or {tmp_path / 'data' / 'mine'}" in str(caught.value)
        assert "There is no such folder. Did you mean 'mime'?" in str(caught.value)


class TestAFolderThatIsNotDivided:
    def test_each_class_is_divided_by_the_fraction(self, tmp_path: Path) -> None:
        folder(tmp_path, ("bad", "good", "ugly"), ("",))
        found = DIVIDED.load(tmp_path)
        assert np.bincount(found.train.labels).tolist() == [3, 3, 3]
        assert np.bincount(found.test.labels).tolist() == [1, 1, 1]
        assert found.names == ("bad", "good", "ugly")
        assert found.train.groups is None

    def test_the_division_depends_on_its_seed_and_on_nothing_else(self, tmp_path: Path) -> None:
        folder(tmp_path, parts=("",))

        def tested(seed: int) -> bytes:
            dataset = ImageFolder(path="mine", size=8, test_fraction=0.25, test_seed=seed)
            return dataset.load(tmp_path).test.pixels.tobytes()

        assert tested(0) == tested(0)
        assert len({tested(seed) for seed in range(4)}) > 1

    def test_the_images_of_a_sub_folder_stay_on_one_side(self, tmp_path: Path) -> None:
        for number in range(48):
            picture(tmp_path / "mine" / "ab"[number % 2] / f"part{number // 4}" / f"{number}.png")
        train, test, *_ = DIVIDED._splits(tmp_path)
        sides = [{name.split("/")[1] for name in split.files} for split in (train, test)]
        assert sides[0].isdisjoint(sides[1])
        assert [np.bincount(split.labels).tolist() for split in (train, test)] == [[18, 18], [6, 6]]

    def test_validation_keeps_them_together_too(self, tmp_path: Path) -> None:
        from trainers.division import rows
        from trainers.recipe import Recipe

        for number in range(96):
            picture(tmp_path / "mine" / "ab"[number % 2] / f"part{number // 4}" / f"{number}.png")
        known = DIVIDED.labels(tmp_path)
        assert known.groups is not None
        recipe = Recipe.model_validate({"loss": "softmax", "backbone": "resnet8", "dataset": DIVIDED, "seed": 0})
        chosen = rows(known, recipe)
        assert len(chosen.validation)
        assert not set(known.groups[chosen.validation]) & set(known.groups[chosen.train])

    def test_equal_files_stay_on_one_side(self, tmp_path: Path) -> None:
        folder(tmp_path, parts=("",))
        for number in range(3):
            shutil.copy(tmp_path / "mine" / "good" / "0.png", tmp_path / "mine" / "good" / f"copy{number}.png")
        for seed in range(4):
            train, test, *_ = ImageFolder(path="mine", test_fraction=0.3, test_seed=seed)._splits(tmp_path)
            copies = [sum("copy" in name for name in split.files) for split in (train, test)]
            assert sorted(copies) == [0, 3]

    def test_a_class_of_one_sub_folder_is_told_with_the_remedy(self, tmp_path: Path) -> None:
        for name in ("bad", "good"):
            for number in range(4):
                picture(tmp_path / "mine" / name / "images" / f"{number}.png")
        said = refusal(tmp_path, DIVIDED)
        assert "All 4 images of class 'bad' stay on one side, because they belong together (images/)." in said
        assert labels(tmp_path, test_fraction=0.25, group="image").test.tolist() == [0, 1]

    def test_a_class_of_one_image_is_told(self, tmp_path: Path) -> None:
        folder(tmp_path, parts=("",))
        picture(tmp_path / "mine" / "ugly" / "1.png")
        assert "Class 'ugly' has 1 image; at least 2 are needed" in refusal(tmp_path, DIVIDED)

    def test_a_divided_folder_is_told(self, tmp_path: Path) -> None:
        folder(tmp_path)
        assert "is divided into train and test already: leave out 'test_fraction'" in refusal(tmp_path, DIVIDED)

    def test_what_is_not_said_is_not_part_of_a_cells_id(self) -> None:
        assert set(MINE.model_dump()) == {
            "name", "hold_out", "train_fraction", "imbalance", "shift", "train_size", "test_size", "size", "channels",
            "path",
        }  # fmt: skip


class TestHowPixelsAreRead:
    def test_images_are_turned_as_the_camera_was_held(self, tmp_path: Path) -> None:
        folder(tmp_path)
        before = MINE.digest(tmp_path)
        side = np.zeros((8, 8, 3), np.uint8)
        side[:, 4:] = 255  # white on the right
        data = Image.Exif()
        data[0x0112] = 6  # turn it by a quarter, clockwise, to see it upright
        Image.fromarray(side).save(tmp_path / "mine" / "test" / "bad" / "0.png", exif=data)
        found = MINE.load(tmp_path).test.pixels[0, 0]
        assert (found[:4] == 0).all()
        assert (found[4:] == 255).all()
        assert "1 image turned upright, as the EXIF data say" in MINE.labels(tmp_path).facts
        assert MINE.manifest(tmp_path)["reading"] == "upright"
        assert MINE.digest(tmp_path) != before

    def test_12_bits_in_16_use_all_bytes(self, tmp_path: Path) -> None:
        root = folder(tmp_path)
        levels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 65  # up to 4095
        for file in root.glob("*/*/*.png"):
            Image.fromarray(levels + DRAW.randint(0, 1, dtype=np.uint16)).save(file)
            levels = np.roll(levels, 1)
        for value in (MINE, ImageFolder(path="mine", size=8, range=(0, 4095))):
            shutil.rmtree(tmp_path / ".decoded", ignore_errors=True)
            assert value.load(tmp_path).test.pixels.max() == 255
            assert len(np.unique(value.load(tmp_path).test.pixels)) == 64
        assert MINE.manifest(tmp_path)["reading"] == "levels 0 to 4095"
        assert "16 images with more than 8 bits per pixel: level 0 is black, 4095 white" in MINE.labels(tmp_path).facts

    def test_a_stated_range_says_what_is_black_and_white(self, tmp_path: Path) -> None:
        root = folder(tmp_path)
        stated = ImageFolder(path="mine", size=8, channels=1, range=(-1, 1))
        values = np.linspace(-1.5, 1.5, 64, dtype=np.float32).reshape(8, 8)
        for number, file in enumerate(sorted(root.glob("*/*/*.png"))):
            file.unlink()
            Image.fromarray(values + np.float32(number * 1e-6)).save(file.with_suffix(".tif"))
        found = stated.load(tmp_path).test.pixels[0, 0]
        assert np.array_equal(found, np.clip(np.floor((values.astype(float) + 1) / 2 * 256), 0, 255))
        assert "reading" not in stated.manifest(tmp_path)
        assert "16 images with 32-bit pixels" not in " ".join(stated.labels(tmp_path).facts)
        assert "8 images with 32-bit pixels" in refusal(tmp_path)

    def test_16_bits_keep_their_upper_half_as_before(self, tmp_path: Path) -> None:
        root = folder(tmp_path)
        for number, file in enumerate(sorted(root.glob("*/*/*.png"))):
            Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000 + number).save(file)
        assert np.array_equal(
            MINE.load(tmp_path).test.pixels[0, 0], (np.arange(64).reshape(8, 8) * 1000 >> 8).astype(np.uint8)
        )
        assert "reading" not in MINE.manifest(tmp_path)

    def test_a_range_without_effect_is_told(self, tmp_path: Path) -> None:
        folder(tmp_path)
        assert labels(tmp_path, range=(0, 100)).cautions == (
            "'range' has no effect: no image has more than 8 bits per pixel.",
        )

    @pytest.mark.parametrize("levels", [(1, 1), (2, 1), (0,), (0, float("nan"))])
    def test_a_range_that_does_not_rise_is_refused_while_planning(self, levels: Any) -> None:
        with pytest.raises(ValidationError, match="range"):
            ImageFolder(path="mine", range=levels)

    def test_an_image_beyond_pillows_limit_is_decoded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder(tmp_path)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
        assert MINE.load(tmp_path).classes == 2
        assert Image.MAX_IMAGE_PIXELS == 20


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no images at all": (lambda mine: shutil.rmtree(mine / "train") or shutil.rmtree(mine / "test"), "is empty."),
    "a file in place of a folder": (
        lambda mine: shutil.rmtree(mine) or mine.write_bytes(b"PK"),
        "mine is a file. Unpack it, and name the folder.",
    ),
    "images without folders": (
        lambda mine: [shutil.rmtree(mine / part) for part in ("train", "test")] and picture(mine / "1.png"),
        "has images (1.png) and no folders: sort them into one folder per class",
    ),
    "classes without train and test": (
        lambda mine: [shutil.move(mine / "train" / "bad", mine), *map(shutil.rmtree, (mine / "train", mine / "test"))],
        "There are folders bad. If they are classes, divide them by 'test_fraction: 0.2'.",
    ),
    "one folder further down": (
        lambda mine: [(mine / "in").mkdir(), *(shutil.move(mine / part, mine / "in") for part in ("train", "test"))],
        "They are one folder further down: add '/in' to the path.",
    ),
    "val in place of test": (
        lambda mine: shutil.move(mine / "test", mine / "val"),
        "There is no folder 'test': rename val, or copy images there.",
    ),
    "only train": (
        lambda mine: shutil.rmtree(mine / "test"),
        "There is no folder 'test': divide 'train' itself by 'test_fraction: 0.2'.",
    ),
    "one class": (
        lambda mine: [shutil.rmtree(mine / part / "bad") for part in ("train", "test")],
        "There is only one class, 'good', in ",
    ),
    "a class in test alone": (lambda mine: picture(mine / "test" / "ugly" / "1.png"), "only test has ugly"),
    "an empty file": (
        lambda mine: (mine / "train" / "bad" / "0.png").write_bytes(b""),
        "train/bad/0.png is no image that can be decoded (the file is empty). Replace it",
    ),
    "half a file": (
        lambda mine: (file := mine / "test" / "bad" / "0.png").write_bytes(file.read_bytes()[:90]),
        "test/bad/0.png is no image that can be decoded (",
    ),
    "a page saved as an image": (
        lambda mine: (mine / "test" / "bad" / "0.png").write_text("<html>"),
        "(it is not an image, or of an unknown kind)",
    ),
    "an animation": (
        lambda mine: Image.new("L", (9, 9)).save(
            mine / "train" / "bad" / "film.webp", save_all=True, append_images=[Image.new("L", (9, 9), 255)]
        ),
        "Some files hold several images, as animations do: ",
    ),
    "too large an image": (
        lambda mine: Image.new("1", (40_000, 40_000)).save(mine / "train" / "bad" / "map.png"),
        "40000 x 40000 pixels, more than 1,073,741,824: scale it down",
    ),
    "a test image to train on": (
        lambda mine: shutil.copy(mine / "train" / "bad" / "0.png", mine / "test" / "bad" / "x.png"),
        "1 test image is among the training images, too: bad/x.png = bad/0.png. Remove each from one of the two.",
    ),
    "a link to nothing": (
        lambda mine: (mine / "train" / "bad" / "lost.png").symlink_to("nowhere"),
        "In train, these look like images but are no files, such as links to nothing: bad/lost.png.",
    ),
    "a pipe": (lambda mine: os.mkfifo(mine / "train" / "bad" / "pipe.png"), "are no files"),
    "classes that differ by case": (
        lambda mine: [shutil.copytree(mine / part / "bad", mine / part / "Bad") for part in ("train", "test")],
        "The classes 'Bad' and 'bad' differ only in case, blanks or the form of letters: give one class one name.",
    ),
    "two forms of one letter": (
        lambda mine: [
            (mine / part / "bad").rename(mine / part / unicodedata.normalize(form, "défaut"))
            for part, form in (("train", "NFC"), ("test", "NFD"))
        ],
        "differ only in case, blanks or the form of letters",
    ),
    "a name that is no text": (
        lambda mine: [(mine / part / "bad").rename(mine / part / os.fsdecode(b"\xff")) for part in ("train", "test")],
        r"The name of folder '\xff' in ",
    ),
    "a line break in a name": (
        lambda mine: [(mine / part / "bad").rename(mine / part / "b\nd") for part in ("train", "test")],
        r"The name of folder 'b\x0ad' in ",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "said"), ODD.values(), ids=ODD)
def test_an_odd_folder_is_answered_before_training(spoil: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    spoil(folder(tmp_path))
    assert said in refusal(tmp_path)


def test_everything_that_is_wrong_is_told_together(tmp_path: Path) -> None:
    mine = folder(tmp_path)
    (mine / "train" / "hollow").mkdir()
    (mine / "train" / "good" / "0.png").write_bytes(b"")
    (mine / "train" / "good" / "1.png").write_bytes(b"no image")
    (mine / "test" / "good" / "lost.png").symlink_to("nowhere")
    picture(mine / "test" / "ugly" / "0.png")
    first, *listed = refusal(tmp_path).splitlines()
    assert first == f"The images of 'image_folder' in {mine} cannot be used:"
    assert len(listed) == 4
    for said in ("hollow", "2 files are no images", "lost.png", "only test has ugly"):
        assert sum(said in line for line in listed) == 1, said


def test_files_that_may_not_be_read_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = folder(tmp_path)
    genuine = hashes.sha256

    def refused(path: str) -> str:
        if path.endswith("good/0.png"):
            raise PermissionError(13, "Permission denied")
        return genuine(path)

    monkeypatch.setattr(hashes, "sha256", refused)
    monkeypatch.setattr(own.os, "access", lambda path, _: not str(path).endswith("good/0.png"))
    said = refusal(tmp_path)
    assert f"The right to read is missing for 1 file in {mine / 'train'}: good/0.png." in said
    assert f"The right to read is missing for 1 file in {mine / 'test'}: good/0.png." in said


def test_a_folder_that_may_not_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path)
    genuine = os.scandir

    def refused(path: str) -> Any:
        if str(path).endswith("train/good"):
            raise PermissionError(13, "Permission denied")
        return genuine(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert "These folders in train cannot be listed: good (Permission denied). Give the right to read" in refusal(
        tmp_path
    )


CURIOUS: dict[str, tuple[Callable[[Path], object], str]] = {
    "files that are no images": (
        lambda mine: [(mine / "train" / "bad" / name).write_text("x") for name in ("a.gif", "b.GIF", "notes")],
        "2 .gif and 1 without an ending in train left out: no images by their endings.",
    ),
    "images beside the classes": (
        lambda mine: picture(mine / "train" / "all.png"),
        "all.png in train is left out: in no class folder.",
    ),
    "a link to its own folder": (
        lambda mine: (mine / "train" / "bad" / "again").symlink_to("."),
        "bad/again in train is not followed: links to their own folder.",
    ),
    "transparent pixels": (
        lambda mine: picture(mine / "train" / "bad" / "x.png", "RGBA"),
        "1 image with transparent pixels: what they hide becomes visible.",
    ),
    "colours of print": (
        lambda mine: picture(mine / "train" / "bad" / "x.jpg", "CMYK"),
        "1 image in the colours of print (CMYK): converted without a colour profile.",
    ),
    "grey among colours": (
        lambda mine: picture(mine / "train" / "bad" / "x.png", "L"),
        "1 image of 17 is grey, the others in colour: 'channels: 1' reads all as grey.",
    ),
    "a class that is grey": (
        lambda mine: [picture(file, "L") for file in mine.glob("*/bad/*.png")],
        "8 images of 16 are grey, the others in colour, and which they are gives the class away",
    ),
    "long images": (
        lambda mine: picture(mine / "train" / "bad" / "x.png", size=(40, 10)),
        "1 image more than twice as long as wide: the crop leaves out half or more.",
    ),
    "one image under two labels": (
        lambda mine: shutil.copy(mine / "train" / "bad" / "0.png", mine / "train" / "good" / "x.png"),
        "1 image in more than one class (bad and good): one of the labels is wrong.",
    ),
    "an image that repeats": (
        lambda mine: shutil.copy(mine / "train" / "bad" / "0.png", mine / "train" / "bad" / "x.png"),
        "1 image that repeats another one of the same class.",
    ),
    "parts in both splits": (
        lambda mine: [picture(mine / part / "bad" / "part1" / "x.png") for part in ("train", "test")],
        "Sub-folders of the same name are in train and in test: part1.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), CURIOUS.values(), ids=CURIOUS)
def test_what_may_be_wrong_is_said_and_does_no_harm(
    change: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    change(folder(tmp_path))
    (caution,) = MINE.labels(tmp_path).cautions
    assert caution.startswith(said)
    assert MINE.load(tmp_path).classes == 2


def test_what_systems_leave_in_folders_is_not_worth_a_word(tmp_path: Path) -> None:
    mine = folder(tmp_path)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png"):
        (mine / "train" / "bad" / name).write_text("x")
    (mine / "train" / "__MACOSX").mkdir()
    found = MINE.labels(tmp_path)
    assert found.cautions == ()
    assert found.facts == (
        "2 classes, 8 images to train on + 8 to test on: bad 4 + 4, good 4 + 4",
        "sides of 9 pixels; each image is scaled to 8 and cropped to a square",
    )


def test_names_in_any_script_and_with_any_sign_are_classes(tmp_path: Path) -> None:
    names = ("a,b", "キズ", "良品 ok", "[red]x")
    folder(tmp_path, names)
    assert MINE.labels(tmp_path).names == tuple(sorted(names))


def test_images_that_were_looked_at_are_not_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path)
    first = MINE.labels(tmp_path)
    monkeypatch.setattr("trainers.datasets.inspection._inspected", lambda *_: pytest.fail("looked at again"))
    assert MINE.labels(tmp_path).facts == first.facts


def test_without_pillow_nothing_is_said_of_images_that_nobody_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path)
    monkeypatch.setattr("trainers.datasets.inspection.find_spec", lambda _: None)
    with pytest.raises(UnreadableHereError, match=r"read by pillow, which is not installed: pip install .*train"):
        MINE.labels(tmp_path)
    with pytest.raises(UnreadableHereError):
        MINE.digest(tmp_path)
    monkeypatch.undo()
    known = MINE.labels(tmp_path)
    monkeypatch.setattr("trainers.datasets.inspection.find_spec", lambda _: None)
    assert MINE.labels(tmp_path).facts == known.facts


def test_of_very_many_images_only_the_first_bytes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = folder(tmp_path)
    file = mine / "train" / "bad" / "0.png"
    file.write_bytes(file.read_bytes()[:-40])
    monkeypatch.setattr("trainers.datasets.inspection.DECODED", 7)
    assert "16 images not decoded yet: a launch finds damaged ones before it trains." in MINE.labels(tmp_path).cautions
    with pytest.raises(MissingDataError, match=r"train/bad/0\.png is no image"):
        MINE.prepare(tmp_path)


def test_the_order_of_groups_is_that_of_their_names_alone(tmp_path: Path) -> None:
    folder(tmp_path, parts=("",))
    _, test, *_ = DIVIDED._splits(tmp_path)
    names = [f"{name}/{number}.png" for name in ("bad", "good") for number in range(4)]
    expected = [next(each for each in grouped.order(names, 0) if each.startswith(name)) for name in ("bad", "good")]
    assert sorted(test.files) == sorted(expected)
