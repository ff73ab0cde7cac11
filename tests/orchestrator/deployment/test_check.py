"""New lots are answered rightly: kept, broken, undecided; with labels and without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.deployment import certificate as certificates
from orchestrator.deployment import checks_log
from orchestrator.deployment.certificate import EXAMPLE, MODEL
from orchestrator.deployment.check import FALSE_ALARMS, check, judged
from orchestrator.deployment.lot import decoded, lot
from orchestrator.deployment.scored import UNKNOWN, samples
from orchestrator.errors import RequestError

from .conftest import Shop

ROOT = Path(__file__).resolve().parents[3]

BLOCKED = ("torch", "torchvision", "ray", "mlflow", "sqlalchemy", "pandas", "sklearn", "safetensors", "onnx")
"""What a light install with the extra `deploy` alone need not have."""


def blocking(*names: str) -> str:
    """A line of Python after which these packages cannot be imported."""
    return f"import sys; sys.modules.update(dict.fromkeys({names!r}))\n"


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("kept", "kept"), ("broken", "broken"), ("few", "undecided"), ("usual", "kept"), ("dim", "broken")],
)
def test_each_lot_is_answered_rightly(shop: Shop, lots: dict[str, Path], name: str, verdict: str) -> None:
    found = check(shop.folder, lots[name])
    assert found.verdict == verdict
    assert found.is_labelled == (name in {"kept", "broken", "few"})
    assert found.images == len(list(lots[name].rglob("*.png")))
    assert sum(found.outcomes) == found.images
    assert sum(found.expected) == pytest.approx(1)


def test_the_errors_of_a_labelled_lot_are_those_that_counting_finds(shop: Shop, lots: dict[str, Path]) -> None:
    rows = shop.evaluations.evaluation(shop.decision.deployed.cell)
    assert rows.scores is not None
    above = rows.scores > shop.certificate.threshold
    says_good = (above.sum(1) == 1) & (above.argmax(1) < 7)
    says_bad = (above.sum(1) == 1) & (above.argmax(1) >= 7)
    is_good = rows.label < 7
    rates = {rate.name: rate for rate in check(shop.folder, lots["kept"]).rates}
    assert rates["false_accept_rate"].errors == 2 * (says_good & ~is_good).sum()
    assert rates["false_accept_rate"].n == 2 * (~is_good).sum()
    assert rates["false_reject_rate"].errors == 2 * (says_bad & is_good).sum()
    assert rates["false_reject_rate"].n == 2 * is_good.sum()


def test_a_lot_can_be_stopped_before_its_end(shop: Shop, lots: dict[str, Path]) -> None:
    found = check(shop.folder, lots["broken"])
    wrong = [rate for rate in found.rates if rate.verdict == "broken"]
    assert wrong
    assert all(rate.seen < rate.n / 2 for rate in wrong)
    few = check(shop.folder, lots["few"])
    assert all(rate.more for rate in few.rates if rate.verdict == "undecided")


def test_a_rate_over_several_kinds_is_tested_at_the_shares_of_production(shop: Shop) -> None:
    """A lot that is half defects, all of which are looked at: in production one part in ten is a defect."""
    n = 4_000
    label = np.repeat([0, 8], n // 2).astype(np.int32)
    t = shop.certificate.threshold
    scores = np.full((n, 10), t - 5, np.float32)
    scores[label == 0, 0] = t + 5
    found = judged(shop.certificate, samples(scores, label), "lot", is_labelled=True)
    review = {rate.name: rate for rate in found.rates}["review_share"]
    assert review.n == pytest.approx(n // 2 / 0.9, rel=0.05)
    assert review.errors / review.n == pytest.approx(0.1, abs=0.03)


def test_files_that_are_sorted_by_class_do_not_look_like_a_broken_promise(shop: Shop) -> None:
    told = {rate.name: rate for rate in shop.certificate.rates}["review_share"]
    whole = certificates.ClassGroup(share=1.0, classes=tuple(range(7)))
    rate = told.model_copy(update={"bound": 0.2, "parts": (whole,)})
    label = np.repeat([0, 1], [100, 1900]).astype(np.int32)
    t = shop.certificate.threshold
    scores = np.full((2000, 10), t - 5, np.float32)
    scores[label == 1, 1] = t + 5  # all of the first class are looked at, and none of the second: 5 %
    promised = shop.certificate.model_copy(update={"rates": (rate,)})
    (found,) = judged(promised, samples(scores, label), "lot", is_labelled=True).rates
    assert (found.errors, found.n, found.verdict) == (100, 2000, "kept")


def test_unlabelled_lots_of_the_certified_kind_are_rarely_called_changed(shop: Shop) -> None:
    rows = shop.evaluations.evaluation(shop.decision.deployed.cell)
    assert rows.scores is not None
    rng = np.random.default_rng(3)
    good = np.flatnonzero(rows.label < 7)
    bad = np.flatnonzero(rows.label >= 7)
    alarms = 0
    for _ in range(25):
        mine = np.where(rng.random(300) < 0.1, rng.choice(bad, 300), rng.choice(good, 300))
        seen = samples(rows.scores[mine], np.full(300, UNKNOWN, np.int32))
        alarms += judged(shop.certificate, seen, "lot", is_labelled=False).verdict == "broken"
    assert alarms <= 2  # 0.25 expected; more than 2 has a probability of 0.2 %
    assert FALSE_ALARMS == 0.01


def test_a_lot_too_small_to_notice_anything_is_undecided(shop: Shop, lots: dict[str, Path], tmp_path: Path) -> None:
    for path in sorted(lots["usual"].iterdir())[:20]:
        shutil.copy(path, tmp_path)
    assert check(shop.folder, tmp_path).verdict == "undecided"


def test_differences_between_five_certified_lots_are_allowed_for(shop: Shop, lots: dict[str, Path]) -> None:
    wide: list[dict[str, float]] = [dict[str, float].fromkeys(("top", "second", "outcomes"), 30.0)] * 5
    assert check(shop.folder, lots["dim"], wide[:4]).verdict == "broken"
    allowed = check(shop.folder, lots["dim"], wide)
    assert (allowed.verdict, allowed.lots) == ("kept", 5)
    narrow: list[dict[str, float]] = [dict[str, float].fromkeys(("top", "second", "outcomes"), 0.1)] * 5
    assert check(shop.folder, lots["usual"], narrow).verdict == "kept"  # lots never count against one that is as usual


def test_the_log_keeps_each_check_and_draws_them(shop: Shop, lots: dict[str, Path], tmp_path: Path) -> None:
    found = {name: check(shop.folder, lots[name]) for name in ("kept", "broken", "usual")}
    for each in (*found.values(), found["kept"]):
        checks_log.note(tmp_path, each)
    told = checks_log.read(tmp_path)
    assert [each["verdict"] for each in told] == ["kept", "broken", "kept", "kept"]
    assert told[2]["expected_false_alarms_per_100_lots"] == 1
    (certified,) = checks_log.certified(tmp_path, "another lot")  # a lot counts once, and an unlabelled one not at all
    assert set(certified) == {"top", "second", "outcomes"}
    assert checks_log.certified(tmp_path, str(lots["kept"])) == []
    drawn = (tmp_path / certificates.PICTURE).read_text()
    assert drawn.count("<circle") == 3 + 3 * 3 + 1  # the legend, three rates of three labelled checks, and one more
    with (tmp_path / certificates.CHECKS).open("a") as log:
        log.write("half a li")
    assert len(checks_log.read(tmp_path)) == 4


def test_a_model_or_certificate_that_was_changed_is_refused(shop: Shop, lots: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(shop.folder, tmp_path / "out")
    with (tmp_path / "out" / MODEL).open("ab") as model:
        model.write(b"\0")
    with pytest.raises(RequestError, match="it was changed"):
        check(tmp_path / "out", lots["few"])


def test_an_expired_certificate_is_said_to_be(shop: Shop) -> None:
    old = shop.certificate.model_copy(update={"issued": shop.certificate.issued - timedelta(days=365)})
    few = samples(np.zeros((3, 10), np.float32), np.zeros(3, np.int32))
    assert judged(old, few, "lot", is_labelled=True).is_expired
    assert not judged(shop.certificate, few, "lot", is_labelled=True).is_expired


# What a lot may be


def rows(folder: Path, lots: dict[str, Path], **columns: Any) -> Path:
    images = [path.read_bytes() for path in sorted(lots["few"].rglob("*.png"))]
    held = pa.array([{"bytes": image, "path": ""} for image in images])
    pq.write_table(pa.table({"image": held, **columns}), folder / "lot.parquet")
    return folder / "lot.parquet"


def test_a_parquet_file_gives_what_folders_give(shop: Shop, lots: dict[str, Path], tmp_path: Path) -> None:
    labels = [int(path.parent.name) for path in sorted(lots["few"].rglob("*.png"))]
    first = check(shop.folder, lots["few"])
    for told in (labels, list(map(str, labels))):
        again = check(shop.folder, rows(tmp_path, lots, label=told))
        assert again._replace(time=first.time, lot=first.lot) == first
    assert not check(shop.folder, rows(tmp_path, lots)).is_labelled
    assert check(shop.folder, tmp_path).images == 9


def test_pixels_are_those_that_the_model_was_trained_on(shop: Shop, lots: dict[str, Path]) -> None:
    pixels, labels = next(decoded(lot(lots["few"], shop.certificate), shop.certificate.reading))
    order = np.argsort(shop.data.test.labels[:9], kind="stable")
    np.testing.assert_array_equal(pixels, shop.data.test.pixels[:9][order])
    np.testing.assert_array_equal(labels, shop.data.test.labels[:9][order])


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), "has no images"),
        (("7/a.png", "b.png"), "in folders and beside them"),
        (("bolt/a.png", "7/b.png"), "classes that the model does not know: bolt"),
        (("a.png",), r"cannot be decoded: .*a\.png \(it is not an image"),
        (("a.parquet",), r"a\.parquet cannot be read"),
    ],
)
def test_what_is_no_lot_is_said_to_be(shop: Shop, tmp_path: Path, files: tuple[str, ...], said: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(RequestError, match=said):
        check(shop.folder, tmp_path)
    with pytest.raises(RequestError, match="There is no"):
        check(shop.folder, tmp_path / "nowhere")


def test_rows_without_labels_or_images_are_said(shop: Shop, lots: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="rows without a label"):
        check(shop.folder, rows(tmp_path, lots, label=[None, *range(8)]))
    with pytest.raises(RequestError, match="does not know: 12"):
        check(shop.folder, rows(tmp_path, lots, label=[12, *range(8)]))
    pq.write_table(pa.table({"picture": [b""]}), tmp_path / "lot.parquet")
    with pytest.raises(RequestError, match="no column 'image'"):
        check(shop.folder, tmp_path)


# Without torch


def run(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_check_needs_nothing_that_trains(shop: Shop, lots: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(shop.folder, tmp_path / "out")
    code = blocking(*BLOCKED) + "sys.argv[0] = 'orchestrator'; from orchestrator.cli import main; main()"
    for name, expected in (("kept", 0), ("few", 3)):
        done = run(code, "check", str(tmp_path / "out"), str(lots[name]), "--json")
        assert done.returncode == expected, done.stderr
        assert json.loads(done.stdout)["images"] == len(list(lots[name].rglob("*.png")))
    assert len(checks_log.read(tmp_path / "out")) == 2
    said = run(code, "check", str(tmp_path / "out"), str(lots["dim"]))
    assert said.returncode == 1
    assert "Changed: the lot does not look like the certified images" in said.stdout


def test_a_program_of_thirty_lines_serves_the_file_with_onnxruntime_alone(shop: Shop, lots: dict[str, Path]) -> None:
    source = (shop.folder / EXAMPLE).read_text()
    assert (
        len([line for line in source.splitlines() if line.strip() and not line.lstrip().startswith(('"""', "#"))]) <= 30
    )
    paths = sorted(lots["few"].rglob("*.png"))
    code = blocking(*BLOCKED, "orchestrator", "trainers", "scipy", "pyarrow", "pydantic")
    serving = code + "import runpy; runpy.run_path(sys.argv.pop(0) and sys.argv[0], run_name='__main__')"
    done = run(serving, str(shop.folder / EXAMPLE), *map(str, paths))
    assert done.returncode == 0, done.stderr
    seen = check(shop.folder, lots["few"])
    said = [line.split()[0] for line in done.stdout.splitlines()]
    assert tuple(said.count(what) for what in ("accept", "reject", "look")) == seen.outcomes
