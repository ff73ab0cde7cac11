"""Whether old cells may stand beside new ones: what counts as old, which are tried, what is said, and all at work."""

from __future__ import annotations

import io
import json
import math
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator import provenance
from orchestrator.analysis import across_settings
from orchestrator.analysis.comparison import compare
from orchestrator.errors import DamagedFileError, NewerFormatError, RequestError
from orchestrator.execution import environments, worker
from orchestrator.execution.environments import environment as expected_environment
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, Plan, plan
from orchestrator.launching import old_cells
from orchestrator.launching.compute import Compute
from orchestrator.launching.launch import Launch
from orchestrator.provenance import fingerprints, torch_state
from orchestrator.provenance.environment import SOME_GPU, Environment, LossCode, change, gpu
from orchestrator.provenance.fingerprints import Code
from orchestrator.records.files import splits
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.results import aggregate
from orchestrator.records.files.summaries import Summaries
from orchestrator.records.tracking.runs import Tracking
from orchestrator.report.document import document
from orchestrator.report.markdown import markdown
from orchestrator.report.paper.latex import latex
from orchestrator.report.terminal import comparison as terminal
from orchestrator.report.web import page
from orchestrator.report.web.translations import words
from orchestrator.reproduction import equivalence
from orchestrator.reproduction.anchor_log import VERSION, Anchor, AnchorEntry, Ledger
from orchestrator.reproduction.anchors import ANCHORS, anchors, meetings
from orchestrator.reproduction.code_changes import OTHER_CODE, PARTS, since
from orchestrator.reproduction.equivalence import TOLD, judge
from orchestrator.reproduction.finished_cells import Past, finished
from orchestrator.reproduction.left_out import LeftOut
from orchestrator.reproduction.left_out import sentences as said_of
from orchestrator.reproduction.pooling import EnvironmentCount, OriginPair, Pool, pooled
from orchestrator.sentences import Sentence, filled, listed
from orchestrator.stores import Stores
from orchestrator.study import Study
from orchestrator.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.reproduction.equivalence import Found
    from trainers.evaluation import Evaluation

# MLflow's own use of SQLAlchemy; an error there would leave its tables unusable for the whole process.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

CLAIM = {
    "id": "uniform",
    "metric": "uniform_accuracy",
    "challenger": "bce_unified",
    "baseline": "softmax",
    "direction": "higher",
    "margin": 0.01,
}


def asked(**changes: Any) -> Experiment:
    fields = {
        "name": "grid",
        "losses": ["softmax", "bce_unified", "bce_diverse"],
        "backbones": ["resnet8", "resnet20"],
        "datasets": ["digits"],
        "baseline": "softmax",
        "claims": [CLAIM],
    }
    return Experiment.model_validate({**fields, **changes})


def an_environment(torch: str) -> Environment:
    return Environment(torch, None, "AVX2", "AVX2", 1, 1, *3 * ["aa"])


OLD = an_environment("2.13.0")
NEW = an_environment("2.14.0")


# What counts as another environment


RECORDED = {
    "torch_version": "2.14.0",
    "git_commit": "abc1234" + 33 * "0",
    "git_dirty": False,
    "processor": "Xeon",
    "instruction_set": "AVX2",
    "onednn_isa": "AVX2",
    "threads": 1,
    "devices": 1,
    "fingerprints": dict.fromkeys(("loss", "backbone", "dataset", "loop"), "f" * 64),
    "distributions": {"loss": "my_losses.py", "backbone": "nets 1.0", "dataset": "digits.py", "loop": "core 0.1"},
}


def environment(**changes: Any) -> Environment:
    return Environment.of({**RECORDED, **changes})


def recoded(axis: str) -> dict[str, Any]:
    return {"fingerprints": {**RECORDED["fingerprints"], axis: "e" * 64}}


def test_a_commit_that_leaves_the_code_alone_is_no_other_environment() -> None:
    assert environment() == environment(git_commit="def5678" + 33 * "0")
    assert environment(git_dirty=True) == environment()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"torch_version": "2.15.0"}, "torch 2.14.0 → 2.15.0"),
        ({"device": "NVIDIA H100"}, "device CPU → NVIDIA H100"),
        ({"instruction_set": "AVX512"}, "instruction set AVX2 → AVX512"),
        ({"instruction_set": None}, "instruction set AVX2 → unknown"),
        ({"onednn_isa": "AVX512_CORE"}, "oneDNN AVX2 → AVX512_CORE"),
        ({"threads": 2}, "threads 1 → 2"),
        ({"devices": 2}, "devices 1 → 2"),
        (recoded("backbone"), "code of the backbone (nets 1.0) changed"),
        (recoded("dataset"), "code of the dataset (digits.py) changed"),
        (recoded("loop"), "code of the training loop (core 0.1) changed"),
        ({"torch_version": "2.15.0", "threads": 4}, "torch 2.14.0 → 2.15.0, threads 1 → 4"),
    ],
)
def test_another_machine_or_code_is_one_and_is_named(changes: dict[str, Any], said: str) -> None:
    old = environment()
    new = environment(**changes)
    assert old != new
    assert old.id != new.id
    assert change(old, new) == said


def test_another_version_of_the_package_is_named_by_both_versions() -> None:
    changed = {**recoded("backbone"), "distributions": {**RECORDED["distributions"], "backbone": "nets 1.1"}}
    assert change(environment(), environment(**changed)) == "code of the backbone changed: nets 1.0 → nets 1.1"


def test_the_code_of_a_loss_is_no_part_of_an_environment() -> None:
    assert environment() == environment(**recoded("loss"))
    assert environment().id == environment(**recoded("loss")).id


def test_an_environment_reads_as_one_and_has_an_id_that_stays() -> None:
    assert str(environment()) == "torch 2.14.0, AVX2, oneDNN AVX2, 1 thread, code fffffff"
    assert str(environment(device="NVIDIA H100", devices=4, threads=8, instruction_set=None, onednn_isa=None)) == (
        "torch 2.14.0, 4 × NVIDIA H100, 8 threads, code fffffff"
    )
    assert environment().id == "a56a6d48"


def test_a_processors_name_makes_no_other_environment() -> None:
    assert environment(device="cpu") == environment(device=None) == environment(processor="EPYC")


def test_files_that_do_not_say_what_the_trainers_were_are_told_apart_by_commit() -> None:
    bare = [Environment.of({"git_commit": commit, "git_dirty": dirty}) for commit in "ab" for dirty in (False, True)]
    assert len(set(bare)) == 4


def test_what_is_recorded_now_is_what_is_expected_of_a_cell_here(a_cell: Callable[..., Cell]) -> None:
    here = a_cell()
    on_gpu = replace(a_cell(), resources=a_cell().resources.model_copy(update={"gpus": 1.0}))
    told = {**provenance.machine(), **torch_state.computing(gpu=False), **fingerprints.recorded(here.recipe)}
    recorded = Environment.of({**told, "threads": here.resources.cpus, "devices": here.resources.devices})
    assert expected_environment(here) == recorded
    elsewhere = replace(recorded, device=SOME_GPU, instruction_set=None, onednn=None)
    assert expected_environment(on_gpu, "127.0.0.1:9") == elsewhere


class Gpus:
    """NVIDIA's library on a machine with these GPUs."""

    def __init__(self, *names: str) -> None:
        self.nvmlDeviceGetCount = lambda: len(names)
        self.nvmlDeviceGetHandleByIndex = lambda index: index
        self.nvmlDeviceGetName = names.__getitem__


@pytest.mark.parametrize(
    ("nvml", "name"),
    [
        (None, SOME_GPU),
        (Gpus(), SOME_GPU),
        (Gpus("NVIDIA H100", "NVIDIA H100"), "NVIDIA H100"),
        (Gpus("NVIDIA H100", "NVIDIA A100"), SOME_GPU),
    ],
)
def test_the_gpu_of_this_machine_is_known_beforehand_where_there_is_one_kind(nvml: Gpus | None, name: str) -> None:
    assert gpu(nvml) == name


# Which cells are trained again


CELLS = plan(asked(seeds=4)).cells


def past(cell: Cell, seconds: float = 1.0) -> Past:
    return Past(cell, OLD, LossCode(cell.loss, "aa"), seconds)


def told(environment: Environment, loss: str = "aa") -> dict[str, Any]:
    """What a cell of the environment records."""
    codes = {"loss": loss, **{name: getattr(environment, name) for name in ("dataset", "backbone", "loop")}}
    machine = {"instruction_set": "AVX2", "onednn_isa": "AVX2", "threads": 1, "devices": 1}
    return {**machine, "torch_version": environment.torch, "fingerprints": codes}


@st.composite
def pasts(draw: st.DrawFn) -> list[Past]:
    chosen = draw(st.lists(st.sampled_from(CELLS), unique_by=lambda cell: cell.id, min_size=1))
    return [past(cell, draw(st.floats(1, 100))) for cell in chosen]


@given(pasts())
def test_anchors_are_spread_over_settings_and_losses_the_cheapest_first(there: list[Past]) -> None:
    settings = {past.setting for past in there}
    chosen = anchors(asked(), there, settings)
    assert chosen == anchors(asked(), there[::-1], settings)
    assert len(chosen) == min(len(there), max(ANCHORS, len(settings)))
    assert {(cell.dataset, cell.backbone) for cell in chosen} == settings
    seconds = {past.cell.id: past.seconds for past in there}
    left = [past for past in there if past.cell not in chosen]
    for cell in chosen:
        alike = [past for past in left if (*past.setting, past.cell.loss) == (cell.dataset, cell.backbone, cell.loss)]
        assert all(past.seconds >= seconds[cell.id] for past in alike)
    for setting in settings:
        of_setting = [cell.loss for cell in chosen if (cell.dataset, cell.backbone) == setting]
        passed_over = {past.cell.loss for past in left if past.setting == setting} - {*of_setting}
        assert not passed_over or len(of_setting) == len({*of_setting})


def test_the_losses_that_claims_compare_come_first() -> None:
    there = [past(cell, 100.0 - "diverse".count(cell.loss)) for cell in CELLS]
    (one, two, _) = anchors(asked(), there, {("digits", "resnet8")})
    assert (one.loss, two.loss) == ("bce_unified", "softmax")


def test_old_meets_new_only_in_settings_where_new_cells_are_coming() -> None:
    there = [past(cell) for cell in CELLS]
    coming = [cell for cell in CELLS if cell.backbone == "resnet8"]
    (meeting,) = meetings(there, coming, lambda _: [told(NEW)], ())
    assert meeting.settings == (("digits", "resnet8"),)
    assert not meetings(there, [], lambda _: [told(NEW)], ())
    assert not meetings(there, coming, lambda _: [told(OLD)], ())
    others = [past(cell) for cell in CELLS if cell.loss != "softmax"]
    assert not meetings(others, [cell for cell in coming if cell.loss == "softmax"], lambda _: [told(NEW)], ())


def test_each_environment_that_a_cluster_offers_needs_a_test_of_its_own() -> None:
    there = [past(cell) for cell in CELLS[:3]]
    coming = list(CELLS[3:])
    other = an_environment("2.15.0")
    where = tuple({past.setting for past in there})
    tested = AnchorEntry(0.0, OLD, NEW, NEW, where, (Anchor("c", "n", where[0], {}, {}, identical=True),))
    found = {each.expected: each for each in meetings(there, coming, lambda _: [told(NEW), told(other)], [tested])}
    assert found.keys() == {NEW, other}
    assert (found[NEW].untested, found[other].untested) == ([], list(where))
    back = replace(tested, old=NEW, expected=OLD, new=OLD)
    (found_back,) = meetings(there, coming, lambda _: [told(NEW)], [back])
    assert found_back.untested == [], "it does not matter which of the two is older"


def test_anchors_on_one_machine_say_nothing_of_a_machine_that_nobody_knows_yet() -> None:
    there = [past(cell) for cell in CELLS[:3]]
    coming = list(CELLS[3:])
    nobody = {**told(NEW), "instruction_set": None, "onednn_isa": None}
    where = tuple({past.setting for past in there})
    tested = AnchorEntry(
        0.0, OLD, Environment.of(nobody), NEW, where, (Anchor("c", "n", where[0], {}, {}, identical=True),)
    )
    (meeting,) = meetings(there, coming, lambda _: [nobody], [tested])
    assert meeting.untested == list(where)
    (meeting,) = meetings(there, coming, lambda _: [told(NEW)], [tested])
    assert meeting.untested == []


def test_two_environments_are_tested_once_although_each_has_old_and_new_cells() -> None:
    coming = [cell for cell in CELLS if (cell.loss, cell.backbone) == (CELLS[0].loss, CELLS[0].backbone)]
    both = [past(coming[0]), replace(past(coming[1]), environment=NEW)]
    (meeting,) = meetings(both, coming, lambda _: [told(OLD), told(NEW)], ())
    assert {meeting.old, meeting.expected} == {OLD, NEW}


def test_other_code_of_a_loss_concerns_the_cells_of_that_loss_in_all_settings() -> None:
    there = [past(cell) for cell in CELLS]
    coming = [cell for cell in CELLS if (cell.backbone, cell.loss) == ("resnet8", "softmax")]
    (meeting,) = meetings(there, coming, lambda _: [told(OLD, loss="bb")], ())
    assert (meeting.old, meeting.expected) == (LossCode("softmax", "aa"), LossCode("softmax", "bb"))
    assert meeting.settings == (("digits", "resnet20"), ("digits", "resnet8"))
    assert not meetings(there, coming, lambda _: [told(OLD)], ())


# What they say


def an_entry(*differences: float | None, identical: bool = False, **changes: Any) -> AnchorEntry:
    """Anchors whose uniform accuracy was 0.5; None where one diverges now."""
    tried = tuple(
        Anchor(
            cell=str(number),
            name=f"softmax/resnet8/digits/s{number}",
            setting=("digits", "resnet8"),
            then={"uniform_accuracy": 0.5, "bias_gap": None},
            now=None if difference is None else {"uniform_accuracy": 0.5 + difference, "bias_gap": None},
            identical=identical,
        )
        for number, difference in enumerate(differences)
    )
    return replace(AnchorEntry(0.0, OLD, NEW, NEW, (("digits", "resnet8"),), tried), **changes)


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ([an_entry(0.0, 0.0, 0.0, identical=True)], "identical"),
        ([an_entry(0.0, 0.0, 0.0)], "equivalent"),
        ([an_entry(0.0)], "equivalent"),
        ([an_entry(0.001, 0.0, -0.001)], "equivalent"),
        ([an_entry(0.01, -0.02, 0.01)], "undecided"),
        ([an_entry(0.001)], "undecided"),
        ([an_entry(0.05, 0.05, 0.051)], "shifted"),
        ([an_entry(0.0, 0.0, None)], "shifted"),
        ([an_entry(0.005, -0.005, 0.0)], "undecided"),
        ([an_entry(0.005, -0.005, 0.0), an_entry(0.0, 0.0, 0.0), an_entry(0.0, 0.0, 0.0)], "equivalent"),
    ],
)
def test_anchors_are_identical_equivalent_undecided_or_shifted(entries: list[AnchorEntry], found: Found) -> None:
    outcome = judge(asked(), entries)
    assert outcome is not None
    assert outcome.found == found


def test_without_a_margin_only_equal_results_pool() -> None:
    strict = asked(claims=[{**CLAIM, "margin": 0.0}])
    assert [judge(strict, [an_entry(x, 0.0, 0.0)]).found for x in (0.0, 1e-6)] == ["equivalent", "shifted"]  # pyright: ignore[reportOptionalMemberAccess]


def test_without_a_claim_uniform_accuracy_may_move_by_half_a_point() -> None:
    outcome = judge(asked(claims=[]), [an_entry(0.001, 0.002, 0.0015)])
    assert outcome is not None
    assert str(outcome).endswith("margin 0.5 points")
    assert outcome.found == "equivalent"


def test_the_strictest_of_several_claims_counts() -> None:
    claims = [CLAIM, {**CLAIM, "id": "strict", "margin": 0.002}, {**CLAIM, "id": "gap", "metric": "bias_gap"}]
    assert equivalence.margins(asked(claims=claims)) == {"uniform_accuracy": 0.002, "bias_gap": 0.01}


def test_where_nothing_was_trained_again_nothing_is_said() -> None:
    assert judge(asked(), []) is None
    assert judge(asked(), [an_entry(trusted=True)]) is None


@given(st.lists(st.floats(-0.05, 0.05), min_size=2, max_size=6))
def test_then_and_now_may_change_places(differences: list[float]) -> None:
    forth, back = (judge(asked(), [an_entry(*(sign * x for x in differences))]) for sign in (1, -1))
    assert forth is not None
    assert back is not None
    assert forth.found == back.found
    if forth.found == "equivalent":
        assert abs(np.mean(differences)) <= 0.01


@pytest.mark.slow
def test_looking_often_finds_no_more_often_equal_what_differs_by_the_margin() -> None:
    draw = np.random.default_rng(0)
    runs = 2000
    misled = 0
    for noise in draw.normal(0.01, 0.004, (runs, 4, 3)):  # the true shift is the margin itself
        looks = [an_entry(*row) for row in noise]
        misled += any(judge(asked(), looks[: n + 1]).found == "equivalent" for n in range(4))  # pyright: ignore[reportOptionalMemberAccess]
    print(f"misled in {misled / runs:.2%} of {runs} runs of four looks")
    assert misled / runs <= 0.05


def drawn(
    rng: np.random.Generator, shift: dict[tuple[str, str], float], each: int, noise: float = 0.003
) -> AnchorEntry:
    """Anchors of several losses and backbones that shift apart."""
    tried = [
        Anchor(
            cell=f"{loss}{backbone}{number}",
            name=f"{loss}/{backbone}/digits/s{number}",
            setting=("digits", backbone),
            then={"uniform_accuracy": 0.5},
            now={"uniform_accuracy": 0.5 + by + rng.normal(0, noise)},
            identical=False,
            samples=10_000,
        )
        for (loss, backbone), by in shift.items()
        for number in range(each)
    ]
    return AnchorEntry(0.0, OLD, NEW, NEW, tuple({anchor.setting for anchor in tried}), tuple(tried))


def passes(shift: dict[tuple[str, str], float], each: int, runs: int = 400) -> float:
    """The share of runs in which the anchors pass, with a margin of 0.01."""
    rng = np.random.default_rng(0)
    return float(np.mean([judge(asked(), [drawn(rng, shift, each)]).found == "equivalent" for _ in range(runs)]))  # pyright: ignore[reportOptionalMemberAccess]


LIMIT = 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_losses_that_shift_in_opposite_directions_do_not_cancel_out() -> None:
    assert passes({("softmax", "a"): 0.015, ("bce", "a"): -0.015}, each=12) == 0
    assert passes({("softmax", "a"): 0.01, ("bce", "a"): -0.01}, each=12) <= LIMIT
    assert passes({("softmax", "a"): 0.01, ("bce", "a"): 0.0}, each=12) <= LIMIT


def test_few_settings_that_shift_are_not_hidden_by_many_that_do_not() -> None:
    apart = {("softmax", f"b{number}"): 0.03 if number < 2 else 0.0 for number in range(24)}
    assert passes(apart, each=1) == 0
    apart = {("softmax", f"b{number}"): 0.01 if number < 1 else 0.0 for number in range(24)}
    assert passes(apart, each=1) <= LIMIT


def test_what_does_not_shift_passes_with_anchors_enough() -> None:
    still = {(loss, backbone): 0.0 for loss in ("softmax", "bce") for backbone in ("a", "b")}
    assert passes(still, each=3) > 0.95


def test_a_shift_of_one_loss_is_named() -> None:
    outcome = judge(asked(), [drawn(np.random.default_rng(0), {("softmax", "a"): 0.05, ("bce", "a"): 0.0}, each=12)])
    assert outcome is not None
    assert outcome.found == "shifted"
    assert "softmax +" in str(outcome)


def test_an_anchor_that_lost_its_measure_fails() -> None:
    """Two of three lost, and the third alone would say *equivalent*."""
    entry = an_entry(0.0, 0.0, 0.0)
    gone = tuple(replace(anchor, now={"uniform_accuracy": None}) for anchor in entry.anchors[:2])
    outcome = judge(asked(), [replace(entry, anchors=(*gone, entry.anchors[2]))])
    assert outcome is not None
    assert outcome.found == "shifted"
    assert "softmax/resnet8/digits/s0 has no uniform_accuracy now" in str(outcome)
    everything = judge(asked(), [replace(entry, anchors=gone)])
    assert everything is not None
    assert everything.found == "shifted"


def test_equal_shifts_of_an_accuracy_have_the_floor_of_its_spread() -> None:
    entry = an_entry(0.05, 0.05, 0.05)
    assert judge(asked(), [entry]).found == "undecided"  # pyright: ignore[reportOptionalMemberAccess]
    counted = replace(entry, anchors=tuple(replace(anchor, samples=800) for anchor in entry.anchors))
    assert judge(asked(), [counted]).found == "shifted"  # pyright: ignore[reportOptionalMemberAccess]


# What is kept


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Workspace(tmp_path).drift("grid"))


def test_a_ledger_gives_back_what_it_took(ledger: Ledger) -> None:
    assert ledger.entries() == ()
    one = an_entry(0.1, None)
    two = an_entry(trusted=True, old=replace(OLD, device="NVIDIA H100"))
    ledger.add([one])
    ledger.add([two])
    assert ledger.entries() == (one, two)


@pytest.mark.parametrize("content", ["", "[]", "{", f'{{"version": {VERSION}, "entries": [{{}}]}}', '{"version": "x"}'])
def test_what_is_no_ledger_is_told_with_what_to_do(ledger: Ledger, content: str) -> None:
    place = Path(str(ledger.place))
    place.parent.mkdir()
    place.write_text(content)
    with pytest.raises(DamagedFileError, match=r"grid\.json is not an anchor log: remove it"):
        ledger.entries()


def test_a_ledger_of_a_newer_version_is_left_alone(ledger: Ledger) -> None:
    ledger.add([])
    place = Path(str(ledger.place))
    place.write_text(json.dumps({"version": VERSION + 1, "entries": []}))
    with pytest.raises(NewerFormatError, match="upgrade"):
        ledger.entries()


# What a comparison says


def a_pool(*pairs: OriginPair) -> Pool:
    return Pool((EnvironmentCount(OLD, 12), EnvironmentCount(NEW, 8)), pairs)


def a_pair(
    entry: AnchorEntry | None = None, untested: Sequence[tuple[str, str]] = (), *, trusted: bool = False
) -> OriginPair:
    return OriginPair(OLD, NEW, tuple(untested), judge(asked(), [entry] if entry else []), trusted)


EQUIVALENT = a_pair(an_entry(0.001, 0.0, 0.002))
PAIRS = {
    "torch 2.13.0 → 2.14.0: retraining 3 old cells gave identical results, bit for bit.": a_pair(
        an_entry(0.0, 0.0, 0.0, identical=True)
    ),
    "torch 2.13.0 → 2.14.0: retraining 3 old cells gave equivalent results: uniform_accuracy "
    "+0.10 [-0.15, +0.35] points, margin 1 point.": EQUIVALENT,
    "softmax/resnet8/digits/s2 diverges now.": a_pair(an_entry(0.0, 0.0, None)),
    "torch 2.13.0 → 2.14.0: not tested for resnet8 on digits.": a_pair(None, [("digits", "resnet8")]),
    "torch 2.13.0 → 2.14.0: pooled because of --trust-old.": a_pair(None, [("digits", "resnet8")], trusted=True),
}


@pytest.mark.parametrize("sentence", PAIRS)
def test_every_form_of_a_comparison_says_what_was_found(sentence: str) -> None:
    compared = compare(asked(), [], pool=a_pool(PAIRS[sentence]))
    first = (
        "The cells come from 2 environments: 12 of torch 2.13.0, AVX2, oneDNN AVX2, 1 thread, code aa; "
        "8 of torch 2.14.0, AVX2, oneDNN AVX2, 1 thread, code aa."
    )
    console = Console(file=io.StringIO(), width=1000)
    console.print(terminal.table(compared))
    for text in (console.file.getvalue(), markdown(compared)):  # pyright: ignore[reportAttributeAccessIssue]
        assert first in text
        assert sentence in text
    assert r"torch 2.13.0 $\to$ 2.14.0" in latex(compared)
    (pair,) = document(compared, across_settings.overall(asked(), []))["pool"]["pairs"]
    assert pair["found"] == (PAIRS[sentence].outcome and PAIRS[sentence].outcome.found)


@pytest.mark.parametrize("pair", PAIRS.values())
def test_the_page_says_it_in_both_languages(pair: OriginPair, tmp_path: Path) -> None:
    planned = plan(asked())
    pool = a_pool(pair)
    text = page.render(compare(asked(), [], pool=pool), [], Evaluations(tmp_path), planned)
    for sentence in pool.sentences():
        assert worded(sentence, str) in text
        assert worded(sentence, words().__getitem__) in text


def worded(sentence: Sentence, word: Callable[[str], str]) -> str:
    template, values = sentence
    return word(template).format(
        **{name: worded(value, word) if isinstance(value, tuple) else value for name, value in values.items()}
    )


def test_what_the_sentinel_may_say_is_known_in_japanese() -> None:
    assert {*TOLD.values()} <= words().keys()


@pytest.fixture
def publish(an_account: Callable[..., Any], evaluation: Evaluation) -> Callable[..., None]:
    """Cells that are said to be finished, under what is recorded."""

    def written(evaluations: Evaluations, cells: Sequence[Cell], *, started: float = 0.0, **recorded: Any) -> None:
        for cell in cells:
            account = an_account(cell, provenance=recorded, started=started)
            evaluations.publish(cell.recipe, account, evaluation)

    return written


def test_cells_of_one_environment_need_no_word(tmp_path: Path, publish: Callable[..., None]) -> None:
    planned = plan(asked(seeds=2))
    evaluations = Evaluations(tmp_path / "evaluations")
    publish(evaluations, planned.cells, torch_version="2.14.0")
    assert pooled(planned.experiment, aggregate(planned, evaluations).rows(), Ledger(tmp_path / "none.json")) is None


def test_only_what_stands_in_one_setting_is_pooled(tmp_path: Path, publish: Callable[..., None]) -> None:
    planned = plan(asked(seeds=2))
    evaluations = Evaluations(tmp_path / "evaluations")
    small, large = ([cell for cell in planned.cells if cell.backbone == name] for name in ("resnet8", "resnet20"))
    publish(evaluations, small, torch_version="2.13.0")
    publish(evaluations, large, torch_version="2.14.0", started=1.0)
    apart = pooled(planned.experiment, aggregate(planned, evaluations).rows(), Ledger(tmp_path / "none.json"))
    assert apart is not None
    assert [part.cells for part in apart.parts] == [6, 6]
    assert apart.is_settled
    assert len(apart.told()) == 1
    publish(evaluations, large[:1], torch_version="2.13.0")
    together = pooled(planned.experiment, aggregate(planned, evaluations).rows(), Ledger(tmp_path / "none.json"))
    assert together is not None
    assert not together.is_settled
    assert together.told()[1] == "torch 2.13.0 → 2.14.0: not tested for resnet20 on digits."


# At work

GRID = """\
name: grid
losses: [softmax, bce_unified]
backbones: [resnet8]
datasets: [digits]
seeds: 2
recipe: {epochs: 1, batch_size: 64, learning_rate: 0.1}
baseline: softmax
claims:
  - {id: uniform, metric: uniform_accuracy, challenger: bce_unified, baseline: softmax, direction: higher, margin: 0.01}
"""


class Ran(NamedTuple):
    """What a launch printed, or what it said when it refused."""

    out: str
    refused: str | None


@dataclass
class Bench:
    """A folder with an experiment, and the program."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "grid.yaml"

    @property
    def place(self) -> Workspace:
        return Workspace.at(str(self.folder / "runs"))

    @property
    def evaluations(self) -> Evaluations:
        return Evaluations(self.place.evaluations)

    @property
    def entries(self) -> tuple[AnchorEntry, ...]:
        return Ledger(self.place.drift("grid")).entries()

    def study(self, seeds: int | str, **options: Any) -> Study:
        return Study.of_file(self.file, Stores(self.place), self.folder / "data", seeds=str(seeds), **options)

    def plan(self, seeds: int | str) -> Plan:
        return self.study(seeds).plan

    def launch(
        self,
        seeds: int | str,
        executor: Literal["inline", "ray"] = "inline",
        *,
        trust_old: bool = False,
        only: dict[str, list[str]] | None = None,
    ) -> Ran:
        console = Console(file=io.StringIO(), width=200, highlight=False)
        study = self.study(seeds, **only or {}, only=bool(only))
        study.stores.prepare()
        launch = Launch(study, Compute(executor), console, trust_old=trust_old)
        refused = None
        try:
            launch.run()
        except RequestError as error:
            refused = str(error)
        return Ran(console.file.getvalue(), refused)  # pyright: ignore[reportAttributeAccessIssue]

    def pool(self, seeds: int) -> Pool:
        pool = self.study(seeds).comparison.pool
        assert pool is not None
        return pool

    def age(self, alter: Callable[[Cell], float], **changes: Any) -> None:
        """Give the finished cells another torch and, by as much as `alter` says, lower uniform accuracies."""
        for past in finished(self.plan(2).cells, self.evaluations):
            account = self.evaluations.account(past.cell)
            rows = self.evaluations.evaluation(past.cell)
            recorded = {**account.provenance, "torch_version": "2.0.0", **changes}
            lower = (account.metrics["uniform_accuracy"] or 0.0) - alter(past.cell)
            shifted = replace(account, metrics={**account.metrics, "uniform_accuracy": lower}, provenance=recorded)
            self.evaluations.publish(past.cell.recipe, shifted, rows, self.evaluations.validation(past.cell))
            # Else the rows would be asked, which tell the old figures.
            name = self.evaluations.name(past.cell)
            summaries = Summaries.of(self.evaluations, [name])
            summaries.write(name, self.evaluations.checked(name), splits.digest(rows.sample, rows.label))

    def contents(self) -> dict[str, bytes | None]:
        return {name: self.evaluations.storage.read(name) for name in self.evaluations.names()}

    def attempts(self) -> int:
        with closing(sqlite3.connect(self.folder / "runs" / "registry.db")) as registry:
            return registry.execute("SELECT count(*) FROM attempts").fetchone()[0]


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A grid that was launched."""
    bench = Bench(tmp_path_factory.mktemp("launched"))
    bench.file.write_text(GRID)
    ran = bench.launch(2)
    assert (ran.refused, bench.entries) == (None, ())
    assert len(bench.evaluations.ids()) == 4
    return bench


@pytest.fixture
def bench(launched: Bench, tmp_path: Path) -> Bench:
    """A copy of it."""
    shutil.copytree(launched.folder, tmp_path / "bench")
    return Bench(tmp_path / "bench")


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=pytest.mark.slow)])
def test_old_cells_that_give_the_same_bits_pool_with_new_ones(bench: Bench, executor: str) -> None:
    bench.age(lambda _: 0.0)
    before = bench.contents()
    attempts = bench.attempts()
    ran = bench.launch(3, executor)
    assert ran.refused is None
    now = provenance.machine()["torch_version"]
    assert f"have another environment or code (torch 2.0.0 → {now}): 3 cells will be retrained first." in ran.out
    same = f"torch 2.0.0 → {now}: retraining 3 old cells gave identical results, bit for bit."
    assert same in ran.out
    # Nothing but what was asked for has been added, and nothing changed.
    assert len(bench.evaluations.ids()) == 6
    assert {name: content for name, content in bench.contents().items() if name in before} == before
    assert bench.attempts() == attempts + 2
    runs = Tracking(bench.place.tracking, "grid").runs()
    assert len(runs) == 6
    assert [path.name for path in (bench.folder / "runs" / "drift").iterdir()] == ["grid.json"]
    (entry,) = bench.entries
    assert [anchor.name.partition("/")[0] for anchor in entry.anchors] == ["bce_unified", "softmax", "bce_unified"]
    pool = bench.pool(3)
    assert pool.is_settled
    assert [part.cells for part in pool.parts] == [4, 2]
    assert pool.told()[1:] == [same]


def test_old_cells_of_seeds_that_are_not_asked_for_count_as_well(bench: Bench) -> None:
    bench.age(lambda _: 0.05)
    before = bench.contents()
    ran = bench.launch("2,3")
    assert ran.refused is not None
    assert "3 cells will be retrained first" in ran.out
    assert "retraining 3 old cells gave different results" in ran.refused
    assert bench.contents() == before
    study = bench.study("2,3")
    assert old_cells.outlook(study, study.plan, []) is None
    foreseen = old_cells.outlook(study, study.plan, study.plan.cells)
    assert foreseen is not None
    assert foreseen.anchors == ()
    assert "retraining 3 old cells gave different results" in foreseen.refusals[0]


def test_status_names_old_cells_of_seeds_that_were_not_asked_for_last(bench: Bench) -> None:
    bench.age(lambda _: 0.0)
    for seeds in ("2,3", "2"):
        (said,) = old_cells.outdated(bench.study(seeds))
        assert said.startswith("4 finished cells came from a different environment")


def test_old_cells_on_another_backbone_count_beside_new_code_of_their_loss(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.file.write_text(GRID.replace("[resnet8]", "[resnet8, resnet20]"))
    recoded = {"fingerprints": dict.fromkeys(("loss", "backbone", "dataset", "loop"), "aa")}
    real = environments.origin
    monkeypatch.setattr(environments, "origin", lambda cell, address=None: {**real(cell, address), **recoded})
    ran = bench.launch("0,1", only={"backbone": ["resnet20"]}, trust_old=True)
    assert ran.refused is None
    codes = {entry.old.loss for entry in bench.entries if isinstance(entry.old, LossCode)}
    assert codes == {"softmax", "bce_unified"}


@pytest.mark.parametrize("shift", [0.0, 0.05])
def test_a_replica_of_an_edited_loss_is_trained_only_where_anchors_allow_it(bench: Bench, shift: float) -> None:
    prints = {**fingerprints.recorded(bench.plan(2).cells[0].recipe)["fingerprints"], "loss": "aa"}
    bench.age(lambda _: shift, fingerprints=prints)
    bench.file.write_text(GRID.replace("bce_unified]", "bce_unified, focal]"))
    before = bench.contents()
    ran = bench.launch(2)
    if shift:
        assert ran.refused is not None
        assert "code of loss 'softmax'" in ran.refused
        assert bench.contents() == before
        return
    assert ran.refused is None
    again = bench.evaluations.replicas(bench.plan(2).cells)
    assert {cell.loss for cell in again} == {"softmax"}
    assert not bench.pool(2).left_out & {cell.id for cell in again}


def test_a_replica_meets_other_code_of_its_loss_and_no_other_environment() -> None:
    again = CELLS[0].again_in("0a1b2c3d")
    there = [past(cell) for cell in CELLS]
    (meeting,) = meetings(there, [again], lambda _: [told(NEW, loss="bb")], ())
    assert (meeting.old, meeting.expected) == (LossCode(again.loss, "aa"), LossCode(again.loss, "bb"))


def test_who_trusts_lets_through_what_nothing_waits_beside(bench: Bench) -> None:
    bench.age(lambda _: 0.05)
    assert bench.launch("2,3", trust_old=True).refused is None
    ledger = Ledger(bench.place.drift("grid"))
    bench.evaluations.folder.parent.joinpath("drift", "grid.json").unlink()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(bench.pool(4).left_out) == 4
    assert bench.launch(4).refused is None
    assert ledger.entries() == ()
    ran = bench.launch(4, trust_old=True)
    assert "pooled without a further test because of --trust-old" in ran.out
    assert [entry.trusted for entry in ledger.entries()] == [True]
    assert not bench.pool(4).left_out
    again = bench.launch(4, trust_old=True)
    assert "because of --trust-old" not in again.out
    assert len(ledger.entries()) == 1


def test_what_was_found_once_is_not_asked_again(bench: Bench) -> None:
    bench.age(lambda _: 0.0)
    assert bench.launch(3).refused is None
    ran = bench.launch(4)
    assert ran.refused is None
    assert "trained again" not in ran.out
    assert len(bench.entries) == 1
    assert len(bench.evaluations.ids()) == 8


def test_a_shifted_result_is_caught_before_anything_new_is_trained(bench: Bench) -> None:
    bench.age(lambda _: 0.05)
    before = bench.contents()
    attempts = bench.attempts()
    ran = bench.launch(3)
    assert ran.refused is not None
    first, said, remedies = ran.refused.splitlines()
    assert first == "Old cells cannot be pooled with new ones, so none was added."
    assert "retraining 3 old cells gave different results: uniform_accuracy +5.00 [+4." in said
    assert said.endswith("margin 1 point.")
    for remedy in ("gc --remove --cells", "--workspace", "margin", "--trust-old"):
        assert remedy in remedies
    assert (bench.contents(), bench.attempts()) == (before, attempts)
    # The same launch again knows already; and what the user decides is told from then on.
    again = bench.launch(3)
    assert again.refused == ran.refused
    assert "will be retrained first" not in again.out
    trusting = bench.launch(3, trust_old=True)
    assert trusting.refused is None
    assert "because of --trust-old" in trusting.out
    assert len(bench.evaluations.ids()) == 6
    assert [entry.trusted for entry in bench.entries] == [False, True]
    pool = bench.pool(3)
    assert not pool.is_settled
    assert [f"{said}", pool.told()[-1]] == pool.told()[1:]
    assert "pooled because of --trust-old" in pool.told()[-1]


def test_a_larger_margin_lets_them_pool_without_another_training(bench: Bench) -> None:
    bench.age(lambda _: 0.05)
    assert bench.launch(3).refused is not None
    bench.file.write_text(GRID.replace("margin: 0.01", "margin: 0.99"))
    ran = bench.launch(3)
    assert ran.refused is None
    assert "trained again" not in ran.out
    assert "equivalent" in bench.pool(3).told()[1]


def test_an_undecided_test_goes_on_with_the_next_launch_and_other_cells(bench: Bench) -> None:
    bench.age(lambda cell: 0.05 * (cell.loss == "softmax"))
    ran = bench.launch(3)
    assert ran.refused is not None
    assert "retraining 3 old cells gave results that may differ" in ran.refused
    again = bench.launch(3)
    assert again.refused is not None
    assert "1 cell will be retrained first" in again.out
    assert "4 old cells" in again.refused
    tried = [anchor.cell for entry in bench.entries for anchor in entry.anchors]
    assert {*tried} == {cell.id for cell in bench.plan(2).cells}
    assert len(tried) == 4


def test_who_trusts_asks_no_anchor(bench: Bench) -> None:
    bench.age(lambda _: 0.05)
    ran = bench.launch(3, trust_old=True)
    assert ran.refused is None
    assert "trained again" not in ran.out
    (entry,) = bench.entries
    assert entry.trusted
    assert entry.anchors == ()
    assert "pooled because of --trust-old" in bench.pool(3).told()[1]


def test_a_complete_grid_is_left_alone_however_old(bench: Bench) -> None:
    bench.age(lambda _: 0.05)
    ran = bench.launch(2)
    assert (ran.refused, bench.entries) == (None, ())


def test_anchors_that_fail_are_no_reason_to_go_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.age(lambda _: 0.0)
    monkeypatch.setattr("trainers.datasets.digits.Digits.load", lambda *_: 1 / 0)
    worker.loaded.cache_clear()
    ran = bench.launch(3)
    assert ran.refused is not None
    assert "failed: ZeroDivisionError" in ran.refused
    assert bench.entries == ()
    assert not list((bench.folder / "runs").glob("drift/*"))


# Other code


def recorded(**codes: str) -> dict[str, Any]:
    """What a cell of `OLD` records, with other code of some parts."""
    prints = {**dict.fromkeys(("loss", "backbone", "dataset", "loop"), "aa"), **codes}
    made = {"loss": "my_losses.py", "backbone": "nets 1.0", "dataset": "digits.py", "loop": "core 0.1"}
    return {**told(OLD), "fingerprints": prints, "distributions": made}


def test_two_codes_of_a_loss_are_named_in_all_settings_and_other_losses_are_not(
    tmp_path: Path, publish: Callable[..., None]
) -> None:
    planned = plan(asked(seeds=2))
    evaluations = Evaluations(tmp_path / "evaluations")
    for number, cell in enumerate(planned.cells):
        code = "bb" if (cell.loss, cell.backbone) == ("softmax", "resnet20") else cell.loss
        publish(evaluations, [cell], **recorded(loss=code), started=float(number))
    rows = aggregate(planned, evaluations).rows()
    assert len({row["environment"] for row in rows}) == 1
    pool = pooled(planned.experiment, rows, Ledger(tmp_path / "none.json"))
    assert pool is not None
    assert not pool.is_settled
    (pair,) = pool.pairs
    assert (pair.old, pair.new) in {
        (LossCode("softmax", "softmax"), LossCode("softmax", "bb")),
        (LossCode("softmax", "bb"), LossCode("softmax", "softmax")),
    }
    said, left, _ = pool.told()
    assert said.startswith("code of loss 'softmax' (my_losses.py) changed: not tested for resnet")
    assert left.endswith(": 2 of the cells of loss 'softmax', trained with different code.")


def test_other_code_of_a_backbone_is_another_environment_in_its_settings_alone(
    tmp_path: Path, publish: Callable[..., None]
) -> None:
    planned = plan(asked(seeds=2))
    evaluations = Evaluations(tmp_path / "evaluations")
    for cell in planned.cells:
        code = "bb" if cell.backbone == "resnet20" and cell.seed else cell.backbone
        publish(evaluations, [cell], **recorded(backbone=code), started=float(cell.seed))
    pool = pooled(planned.experiment, aggregate(planned, evaluations).rows(), Ledger(tmp_path / "none.json"))
    assert pool is not None
    said, left, _ = pool.told()
    assert said == "code of the backbone (nets 1.0) changed: not tested for resnet20 on digits."
    assert "3 of the cells, trained in a different environment (code of the backbone" in left


def a_row(state: str = "finished", **codes: str) -> dict[str, Any]:
    named = {"cell_id": "c", "loss": "own", "backbone": "net", "dataset": "digits", "state": state}
    return {**recorded(**codes), **named}


NOW = {
    ("loss", "own"): Code("aa", "my_losses.py"),
    ("backbone", "net"): Code("aa", "nets 1.0"),
    ("dataset", "digits"): Code("aa", "digits.py"),
    ("loop", ""): Code("aa", "core 0.1"),
}


@pytest.mark.parametrize(
    ("rows", "now", "said"),
    [
        ([a_row(), a_row("diverged", loss="bb")], {}, []),
        (
            [a_row(loss="bb")],
            {},
            ["1 finished cell of loss 'own' came from different code (my_losses.py has changed since)."],
        ),
        (
            [a_row(loss="bb"), a_row(loss="cc"), a_row("collapsed", loss="bb"), a_row()],
            {},
            ["3 finished cells of loss 'own' came from different code (my_losses.py has changed since)."],
        ),
        (
            [a_row(backbone="bb", dataset="bb", loop="bb"), a_row(loop="bb"), a_row()],
            {("backbone", "net"): Code("aa", "nets 1.1")},
            [
                (
                    "2 finished cells came from different code: backbone 'net' (nets 1.0 then, nets 1.1 now), "
                    "dataset 'digits' (digits.py has changed since), training loop (core 0.1 has changed since)."
                )
            ],
        ),
        (
            [{**a_row(), "fingerprints": None, "distributions": None}],
            {("backbone", "net"): Code("unknown", "x"), ("dataset", "digits"): Code("unknown", "x")},
            [
                "1 finished cell came from different code: loss 'own', training loop (its code was not recorded).",
            ],
        ),
    ],
)
def test_what_todays_code_has_changed_is_one_sentence(
    rows: list[dict[str, Any]], now: dict[tuple[str, str], Code], said: list[str]
) -> None:
    assert [filled(sentence) for sentence in since(rows, {**NOW, **now})] == said


def test_what_of_code_may_be_said_is_known_in_japanese() -> None:
    assert {*OTHER_CODE.values(), *PARTS.values()} <= words().keys()


def test_changed_code_is_one_warning_of_the_page_with_a_list_of_the_parts(tmp_path: Path) -> None:
    rows = [a_row(backbone="bb", loop="bb"), a_row(loss="bb", loop="bb")]
    pool = Pool((), (), tuple(since(rows, NOW)))
    text = page.render(compare(asked(), [], pool=pool), [], Evaluations(tmp_path), plan(asked()))
    told = "2 finished cells came from different code: "
    assert text.count(told) == 1
    before, _, after = text.partition(told)
    assert before.rpartition("<div")[2].startswith(' class="warning"')
    each = [
        "1 finished cell of loss 'own' came from different code (my_losses.py has changed since).",
        "1 finished cell of backbone 'net' came from different code (nets 1.0 has changed since).",
        "2 finished cells came from a different training loop (core 0.1 has changed since).",
    ]
    items = unescape(after.partition("<ul>")[2].partition("</ul>")[0])
    assert [items.count(sentence) for sentence in each] == [1, 1, 1]
    assert "Show each of the 3" in after
    assert pool.to_json()["changed"] == each


MANY = [f"net{number}" for number in range(12)]


def test_what_no_anchor_tested_is_one_sentence_however_many_changes_there_are() -> None:
    olds = [replace(OLD, backbone=name) for name in MANY]
    pairs = [OriginPair(old, NEW, (("digits", old.backbone),), None, trusted=False) for old in olds]
    (told,) = [sentence for sentence in a_pool(*pairs).sentences() if "ested" in sentence[0]]
    assert len(listed(told)) == 12
    one = replace(a_pool(pairs[0], a_pair()), parts=())
    assert [filled(sentence)[:8] for sentence in one.sentences()] == ["torch 2."]


def test_losses_of_other_code_are_left_out_in_one_sentence() -> None:
    codes = [LossCode(name, "aa") for name in MANY]
    left = [LeftOut(code, replace(code, fingerprint="bb"), ("a", "b")) for code in codes]
    first, _ = said_of(left)
    assert filled(first) == (
        "Left out of every figure and verdict: 24 of the cells, trained with different code "
        "(losses net0, net1, net2, net3, net4, net5, net6, net7, 4 more)."
    )
    assert len(listed(first)) == 12
