"""What was asked stays asked: additions by flags, in every later study of the experiment in its workspace."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import orchestrator
from orchestrator.analysis.added import Added, Family
from orchestrator.errors import ExperimentError, NewerFormatError, WorkspaceError
from orchestrator.experiment.additions import Additions, Entry, labels, left_out
from orchestrator.experiment.files import filed
from orchestrator.launching.additions import note_additions
from orchestrator.launching.writing import write_results
from orchestrator.records.files.additions import AdditionsFile
from orchestrator.records.files.results import read
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.records.files.evaluations import Account
    from trainers.evaluation import Evaluation

FILE = """\
name: tiny
losses: [softmax, bce_unified]
backbones: [resnet8]
datasets: [digits]
seeds: 3
baseline: softmax
claims:
  - {id: P1, metric: uniform_accuracy, challenger: bce_unified, baseline: softmax, direction: higher, margin: 0.01}
"""
THEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


class Shop:
    """A workspace and an experiment file; cells are written down rather than trained."""

    def __init__(self, folder: Path, account: Callable[..., Account], evaluation: Evaluation) -> None:
        self.file = folder / "tiny.yaml"
        self.file.write_text(FILE)
        self.place = Workspace.at(str(folder / "runs"))
        self.stores = Stores(self.place).prepare()
        self._account = account
        self._evaluation = evaluation

    def study(self, **axes: Any) -> Study:
        return Study.of_file(self.file, self.stores, **axes)

    def launch(self, **axes: Any) -> Study:
        """As a launch with these flags leaves the workspace."""
        study = self.study(**axes).keeping()
        evaluations = self.stores.evaluations
        for cell in study.plan.pending(evaluations.ids()).cells:
            evaluations.publish(cell.recipe, self._account(cell, provenance={"stated": study.stated}), self._evaluation)
        self.stores.additions("tiny").append(study.news)
        found = study.reread()
        write_results(found, print)
        return found

    @property
    def table(self) -> int:
        return len(read(self.place.results("tiny")))

    def note(self, entry: Entry) -> None:
        self.stores.additions("tiny").append(entry)


@pytest.fixture
def shop(tmp_path: Path, an_account: Callable[..., Account], evaluation: Evaluation) -> Shop:
    return Shop(tmp_path, an_account, evaluation)


# What stays


def test_what_a_launch_adds_is_asked_by_every_later_study(shop: Shop) -> None:
    shop.launch()
    assert (len(shop.study().plan), shop.table) == (6, 6)
    shop.launch(backbone=["resnet20"])
    shop.launch(seeds="4")
    study = shop.study()
    assert labels(study.experiment, "backbone") == ["resnet8", "resnet20"]
    assert study.experiment.seeds == (0, 1, 2, 3)
    assert study.experiment == study.kept == study.whole
    assert (len(study.plan), shop.table) == (16, 16)
    assert labels(study.filed, "backbone") == ["resnet8"]


def test_it_stays_where_nothing_was_trained_because_all_cells_were_there(shop: Shop) -> None:
    shop.file.write_text(FILE.replace("[resnet8]", "[resnet8, resnet20]"))
    shop.launch()
    shop.file.write_text(FILE)
    done = shop.stores.evaluations.ids()
    shop.launch(backbone=["resnet20"])
    assert shop.stores.evaluations.ids() == done
    assert len(shop.study().plan) == len(done) == 12


def test_a_study_that_is_no_launch_writes_nothing_and_says_that_its_flags_pass(shop: Shop) -> None:
    shop.launch()
    study = shop.study(backbone=["resnet20"], seeds="5")
    assert len(study.plan) == 20
    assert study.changes == [
        "Options add to this command alone: backbone resnet20; seeds 3, 4. `launch` or `add` makes it stay."
    ]
    assert not list(Path(str(shop.place.root)).glob("experiments/*"))
    assert shop.study().changes == []


def test_narrowing_is_for_one_command_and_never_shrinks_the_table(shop: Shop) -> None:
    shop.launch(backbone=["resnet20"])
    before = shop.stores.additions("tiny").read()
    for flags in ({"loss": ["softmax"], "only": True}, {"backbone": ["resnet20"], "only": True}, {"seeds": "1"}):
        study = shop.launch(**flags)
        assert len(study.plan) < 12
        assert study.changes[0].startswith("Options leave out of this command alone: ")
        assert shop.table == 12
    assert shop.stores.additions("tiny").read() == before
    assert shop.study(seeds="1").comparison.narrowed == "seeds 1, 2"
    assert len(shop.study().plan) == 12


def test_seeds_by_flag_join_those_of_the_file_and_leave_out_only_for_once(shop: Shop) -> None:
    shop.launch()
    study = shop.launch(seeds="0,7")
    assert study.plan.experiment.seeds == (0, 7)
    assert study.stated["plan"] == "[0, 1, 2, 7]"
    assert shop.study().experiment.seeds == (0, 1, 2, 7)
    assert shop.study().stated["plan"] == "[0, 1, 2, 7]"
    assert shop.table == 8


def test_an_addition_that_the_file_has_by_now_is_no_fault_and_still_told(shop: Shop) -> None:
    shop.launch(backbone=["resnet20"])
    shop.file.write_text(FILE.replace("[resnet8]", "[resnet8, resnet20]"))
    study = shop.study()
    assert len(study.plan) == 12
    assert study.added
    assert (study.added.before, study.added.after) == (Family(1, 1), Family(2, 2))


def test_an_addition_that_no_longer_fits_the_file_is_told_with_the_remedy(shop: Shop) -> None:
    shop.launch(loss=["focal"])
    shop.file.write_text(FILE.replace("bce_unified]", "bce_unified, {name: focal, as: mine}]"))
    with pytest.raises(ExperimentError, match=r"(?s)what was added to it \(loss focal\).*same recipe.*--remove"):
        shop.study()


def test_results_in_a_notebook_have_additions_by_name_and_by_file(shop: Shop) -> None:
    shop.launch(backbone=["resnet20"])
    root = str(shop.place.root)
    assert len(orchestrator.results(root, shop.file).to_pandas()) == 12
    from orchestrator.records.files.asked import keep

    keep(filed(shop.file), shop.place.experiment("tiny"))
    assert len(orchestrator.results(root, "tiny").to_pandas()) == 12


# What is said


def test_it_is_said_what_was_added_when_and_how_many_questions_there_are(shop: Shop) -> None:
    shop.launch(backbone=["resnet20"], loss=["focal"])
    added = shop.study().added
    assert added
    what, also, questions = added.told()
    assert what.startswith("Added by launch on 20")
    assert what.endswith(" UTC: loss focal.")
    assert also.endswith(" UTC: backbone resnet20.")
    assert questions.endswith("verdicts 1 → 2, differences 1 → 4.")
    found = shop.study().comparison
    assert found.added == added
    assert found.to_json()["additions"]["after"] == {"verdicts": 2, "differences": 4}


def test_without_additions_nothing_is_said(shop: Shop) -> None:
    shop.launch()
    assert shop.study().added is None
    assert shop.study().comparison.to_json()["additions"] is None


def test_what_was_taken_back_after_results_counts_as_a_look_and_its_questions_stay(shop: Shop) -> None:
    shop.launch()
    shop.launch(backbone=["resnet20"])
    shop.note(Entry(when=THEN, by="add", action="remove", backbone=("resnet20",), results=6))
    study = shop.study()
    assert len(study.plan) == 6
    assert labels(study.counted_among, "backbone") == ["resnet8", "resnet20"]
    (finding,) = study.comparison.findings
    assert finding.looks.taken_back == ("backbone resnet20",)
    assert (finding.looks.standing, finding.looks.number, finding.looks.error) == ("exploratory", 2, 0.1)
    assert study.added
    assert study.added.after == Family(2, 2)
    assert "Taken back on 2026-01-02 03:04 UTC, when 6 of its cells had results: backbone resnet20." in (
        " ".join(study.added.told())
    )


@pytest.mark.parametrize(("results", "is_look"), [(0, False), (1, True), (None, True)])
def test_taken_back_is_a_look_unless_it_is_known_that_there_were_no_results(
    results: int | None, *, is_look: bool
) -> None:
    put = Entry(when=THEN, by="launch", backbone=("resnet20",))
    back = Entry(when=THEN, by="add", action="remove", backbone=("resnet20",), results=results)
    additions = Additions((put, back))
    assert additions.pieces() == []
    assert bool(additions.looks()) is is_look


def test_seeds_taken_back_after_results_are_a_look_also_where_their_cells_are_gone(shop: Shop) -> None:
    shop.launch()
    shop.launch(seeds="4")
    for cell in shop.study().plan.cells:
        if cell.seed == 3:
            Path(str(shop.stores.evaluations.path(cell.recipe, cell.id))).unlink()
    shop.note(Entry(when=THEN, by="add", action="remove", seeds=(3,), results=2, plan="4"))
    study = shop.study()
    assert study.experiment.seeds == (0, 1, 2)
    assert study.comparison.looks.plans == ("3", "4")
    assert study.comparison.looks.standing == "exploratory"


def test_a_removal_and_an_addition_again_leave_the_addition_and_the_look() -> None:
    put = Entry(when=THEN, by="launch", backbone=("a", "b"), seeds=(5,))
    back = Entry(when=THEN, by="add", action="remove", backbone=("a",), results=1)
    again = Entry(when=THEN, by="launch", backbone=("a",))
    additions = Additions((put, back, again))
    assert list(additions.standing("backbone")) == ["b", "a"]
    assert [entry.said() for entry in additions.pieces()] == ["backbone b; seed 5", "backbone a"]
    assert additions.looks() == ("backbone a",)


def test_what_options_leave_out_is_named_by_axis(shop: Shop) -> None:
    whole = filed(shop.file)
    shown = shop.study(loss=["softmax"], only=True, seeds="2").experiment
    assert left_out(whole, shown) == "loss bce_unified; seed 2"
    assert left_out(shown, whole) == ""


# The file


def test_the_file_has_one_line_per_entry_and_only_grows(shop: Shop) -> None:
    file = AdditionsFile(shop.place.additions("tiny"))
    file.append(Entry(when=THEN, by="launch", backbone=("resnet20",)))
    first = Path(str(file.place)).read_text().splitlines()
    file.append(Entry(when=THEN, by="launch", backbone=("resnet20", "resnet18"), seeds=(7,)))
    file.append(Entry(when=THEN, by="launch", backbone=("resnet18",)))
    second = Path(str(file.place)).read_text().splitlines()
    assert [len(first), len(second)] == [3, 4]
    assert second[1] == f"{first[1]},"
    assert json.loads(second[2]) == {
        "when": "2026-01-02T03:04:00Z",
        "by": "launch",
        "backbone": ["resnet18"],
        "seeds": [7],
    }


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b"{}", b'{"version": 1}', b'{"version": 1, "entries": [{"by": "launch"}]}'],
)
def test_a_damaged_file_is_one_clear_error(shop: Shop, content: bytes) -> None:
    place = Path(str(shop.place.additions("tiny")))
    place.parent.mkdir()
    place.write_bytes(content)
    with pytest.raises(WorkspaceError, match=r"tiny\.additions\.json is damaged \(.+\).* Restore the file from a copy"):
        shop.study()
    with pytest.raises(WorkspaceError):
        shop.note(Entry(when=THEN, by="launch", seeds=(9,)))
    assert place.read_bytes() == content


def test_a_file_of_a_newer_version_is_left_alone(shop: Shop) -> None:
    place = Path(str(shop.place.additions("tiny")))
    place.parent.mkdir()
    place.write_text('{"version": 2, "entries": []}')
    with pytest.raises(NewerFormatError, match="has version 2; this program reads 1"):
        shop.study()


def test_the_registry_knows_the_file_and_tells_of_it(shop: Shop) -> None:
    with shop.stores.registry() as records:
        records.plan(shop.study().plan)
        note_additions(shop.stores, records, "tiny", Entry(when=THEN, by="launch", seeds=(9,)))
        (known,) = records.status("tiny").documents
        assert (known.kind, known.uri) == ("additions", Path(str(shop.place.additions("tiny"))).as_uri())
        assert records.events("tiny")[-1].sentence == "launch adds to what is asked: seed 9."


def test_added_is_told_even_where_the_file_can_no_longer_do_without(shop: Shop) -> None:
    shop.launch(loss=["focal"])
    shop.file.write_text(
        FILE.replace("bce_unified]", "bce_unified, focal]").replace("baseline: softmax\n", "baseline: focal\n")
    )
    study = shop.study()
    found = Added.of(study.additions, study.kept)
    assert found
    assert found.before is None
    assert found.told()[-1] == "Questions judged together: verdicts 1, differences 2."
