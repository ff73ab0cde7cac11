"""Where the certificate promises per group, a labelled lot is tested per group, which errs where one image does."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.deployment.certificate import CERTIFICATE, ClassGroup
from orchestrator.deployment.certify import reading_of
from orchestrator.deployment.check import check, judged
from orchestrator.deployment.lot import lot
from orchestrator.deployment.scored import samples
from orchestrator.errors import RequestError
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, plan
from orchestrator.report.wording import deployment
from orchestrator.sentences import filled

from .conftest import ASKED, Shop, images_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

GOOD, BAD = 0, 8


def scored(shop: Shop, label: NDArray[np.int32], says: NDArray[np.int64]) -> NDArray[np.float32]:
    """Images of which each is one class for sure; -1 is none."""
    t = shop.certificate.threshold
    found = np.full((label.size, 10), t - 5, np.float32)
    sure = says >= 0
    found[np.flatnonzero(sure), says[sure]] = t + 5
    return found


def counted(rates: Sequence[Any]) -> dict[str, tuple[int, int]]:
    """Errors and units of each rate."""
    return {rate.name: (rate.errors, rate.n) for rate in rates}


def test_a_group_errs_where_one_of_its_images_does_and_the_dearest_error_counts(shop: Shop) -> None:
    #            good, one image looked at | good, one rejected and one looked at | bad, one accepted and one looked at
    unit = np.array([7, 7, 7, 3, 3, 3, 5, 5, 5, 1, 1])
    label = np.array([GOOD] * 6 + [BAD] * 3 + [GOOD] * 2, np.int32)
    says = np.array([GOOD, -1, GOOD, BAD, -1, GOOD, -1, GOOD, BAD, GOOD, GOOD])
    seen = samples(scored(shop, label, says), label)
    whole = ClassGroup(share=1.0, classes=tuple(range(10)))
    rates = tuple(
        rate.model_copy(update={"parts": (whole,)}) if rate.name == "review_share" else rate
        for rate in shop.certificate.rates
    )
    told = shop.certificate.model_copy(update={"rates": rates, "grouped": True})
    found = judged(told, seen._replace(unit=unit), "lot", is_labelled=True)
    assert counted(found.rates) == {
        "false_accept_rate": (1, 1),
        "false_reject_rate": (1, 3),
        "review_share": (1, 4),
    }
    assert (found.images, found.groups) == (11, 4)
    assert "4 groups with 11 images were tested" in " ".join(map(filled, deployment.cautions(found)))
    alone = judged(told, seen, "lot", is_labelled=True)
    assert counted(alone.rates)["review_share"] == (3, 11)
    assert alone.groups is None


def test_many_errors_in_one_group_are_one_error(shop: Shop) -> None:
    label = np.zeros(3000, np.int32)
    unit = np.arange(3000) // 100
    says = np.where(unit == 4, BAD, GOOD)  # 100 of 3000 images, 1 of 30 groups
    rate = by_name_of_certificate(shop, "false_reject_rate").model_copy(update={"bound": 0.02})
    told = shop.certificate.model_copy(update={"rates": (rate,)})
    seen = samples(scored(shop, label, says), label)
    (of_images,) = judged(told, seen, "lot", is_labelled=True).rates
    (of_groups,) = judged(told, seen._replace(unit=unit), "lot", is_labelled=True).rates
    assert (of_images.errors, of_images.n, of_images.verdict) == (100, 3000, "broken")
    assert (of_groups.errors, of_groups.n, of_groups.verdict) == (1, 30, "undecided")


def by_name_of_certificate(shop: Shop, name: str) -> Any:
    return {rate.name: rate for rate in shop.certificate.rates}[name]


@pytest.fixture
def grouped(shop: Shop, tmp_path: Path) -> Path:
    """The deployed folder, with a certificate that promises per group."""
    folder = tmp_path / "out"
    shutil.copytree(shop.folder, folder)
    told = shop.certificate.model_copy(update={"grouped": True})
    (folder / CERTIFICATE).write_text(told.model_dump_json(), encoding="utf-8")
    return folder


def in_groups(shop: Shop, folder: Path, n: int = 24) -> tuple[Path, Path]:
    """The same images as CLASS/GROUP/IMAGE and as Parquet; three images of a class are a group."""
    order = np.argsort(shop.data.test.labels[:n], kind="stable")
    labels = shop.data.test.labels[:n][order]
    parts = [f"{label}-{np.count_nonzero(labels[:row] == label) // 3}" for row, label in enumerate(labels)]
    images_in(folder / "flat", shop.data.test.pixels[:n][order])
    files = sorted((folder / "flat").iterdir())
    for file, label, part in zip(files, labels, parts, strict=True):
        place = folder / "folders" / str(label) / part
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    held = pa.array([{"bytes": file.read_bytes(), "path": ""} for file in files])
    pq.write_table(pa.table({"image": held, "label": labels, "group": parts}), folder / "rows.parquet")
    assert len(set(parts)) < n
    return folder / "folders", folder / "rows.parquet"


def test_folders_and_a_column_say_which_images_belong_together(shop: Shop, grouped: Path, tmp_path: Path) -> None:
    folders, rows = in_groups(shop, tmp_path)
    first = check(grouped, folders)
    again = check(grouped, rows)
    assert first._replace(lot="", time=again.time) == again._replace(lot="")
    assert first.groups == len(list(folders.glob("*/*")))
    assert sum(rate.n for rate in first.rates if rate.name != "review_share") == first.groups
    assert check(shop.folder, folders).groups is None  # that certificate promises per image
    assert check(shop.folder, rows).rates == check(shop.folder, folders).rates


def test_a_lot_that_does_not_say_which_images_belong_together_is_refused(
    shop: Shop, grouped: Path, lots: dict[str, Path], tmp_path: Path
) -> None:
    said = f"{lots['few']} does not say which images belong together, but the certificate promises rates of groups"
    with pytest.raises(RequestError, match=f"{said}.*CLASS/GROUP/IMAGE"):
        check(grouped, lots["few"])
    _, rows = in_groups(shop, tmp_path)
    table = pq.read_table(rows)
    pq.write_table(table.drop_columns(["group"]), rows)
    with pytest.raises(RequestError, match=r"does not say which images belong together.*It has no column 'group'"):
        check(grouped, rows)
    empty = pa.array([None, *table["group"].to_pylist()[1:]])
    pq.write_table(table.set_column(2, "group", empty), rows)
    with pytest.raises(RequestError, match=r"The column 'group' of .* has empty cells"):
        check(grouped, rows)
    assert not check(grouped, lots["usual"]).is_labelled  # without labels, images are compared


def test_equal_files_are_one_group_also_where_no_images_belong_together_otherwise(shop: Shop, tmp_path: Path) -> None:
    folder = images_in(tmp_path / "lot", shop.data.test.pixels[[0, 1, 2, 0]], shop.data.test.labels[[0, 1, 2, 0]])
    reading = shop.certificate.reading.model_copy(update={"has_groups": False})
    told = shop.certificate.model_copy(update={"grouped": True, "reading": reading})
    found = lot(folder, told).groups
    assert found is not None
    assert sorted(np.unique(found, return_counts=True)[1].tolist()) == [1, 1, 2]


def cell_of(folder: Path, dataset: dict[str, Any]) -> Cell:
    asked = Experiment.model_validate({**ASKED, "datasets": [{"path": str(folder), "size": 8, **dataset}]})
    return plan(asked).cells[0]


def test_the_certificate_knows_how_its_data_say_what_belongs_together(shop: Shop, tmp_path: Path) -> None:
    folders, rows = in_groups(shop, tmp_path, 120)
    shared = {"test_fraction": 0.5, "channels": 1}
    plain = images_in(tmp_path / "plain", shop.data.test.pixels[:120], shop.data.test.labels[:120])
    (tmp_path / "rows").mkdir()
    table = pq.read_table(rows).rename_columns(["image", "label", "part"])
    pq.write_table(table, tmp_path / "rows" / "all.parquet")
    read = [
        reading_of(cell_of(folder, {**shared, **more}), 1, 8, tmp_path)
        for folder, more in (
            (folders, {"name": "image_folder"}),
            (folders, {"name": "image_folder", "group": "image"}),
            (plain, {"name": "image_folder"}),
            (tmp_path / "rows", {"name": "parquet", "group": "part"}),
        )
    ]
    assert [each.has_groups for each in read] == [True, False, False, True]
    assert [each.group for each in read] == ["group", "group", "group", "part"]
