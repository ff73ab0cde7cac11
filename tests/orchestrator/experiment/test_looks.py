"""Looks: seeds that are changed after results, by what cells record of the plan under which they began."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import stdtr

from benchmarks.looks import KINDS, as_advised, as_many_again, bound, looking
from orchestrator.analysis.across_settings import overall
from orchestrator.errors import RequestError
from orchestrator.experiment.files import filed, revised
from orchestrator.experiment.looks import Began, Looked, Looks, began, leaves_out, planned
from orchestrator.records.files.compact import compact_samples
from orchestrator.report import paragraphs
from orchestrator.report import rows as texts
from orchestrator.report.document import document
from orchestrator.report.markdown import markdown
from orchestrator.report.paper.latex import latex
from orchestrator.report.terminal.hints import Given, next_commands
from orchestrator.report.web import page
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace import Workspace
from trainers.evaluation import Evaluation
from trainers.metrics import Observed, measure

if TYPE_CHECKING:
    from orchestrator.analysis.comparison import Comparison
    from orchestrator.experiment.model import Experiment
    from orchestrator.records.files.evaluations import Account

FILE = """\
name: tiny
losses: [softmax, bce_unified]
backbones: [resnet8, resnet20]
datasets: [digits]
seeds: {seeds}
baseline: softmax
claims:
  - {{id: P1, metric: uniform_accuracy, challenger: bce_unified, baseline: softmax, direction: higher, margin: 0.01}}
"""
RULE = "{min: 5, max: 30, until: decided}"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write the experiment's file with these seeds."""

    def write(seeds: int | str, name: str = "tiny") -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(FILE.format(seeds=seeds).replace("name: tiny", f"name: {name}"))
        return path

    return write


class TestPlan:
    """Which seeds are planned."""

    @pytest.mark.parametrize(
        ("seeds", "flag", "expected"),
        [
            (5, None, "5"),
            ("[0, 1, 2, 3, 4]", None, "5"),
            ("[3, 0, 7]", None, "[0, 3, 7]"),
            (RULE, None, RULE),
            (5, "5", "5"),
            (5, "1", "5"),
            (5, "2,4", "5"),
            (5, "10", "10"),
            (5, "5,6,7,8,9", "10"),
            (5, "7,9", "[0, 1, 2, 3, 4, 7, 9]"),
            (RULE, "3", RULE),
            (RULE, "30", "30"),
            (RULE, "40", "40"),
        ],
    )
    def test_flags_add_to_the_files_seeds_and_what_they_leave_out_stays_planned(
        self, write: Callable[..., Path], seeds: int | str, flag: str | None, expected: str
    ) -> None:
        file = write(seeds)
        assert planned(filed(file), revised(filed(file), seeds=flag)) == expected

    def test_it_is_known_whether_flags_leave_seeds_out(self, write: Callable[..., Path]) -> None:
        file = write(3)
        left = {flag: leaves_out(filed(file), revised(filed(file), seeds=flag)) for flag in FLAGS}
        assert left == FLAGS


FLAGS = {None: False, "3": False, "5": False, "2": True, "0,2": True, "3,4,5": True}


class TestLooks:
    """How many looks cells tell of."""

    def test_different_plans_are_looks_in_their_order(self) -> None:
        cells = [Began(3.0, "10"), Began(1.0, "5"), Began(2.0, "5")]
        assert Looked("10", {("d", "b", "l"): cells}).at([("d", "b", "l")]) == Looks(("5", "10"), 0)

    def test_a_plan_without_cells_yet_is_the_last(self) -> None:
        looked = Looked("3", {("d", "b", "l"): [Began(1.0, "10")]})
        assert looked.at([("d", "b", "l")]).plans == ("10", "3")
        assert looked.at([("d", "b", "other")]) == Looks(("3",), 0)

    def test_cells_of_several_losses_are_looked_at_together(self) -> None:
        looked = Looked("5", {("d", "b", "l"): [Began(1.0, "5")], ("d", "b", "m"): [Began(0.0, "3")]})
        assert looked.at([("d", "b", "l"), ("d", "b", "m")]).plans == ("3", "5")
        assert looked.at([("d", "b", "l")]).plans == ("5",)

    @pytest.mark.parametrize(
        ("looks", "count", "standing", "error"),
        [
            (Looks(("5",), 0), 1, "planned", 0.05),
            (Looks(("5", "10", "20"), 0), 3, "exploratory", 0.15),
            (Looks(("5",), 2), None, "unknown", None),
            (Looks(("5", "10"), 2), None, "exploratory", None),
            (Looks((), 0), None, "unknown", None),
        ],
    )
    def test_what_is_not_known_is_not_read_as_good(
        self, looks: Looks, count: int | None, standing: str, error: float | None
    ) -> None:
        assert (looks.number, looks.standing, looks.error) == (count, standing, pytest.approx(error))

    def test_another_experiments_cells_old_ones_and_imported_ones_tell_nothing(self) -> None:
        record = {"experiment": "tiny", "plan": "5"}
        assert began("tiny", 1.0, record, is_foreign=False) == Began(1.0, "5")
        assert began("other", 1.0, record, is_foreign=False).plan is None
        assert began("tiny", 1.0, record, is_foreign=True).plan is None
        assert began("tiny", 1.0, {"experiment": "tiny"}, is_foreign=False).plan is None
        assert began("tiny", None, None, is_foreign=False) == Began(float("inf"), None)


class Lab:
    """Cells of the file, trained in a moment under the plan of their launch."""

    def __init__(self, place: Workspace, write: Callable[..., Path], account: Callable[..., Account]) -> None:
        self.stores = Stores(place).prepare()
        self.write = write
        self._account = account
        self._clock = itertools.count(1.0)

    def launch(self, file: Path, *, record: bool = True, is_sound: bool = True, **options: Any) -> None:
        """Train what is missing; without `record`, by a version that recorded no plan."""
        study = self.study(file, **options)
        stated = study.stated
        stated = stated if record else {name: each for name, each in stated.items() if name != "plan"}
        evaluations = self.stores.evaluations
        for cell in study.plan.cells:
            if cell.id in evaluations.ids():
                continue
            found = scored(cell.seed, 4.0 if cell.loss == "softmax" or not is_sound else 5.0)
            account = self._account(
                cell,
                samples=len(found.label),
                metrics=measure(Observed(found, [])),
                learned_bias=[],
                started=next(self._clock),
                provenance={"stated": stated},
            )
            evaluations.publish(cell.recipe, account, found)

    def compare(self, file: Path, **options: Any) -> Comparison:
        """As the commands compare."""
        return self.study(file, **options).compare()

    def study(self, file: Path, **options: Any) -> Study:
        """As a notebook has it."""
        return Study.of_file(file, self.stores, **options)


def scored(seed: int, ahead: float) -> Evaluation:
    """Own classes score so much more than rivals, more or less."""
    draw = np.random.default_rng(seed)
    rival = draw.normal(0, 1.5, 200).astype(np.float32)
    positive = (rival + draw.normal(ahead, 2, 200)).astype(np.float32)
    label = np.random.default_rng(0).integers(0, 10, 200).astype(np.int32)  # the same test images for all
    prediction = np.where(positive > rival, label, (label + 1) % 10).astype(np.int32)
    top = np.maximum(positive, rival)
    return Evaluation(np.arange(200, dtype=np.int32), label, prediction, positive, rival, top, top)


@pytest.fixture
def lab(tmp_path: Path, write: Callable[..., Path], an_account: Callable[..., Account]) -> Lab:
    return Lab(Workspace.at(str(tmp_path / "runs")), write, an_account)


def told(found: Comparison) -> list[tuple[str, tuple[str, ...]]]:
    """The verdicts, and the plans that were looked at."""
    return [(finding.marked, finding.looks.plans) for finding in found.findings]


def stars(found: Comparison) -> int:
    """In the table."""
    return sum("*" in cell for line in found.lines for cell in texts.cells(line))


class TestOneLook:
    """What is no further look."""

    def test_a_run_as_planned_is_never_marked(self, lab: Lab) -> None:
        file = lab.write(5)
        lab.launch(file)
        found = lab.compare(file)
        assert told(found) == [("supported", ("5",))] * 2
        assert stars(found) == 2
        assert "xploratory" not in markdown(found)
        assert "ooks" not in markdown(found)

    def test_narrowing_first_is_no_look_and_shows_no_verdict(self, lab: Lab) -> None:
        file = lab.write(5)
        for seeds in ("1", "0,2", "4"):
            lab.launch(file, seeds=seeds)
            narrow = lab.compare(file, seeds=seeds)
            assert {finding.withheld for finding in narrow.findings} == {"narrowed"}
            assert {finding.marked for finding in narrow.findings} == {"undecided"}
            assert {finding.alone for finding in narrow.findings} == {"undecided"}
            assert stars(narrow) == 0
            assert "no verdict while flags leave out planned seeds" in markdown(narrow)
        lab.launch(file)
        assert told(lab.compare(file)) == [("supported", ("5",))] * 2

    def test_a_view_narrowed_by_only_holds_among_all_questions_of_the_file(self, lab: Lab) -> None:
        """P of one of two settings is doubled, as it is once both are done."""
        file = lab.write(5)
        only: dict[str, Any] = {"backbone": ["resnet8"], "only": True}
        lab.launch(file, **only)
        (narrow,) = lab.compare(file, **only).findings
        lab.launch(file)
        whole = lab.compare(file)
        rows = {(row["loss"], row["seed"]): row["uniform_accuracy"] for row in lab.study(file, **only).rows}
        differences = [rows["bce_unified", seed] - rows["softmax", seed] for seed in range(5)]
        distance = (np.mean(differences) - 0.01) / np.std(differences, ddof=1) * math.sqrt(5)
        p = 2 * 2 * float(stdtr(4, -distance))
        assert [narrow.p, *(finding.p for finding in whole.findings)] == pytest.approx([p] * 3, rel=1e-6)
        tests = lab.compare(file, **only).lines[1].tests or {}
        both = whole.lines[1].tests or {}
        assert tests["uniform_accuracy"].t == pytest.approx(both["uniform_accuracy"].t)
        assert tests["uniform_accuracy"].holm >= both["uniform_accuracy"].holm

    def test_more_losses_and_settings_change_the_family_and_are_no_look(self, lab: Lab) -> None:
        file = lab.write(5)
        lab.launch(file)
        lab.launch(file, loss=["bce"], backbone=["resnet18"])
        assert {plans for _, plans in told(lab.compare(file, loss=["bce"], backbone=["resnet18"]))} == {("5",)}

    def test_seeds_that_flags_add_before_the_first_cell_are_planned(self, lab: Lab) -> None:
        file = lab.write(3)
        lab.launch(file, seeds="5")
        assert told(lab.compare(file, seeds="5")) == [("supported", ("5",))] * 2
        lab.write(5)
        assert told(lab.compare(file)) == [("supported", ("5",))] * 2

    def test_seeds_by_a_rule_that_stands_are_no_look(self, lab: Lab) -> None:
        file = lab.write("{min: 6, max: 9, until: decided}")
        lab.launch(file, seeds="6")
        lab.launch(file)
        found = lab.compare(file)
        assert told(found) == [("supported", ("{min: 6, max: 9, until: decided}",))] * 2
        assert stars(found) == 0


class TestSeveralLooks:
    """What is a further look."""

    @pytest.mark.parametrize(
        ("first", "then", "plans"),
        [
            (5, 7, ("5", "7")),
            (7, 5, ("7", "5")),
            (5, "{min: 5, max: 9, until: decided}", ("5", "{min: 5, max: 9, until: decided}")),
            (
                "{min: 6, max: 7, until: decided}",
                "{min: 6, max: 9, until: decided}",
                ("{min: 6, max: 7, until: decided}", "{min: 6, max: 9, until: decided}"),
            ),
        ],
    )
    def test_an_edit_of_the_files_seeds_after_results_is_one(
        self, lab: Lab, first: int | str, then: int | str, plans: tuple[str, str]
    ) -> None:
        lab.launch(lab.write(first))
        file = lab.write(then)
        lab.launch(file)
        found = lab.compare(file)
        assert told(found) == [("supported, exploratory", plans)] * 2
        assert found.findings[0].looks.error == pytest.approx(0.10)
        assert stars(found) == 0

    @pytest.mark.parametrize("seeds", ["8", "5,6,7"])
    def test_seeds_that_a_flag_adds_are_one(self, lab: Lab, seeds: str) -> None:
        file = lab.write(5)
        lab.launch(file)
        lab.launch(file, seeds=seeds)
        assert told(lab.compare(file, seeds="8")) == [("supported, exploratory", ("5", "8"))] * 2

    def test_going_back_to_fewer_seeds_is_one(self, lab: Lab) -> None:
        """Cells of seeds that are no longer asked for tell of it."""
        file = lab.write(5)
        lab.launch(file)
        lab.launch(file, seeds="8")
        found = lab.compare(file)
        assert told(found) == [("supported, exploratory", ("5", "8"))] * 2
        assert {line.planned for line in found.lines} == {5}

    def test_every_plan_counts(self, lab: Lab) -> None:
        for seeds in (4, 6, 9):
            lab.launch(lab.write(seeds))
        finding = lab.compare(lab.write(9)).findings[0]
        assert (finding.looks.number, finding.looks.error) == (3, pytest.approx(0.15))

    def test_a_setting_that_was_added_with_the_seeds_was_looked_at_once(self, lab: Lab) -> None:
        lab.launch(lab.write(5), backbone=["resnet8"], only=True)
        file = lab.write(8)
        lab.launch(file)
        assert told(lab.compare(file)) == [("supported, exploratory", ("5", "8")), ("supported", ("8",))]


class TestNotKnown:
    """What is not known is not read as one look."""

    def test_cells_without_a_record_of_the_plan(self, lab: Lab) -> None:
        file = lab.write(5)
        lab.launch(file, seeds="2", record=False)
        lab.launch(file)
        found = lab.compare(file)
        assert told(found) == [("supported, looks not known", ("5",))] * 2
        assert (found.looks.unknown, found.looks.number, stars(found)) == (8, None, 0)

    def test_cells_of_another_experiment(self, lab: Lab) -> None:
        lab.launch(lab.write(5))
        file = lab.write(8, name="other")
        lab.launch(file)
        assert {verdict for verdict, _ in told(lab.compare(file))} == {"supported, looks not known"}

    def test_seeds_of_another_experiment_that_are_not_used_say_nothing(self, lab: Lab) -> None:
        file = lab.write(5)
        lab.launch(file)
        lab.launch(lab.write(8, name="other"))
        assert {verdict for verdict, _ in told(lab.compare(lab.write(5)))} == {"supported"}


def test_every_output_marks_what_is_exploratory(lab: Lab) -> None:
    lab.launch(lab.write(5))
    file = lab.write(8)
    lab.launch(file)
    study = lab.study(file)
    found = study.compare()
    shown = [
        markdown(found),
        latex(found),
        study._repr_html_(),  # pyright: ignore[reportPrivateUsage]  # as a notebook does
        page.render(found, study.rows, lab.stores.evaluations, study.plan),
    ]
    for text in shown:
        assert "supported, exploratory" in text
        words = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", text, flags=re.DOTALL)
        assert re.findall(r"supported(?!, exploratory)", words) == []
        assert re.search("2 looks", text)
        assert re.search(r"10\s\\?%", text)
    assert "支持（探索的）" in shown[-1]
    assert "EXPLORATORY (2 looks, error up to 10 %)" in paragraphs.claims_heading(found)
    content = document(found, overall(study.plan.experiment, study.rows))
    assert content["looks"]["standing"] == "exploratory"
    looks = {"plans": ["5", "8"], "unknown": 0, "taken_back": [], "number": 2, "standing": "exploratory", "error": 0.1}
    assert [claim["looks"] for claim in content["claims"]] == [looks] * 2


def hints(asked: Experiment, *verdicts: str, **given: Any) -> str:
    found: Any = SimpleNamespace(findings=[SimpleNamespace(verdict=verdict) for verdict in verdicts])
    return next_commands(Path("grid.yaml"), Path("table"), asked, found, Given(**given)).plain


def test_hints_after_a_launch_point_to_a_rule_and_not_to_seeds_that_are_added_on_sight(
    write: Callable[..., Path],
) -> None:
    fixed = hints(filed(write(5)), "supported", "undecided")
    assert "seeds: {min: 5, max: 30, until: decided} in grid.yaml" in fixed
    assert "--seeds" not in fixed
    assert "seeds: {min: 20, max: 40, until: decided}" in hints(filed(write(20)), "undecided")
    assert "until" not in hints(filed(write(RULE)), "undecided")
    assert "until" not in hints(filed(write(5)), "supported", "refuted")
    assert "until" not in hints(filed(write("[0, 7]")), "undecided")


def test_hints_fit_the_grid_and_repeat_the_options_that_the_launch_had(write: Callable[..., Path]) -> None:
    asked = filed(write(5))
    places = {"workspace": ["--workspace", "my runs"], "tracking": ["--tracking", "http://t"]}
    shown = hints(asked, "supported", **places, compute=["--executor", "inline"])
    assert "launch grid.yaml --workspace 'my runs' --tracking http://t --executor inline --backbone resnet18" in shown
    assert "report grid.yaml --workspace 'my runs'  #" in shown
    assert "ui grid.yaml --workspace 'my runs' --tracking http://t  #" in shown
    assert "--backbone" not in hints(revised(asked, backbone=["resnet18"]), "supported")


def test_hints_after_a_narrowed_launch_repeat_what_narrowed_it_and_name_the_rest(write: Callable[..., Path]) -> None:
    shown = hints(filed(write(5)), "undecided", narrowing=["--only", "--backbone", "resnet8"])
    assert "report grid.yaml --only --backbone resnet8  #" in shown
    assert "launch grid.yaml  # also what this launch left out" in shown
    assert "until" not in shown


@pytest.mark.parametrize("further", [as_many_again, as_advised])
def test_who_looks_again_errs_unmarked_in_one_experiment_of_twenty_and_marked_as_often_as_is_said(
    further: Callable[..., int | None],
) -> None:
    """150 experiments with nothing to find; docs/statistics.md has more."""
    runs = 150
    rng = np.random.default_rng(0)
    found = [looking(KINDS[0], further)(rng) for _ in range(runs)]
    assert not any(seen.astray for seen in found)
    assert np.mean([seen.unmarked for seen in found]) <= bound(1, runs)
    for looks, rate in enumerate(np.mean([seen.marked for seen in found], axis=0), start=2):
        assert rate <= bound(looks, runs)


def test_a_decided_experiment_owes_no_seeds_that_its_rule_did_not_ask_for(lab: Lab, tmp_path: Path) -> None:
    file = lab.write(RULE)
    lab.launch(file, seeds="10")
    study = lab.study(file)
    assert {finding.verdict for finding in study.compare().findings} == {"supported"}
    assert (len(study.plan), len(study.owed)) == (120, 40)
    assert compact_samples(study.owed, lab.stores.evaluations, tmp_path / "compacted") == 40 * 200


def test_an_undecided_experiment_owes_the_next_pair(lab: Lab, tmp_path: Path) -> None:
    file = lab.write(RULE)
    lab.launch(file, seeds="5")
    study = lab.study(file)
    assert len(study.owed) == 24
    with pytest.raises(RequestError, match="4 of 24 cells of 'tiny' are not done"):
        compact_samples(study.owed, lab.stores.evaluations, tmp_path / "compacted")
