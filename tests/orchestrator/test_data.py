"""Changed data are new cells, and the old ones are named: through the program, from folder to report."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

import program
import services
from orchestrator.execution.inline import Inline
from orchestrator.execution.worker import Worker
from orchestrator.experiment.reading import load
from orchestrator.records.files.earlier import difference
from orchestrator.records.recorder import Recorder
from orchestrator.stores import Stores
from orchestrator.study import Study

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

FOLDER = """\
name: lot
losses: [softmax, bce_unified]
backbones: [resnet8]
datasets: [{name: image_folder, path: parts, size: 8, as: parts}]
seeds: 2
recipe: {epochs: 1, batch_size: 8, learning_rate: 0.1}
baseline: softmax
claims:
  - {id: better, metric: uniform_accuracy, challenger: bce_unified, baseline: softmax, direction: higher}
"""


@dataclass
class Desk:
    folder: Path

    def run(self, *arguments: str, expect: int = 0, **environment: str) -> str:
        done = program.run(*arguments, folder=self.folder, **environment)
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    def launch(self, *options: str, **more: Any) -> str:
        return self.run("launch", "asked.yaml", "--executor", "inline", *options, **more)

    def plan(self, *options: str) -> dict[str, Any]:
        return json.loads(self.run("plan", "asked.yaml", "--json", *options))

    def ids(self) -> list[str]:
        return sorted(cell["id"] for cell in self.plan()["cells"])

    @property
    def files(self) -> set[str]:
        return {path.stem for path in (self.folder / "runs" / "evaluations").rglob("*.parquet")}


def paint(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), level).save(path)


def write_parts(folder: Path) -> None:
    for split, count in (("train", 12), ("test", 6)):
        for number, kind in enumerate(("hole", "ok")):
            for index in range(count):
                paint(folder / split / kind / f"{index:02}.bmp", 100 * number + 3 * index + (split == "test"))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = Desk(tmp_path_factory.mktemp("lot"))
    (desk.folder / "asked.yaml").write_text(FOLDER)
    write_parts(desk.folder / "data" / "parts")
    services.put_store(desk.folder / "runs")
    desk.launch()
    return desk


@pytest.fixture
def desk(original: Desk, tmp_path: Path) -> Desk:
    """Four cells are done, of the data as they are."""
    shutil.copytree(original.folder, tmp_path / "desk")
    return Desk(tmp_path / "desk")


@pytest.fixture
def changed(desk: Desk) -> Desk:
    """Three images were added, and one removed."""
    parts = desk.folder / "data" / "parts"
    for index in (30, 31, 32):
        paint(parts / "train" / "ok" / f"{index}.bmp", index)
    (parts / "test" / "hole" / "02.bmp").unlink()
    return desk


EARLIER = "parts: 4 cells are of an earlier state of this folder: 3 images added to train/ok, 1 removed from test/hole."


def said(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", "", text).split())


def test_with_the_data_as_they_were_everything_is_done_and_nothing_is_said(desk: Desk) -> None:
    found = desk.plan()
    assert (found["done"], found["pending"]) == (4, 0)
    assert found["data"] == {"absent": [], "earlier": []}
    assert set(desk.ids()) == desk.files
    for verb in ("plan", "compare", "report"):
        assert "earlier state" not in desk.run(verb, "asked.yaml")


def test_elsewhere_the_same_files_are_the_same_cells(desk: Desk) -> None:
    before = desk.ids()
    (desk.folder / "data").rename(desk.folder / "moved")
    found = desk.plan("--data-dir", "moved")
    assert sorted(cell["id"] for cell in found["cells"]) == before


def test_changed_data_are_new_cells_and_plan_names_the_old_ones(changed: Desk) -> None:
    found = changed.plan()
    assert (found["done"], found["pending"]) == (0, 4)
    assert not {cell["id"] for cell in found["cells"]} & changed.files
    (old,) = found["data"]["earlier"]
    assert set(old["cells"]) == changed.files
    assert old["said"] == EARLIER
    assert old["changes"] == [
        {"what": "added", "place": "train/ok", "images": 3},
        {"what": "removed", "place": "test/hole", "images": 1},
    ]
    assert EARLIER in said(changed.run("plan", "asked.yaml"))


def test_before_the_new_ones_are_trained_there_is_nothing_to_compare_and_why_is_said(changed: Desk) -> None:
    for verb in ("compare", "report"):
        told = changed.run(verb, "asked.yaml", expect=2)
        assert "No cell of 'lot' is done" in told
        assert EARLIER in told
    assert "0 of 4 cells" in changed.run("aggregate", "asked.yaml")


def test_a_launch_trains_the_new_cells_and_pools_them_with_no_old_one(changed: Desk) -> None:
    old = changed.files
    told = changed.launch()
    assert EARLIER in told
    assert len(changed.files) == 8
    rows = pd.read_parquet(changed.folder / "runs" / "results" / "lot.parquet")
    assert not set(rows["cell_id"]) & old
    assert set(rows["samples"]) == {11}
    for form in ("text", "markdown", "latex"):
        assert EARLIER.replace("_", r"\_") in said(changed.run("compare", "asked.yaml", "--format", form)), form
    assert json.loads(changed.run("compare", "asked.yaml", "--format", "json"))["data"]["earlier"][0]["said"] == EARLIER
    changed.run("report", "asked.yaml")
    page = said((changed.folder / "runs" / "reports" / "lot" / "index.html").read_text(encoding="utf-8"))
    assert EARLIER in page
    assert (
        "parts：セル 4 個はこのフォルダーの以前の状態のものです：train/ok に追加 画像 3 枚, test/hole から削除 1。"
        in page
    )
    assert EARLIER in said(changed.run("doctor", "asked.yaml"))


def test_data_that_come_back_find_their_cells_again(changed: Desk, original: Desk) -> None:
    changed.launch()
    shutil.rmtree(changed.folder / "data" / "parts")
    shutil.copytree(original.folder / "data" / "parts", changed.folder / "data" / "parts")
    found = changed.plan()
    assert (found["done"], found["pending"]) == (4, 0)
    assert "1 image added to test/hole, 3 removed from train/ok." in found["data"]["earlier"][0]["said"]


def test_a_change_that_keeps_size_and_date_is_noticed(desk: Desk) -> None:
    before = desk.ids()
    file = desk.folder / "data" / "parts" / "test" / "ok" / "03.bmp"
    then = file.stat()
    paint(file, 251)
    os.utime(file, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (then.st_size, then.st_mtime_ns)
    assert not set(before) & set(desk.ids())
    assert "1 image changed in test/ok." in desk.run("plan", "asked.yaml").replace("\n", " ")


def test_a_touch_changes_nothing(desk: Desk) -> None:
    before = desk.ids()
    for file in (desk.folder / "data" / "parts").rglob("*.bmp"):
        os.utime(file)
    assert desk.ids() == before


def test_rehash_reads_what_looks_unchanged(desk: Desk) -> None:
    assert set(desk.ids()) == desk.files
    for known in (desk.folder / "data" / ".decoded").glob("hashes-*.json"):  # as if no change had left a trace
        known.write_text(re.sub(r'"[0-9a-f]{64}"', json.dumps("0" * 64), known.read_text()))
    assert "has changed since it was hashed. Start again, with --rehash" in desk.run("plan", "asked.yaml", expect=2)
    found = desk.plan("--rehash")
    assert {cell["id"] for cell in found["cells"]} == desk.files
    assert set(desk.ids()) == desk.files


def test_old_cells_are_exported_apart_and_imported_by_themselves(changed: Desk) -> None:
    told = changed.run("export", "asked.yaml", "sent")
    assert EARLIER in said(told)
    assert "0 of 4 cells are in sent." in told
    assert {path.stem for path in (changed.folder / "sent").rglob("*.parquet")} == changed.files
    assert not (changed.folder / "sent" / "evaluations").exists()
    assert "Cells taken: 4" in changed.run("import", "sent/earlier", "--workspace", "other")
    assert EARLIER.partition(": 3")[0] in said(changed.run("plan", "asked.yaml", "--workspace", "other"))


def test_an_old_cell_cannot_be_verified_with_other_data_and_why_is_said(changed: Desk) -> None:
    told = changed.run("verify", "asked.yaml", expect=2)
    assert EARLIER in told


def test_data_that_change_between_planning_and_training_are_refused(desk: Desk) -> None:
    study = Study.of_file(desk.folder / "asked.yaml", Stores.at(str(desk.folder / "runs")), desk.folder / "data")
    asked = study.plan
    paint(desk.folder / "data" / "parts" / "train" / "hole" / "40.bmp", 40)
    from orchestrator.records.tracking.runs import Untracked

    recorder = Recorder(study.stores.evaluations, Untracked(), {})
    worker = Worker(recorder, study.data_dir, differs=partial(difference, study.stores.history))
    (ending,) = run(Inline(worker), asked.cells[0])
    assert "1 image added to train/hole" in ending.error
    assert "differ from those that the cell was planned for" in ending.error


def run(runner: Any, cell: Any) -> list[Any]:
    from orchestrator.execution.queue import Queue
    from orchestrator.outcome import Failed, Finished

    heard: list[Any] = []
    runner.run(Queue([cell]), heard.append)
    return [event for event in heard if isinstance(event, (Failed, Finished))]


def test_without_the_data_the_last_recorded_state_counts_with_its_date(changed: Desk) -> None:
    changed.launch()
    both = changed.files
    now = changed.ids()
    (changed.folder / "data" / "parts").rename(changed.folder / "gone")
    found = changed.plan()
    assert sorted(cell["id"] for cell in found["cells"]) == now
    assert set(now) < both
    (sentence,) = found["data"]["absent"]
    assert re.search(r"parts: its data are not here; .* recorded on \d{4}-\d\d-\d\d \d\d:\d\d UTC\.", sentence)
    assert sentence in said(changed.run("compare", "asked.yaml"))
    findings = {each["subject"]: each for each in json.loads(changed.run("doctor", "asked.yaml", "--json"))}
    assert findings["data image_folder"]["found"].startswith("not checked, because they are not on this machine")


def test_without_data_or_record_cells_are_counted_and_have_no_id(desk: Desk) -> None:
    for left in ("data/parts", "runs"):
        shutil.rmtree(desk.folder / left)
    found = desk.plan()
    assert [cell["id"] for cell in found["cells"]] == [None] * 4
    assert {cell["state"] for cell in found["cells"]} == {"pending"}
    assert (found["total"], found["done"], found["pending"]) == (4, 0, 4)
    assert "are not known yet" in desk.run("compare", "asked.yaml", expect=2)
    assert "No data for 'image_folder'" in desk.run("launch", "asked.yaml", expect=2)
    assert not (desk.folder / "runs" / "evaluations").exists()


def test_a_table_stays_where_nobody_knows_any_more_which_cells_it_should_have(desk: Desk) -> None:
    table = desk.folder / "runs" / "results" / "lot.parquet"
    before = table.read_bytes()
    shutil.rmtree(desk.folder / "data" / "parts")
    for left in (desk.folder / "runs").iterdir():
        if left.name != "results":
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    desk.run("aggregate", "asked.yaml")
    assert table.read_bytes() == before


def data_told(study: Study) -> list[str]:
    return study.data(study.plan).told()


def asked_here(monkeypatch: pytest.MonkeyPatch, desk: Desk) -> tuple[Any, Stores]:
    monkeypatch.chdir(desk.folder)
    return load(Path("asked.yaml")), Stores.at("runs")


def test_where_a_launch_had_the_data_they_are_looked_for_unless_a_folder_is_given(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, stores = asked_here(monkeypatch, desk)
    (desk.folder / "data").rename(desk.folder / "moved")
    desk.launch("--data-dir", "moved")
    assert Study.of(asked, stores).data_dir == desk.folder / "moved"
    paint(desk.folder / "moved" / "parts" / "train" / "ok" / "30.bmp", 30)
    named = "4 cells are of an earlier state of this folder: 1 image added to train/ok."
    for verb in ("compare", "doctor"):
        assert named in said(desk.run(verb, "asked.yaml", expect=2 if verb == "compare" else 0)), verb
    assert named in data_told(Study.of(asked, stores))[0]
    elsewhere = data_told(Study.of(asked, stores, Path("data")))
    assert "its data are not here" in elsewhere[0]
    desk.run("export", "asked.yaml", "sent")
    sent = [file for file in (desk.folder / "sent").rglob("*") if file.is_file()]
    assert not [file for file in sent if b"moved" in file.read_bytes()]
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert Study.of(asked, stores).data_dir == Path("data")


def test_a_copied_workspace_without_data_or_records_learns_them_from_its_cells(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, stores = asked_here(monkeypatch, desk)
    for left in ("data", "runs/data"):
        shutil.rmtree(desk.folder / left)
    plan = Study.of(asked, stores).plan
    assert {cell.id for cell in plan.cells} == desk.files
    (told,) = data_told(Study.of(asked, stores))
    assert told.startswith("parts: its data are not here, and no launch here has recorded them; its cells are of the")
    assert "4 of 4 cells are in" in desk.run("aggregate", "asked.yaml")


def test_where_nothing_tells_the_data_the_table_and_the_registry_stay(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, stores = asked_here(monkeypatch, desk)
    table = desk.folder / "runs" / "results" / "lot.parquet"
    then = table.read_bytes()
    cells = desk.folder / "runs" / "evaluations"
    for left in ("data", "runs/data"):
        shutil.rmtree(desk.folder / left)
    cells.rename(desk.folder / "kept")
    assert not Study.of(asked, stores).plan.is_told
    assert "is left as it was" in said(desk.run("aggregate", "asked.yaml"))
    assert table.read_bytes() == then
    with stores.registry() as records:
        before = records.states("lot")
        assert "Nothing was fixed" in desk.run("doctor", "asked.yaml", "--fix", expect=1)
        assert records.states("lot") == before
        assert len(before) == 4


def test_a_cell_that_does_not_say_its_data_is_no_cell_of_the_plan(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, an_account: Any
) -> None:
    from orchestrator.launching.run_plan import take_stock
    from orchestrator.records.files import results

    asked, stores = asked_here(monkeypatch, desk)
    for left in ("data", "runs"):
        shutil.rmtree(desk.folder / left)
    plan = Study.of(asked, stores).plan
    evaluations = stores.evaluations
    for cell in plan.cells:
        evaluations.publish(cell.recipe, an_account(cell, state="diverged", samples=0), None)
    assert set(take_stock(plan, evaluations, None).values()) == {"pending"}
    assert results.aggregate(plan, evaluations).table.num_rows == 0


def test_one_flipped_label_in_a_parquet_file_is_named(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    text = FOLDER.replace(
        "{name: image_folder, path: parts, size: 8, as: parts}", "{name: parquet, path: rows, size: 8}"
    )
    (tmp_path / "asked.yaml").write_text(text)
    write_parts(tmp_path / "parts")
    rows = tmp_path / "data" / "rows"
    rows.mkdir(parents=True)
    for split in ("train", "test"):
        files = sorted((tmp_path / "parts" / split).rglob("*.bmp"))
        table = pd.DataFrame(
            {"image": [file.read_bytes() for file in files], "label": [int("ok" in str(f)) for f in files]}
        )
        table.to_parquet(rows / f"{split}.parquet")
    services.put_store(tmp_path / "runs")
    desk.launch("--seeds", "1")
    table.loc[3, "label"] = 1 - table.loc[3, "label"]
    table.to_parquet(rows / "test.parquet")
    (old,) = desk.plan("--seeds", "1")["data"]["earlier"]
    assert old["said"] == "parquet: 2 cells are of an earlier state of these files: test.parquet changed."


def test_official_data_have_no_digest_in_their_ids(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    (tmp_path / "asked.yaml").write_text(
        FOLDER.replace("{name: image_folder, path: parts, size: 8, as: parts}", "imagenet")
    )
    found = desk.plan()
    assert all(cell["id"] for cell in found["cells"])
    assert found["data"] == {"absent": [], "earlier": []}
