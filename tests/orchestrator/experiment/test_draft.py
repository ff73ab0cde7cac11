"""`init`: a file that plans as it is, with choices that fit the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.errors import RequestError
from orchestrator.experiment.draft import draft, name_of
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.reading import load

DRAW = np.random.RandomState(0)


def pictures(root: Path, counts: dict[str, int], size: tuple[int, int] = (60, 50), mode: str = "RGB") -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            noise = DRAW.randint(0, 256, (size[1], size[0], 3)).astype("uint8")
            Image.fromarray(noise).convert(mode).save(root / name / f"{number}.png")
    return root


def drafted(folder: Path, file: Path) -> Experiment:
    file.parent.mkdir(exist_ok=True)
    file.write_text(draft(folder, file, file.parent / "data").text)
    return load(file)


def test_the_file_asks_for_what_the_images_need(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", {"dent": 20, "ok": 40})
    asked = drafted(folder, tmp_path / "photos.yaml")
    (choice,) = asked.datasets
    found = choice.plugin.model_dump()
    assert (asked.name, choice.label, len(asked.seeds)) == ("photos", "photos", 5)
    assert {name: found[name] for name in ("path", "size", "test_fraction", "channels")} == {
        "path": "photos", "size": 64, "test_fraction": 0.2, "channels": 3,
    }  # fmt: skip
    # Of 48 training images 38 are left to train on: four per step are at least eight steps.
    assert (asked.recipe.batch_size, asked.recipe.epochs, asked.recipe.validation_fraction) == (4, 40, 0.2)
    (claim,) = asked.claims
    assert (claim.challenger, claim.baseline, claim.margin) == ("bce_unified", "softmax", 0.083)


def test_many_small_grey_images_are_read_as_they_are(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    pictures(root / "train", {"a": 600, "b": 600}, (9, 9), "L")
    pictures(root / "test", {"a": 10, "b": 10}, (9, 9), "L")
    asked = drafted(root, tmp_path / "photos.yaml")
    found = asked.datasets[0].plugin.model_dump()
    assert (found["size"], found["channels"], "test_fraction" in found) == (32, 1, False)
    assert (asked.recipe.batch_size, asked.recipe.epochs, asked.recipe.validation_fraction) == (128, 40, 0.1)


def test_it_tells_what_it_saw_in_comments(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", {"dent": 20, "ok": 40}, (30, 30))
    text = draft(folder, tmp_path / "photos.yaml", tmp_path).text
    assert "# 2 classes, 48 images to train on + 12 to test on: dent 16 + 4, ok 32 + 8\n" in text
    assert drafted(folder, tmp_path / "photos.yaml").datasets[0].plugin.model_dump()["size"] == 32
    assert "each image is scaled to 32 " in text
    assert "one of 12 test images is 0.083. The smallest class has 4 of them." in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("place", ["here", "below/the", "."])
def test_the_path_begins_at_the_file(place: str, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", {"dent": 20, "ok": 40})
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    file = tmp_path / place / "mine.yaml"
    asked = drafted(folder, file)
    assert (file.parent / asked.datasets[0].plugin.model_dump()["path"]).resolve() == folder
    assert asked.datasets[0].plugin.labels(tmp_path / "data").classes == 2  # pyright: ignore[reportAttributeAccessIssue]


def test_parquet_files_are_read_as_such(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", {"dent": 20, "ok": 40})
    files = sorted(folder.glob("*/*.png"))
    rows = pd.DataFrame({"image": [file.read_bytes() for file in files], "label": [file.parent.name for file in files]})
    (tmp_path / "rows").mkdir()
    rows.to_parquet(tmp_path / "rows" / "all.parquet")
    asked = drafted(tmp_path / "rows", tmp_path / "rows.yaml")
    assert asked.datasets[0].plugin.name == "parquet"
    assert asked.datasets[0].plugin.labels(tmp_path).names == ("dent", "ok")  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("photos", "photos"),
        ("my photos!", "my-photos"),
        ("部品", "images"),
        (".hidden", "hidden"),
        ("a.b_c-d", "a.b_c-d"),
    ],
)
def test_a_name_is_one_for_a_file(name: str, expected: str, tmp_path: Path) -> None:
    assert name_of(tmp_path / name) == expected


def test_a_folder_that_cannot_be_used_is_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", {"dent": 20, "ok": 40})
    (folder / "hollow").mkdir()
    (folder / "ok" / "0.png").write_bytes(b"")
    with pytest.raises(RequestError, match=r"(?s)hollow.*the file is empty"):
        draft(folder, tmp_path / "photos.yaml", tmp_path)
    with pytest.raises(RequestError, match="There is no such folder"):
        draft(tmp_path / "fotos", tmp_path / "photos.yaml", tmp_path)


def test_too_few_images_to_validate_on_are_refused(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", {"dent": 2, "ok": 2})
    with pytest.raises(RequestError, match=r"the validation split is empty"):
        draft(folder, tmp_path / "photos.yaml", tmp_path)


def test_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path / "photos", {"dent": 20, "ok": 40})
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    first = run(app, ["init", "photos"])
    assert first.exit_code == 0
    assert "2 classes, 48 images to train on + 12 to test on: dent 16 + 4, ok 32 + 8." in first.output
    assert "python -m orchestrator launch photos.yaml" in first.output
    written = Path("photos.yaml").read_text()
    again = run(app, ["init", "photos"])
    assert isinstance(again.exception, RequestError)
    assert "photos.yaml exists and is left as it is. Name another file: orchestrator init photos OTHER.yaml" in str(
        again.exception
    )
    assert Path("photos.yaml").read_text() == written
    assert run(app, ["init", "photos", "other.yaml"]).exit_code == 0
    wrong = run(app, ["init", "photos", "other.txt"])
    assert "ends in .yaml" in str(wrong.exception)
    nowhere = run(app, ["init", "photos", "no/folder.yaml"])
    assert "no/folder.yaml cannot be written" in str(nowhere.exception)
