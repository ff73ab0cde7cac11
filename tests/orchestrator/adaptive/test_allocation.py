"""The next cells go where they decide: claims over several settings ask for seeds, and verdicts stay as sure."""

from __future__ import annotations

import re
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks import allocation, allocation_over
from orchestrator.adaptive.allocation import Allocation
from orchestrator.adaptive.seeds import Spending
from orchestrator.analysis.comparison import Comparison, compare
from orchestrator.errors import ExperimentError
from orchestrator.experiment.looks import planned
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, Plan, plan
from orchestrator.outcome import Adopted, Attempt, Finished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.allocation import Array
    from orchestrator.experiment.seed_rule import Allocation as Allocated

LEAST = 5
MOST = 20

CLAIM = {
    "id": "better",
    "metric": "uniform_accuracy",
    "challenger": "b",
    "baseline": "a",
    "direction": "higher",
    "margin": 0.0,
}


def asked(over: str = "all", allocation: str | None = "decisive", **fields: Any) -> Experiment:
    seeds = {"min": LEAST, "max": MOST, "until": "decided", "allocation": allocation}
    document = {
        "name": "x",
        "losses": [{"name": "bce_unified", "as": label, "bias_init": at} for at, label in enumerate(("a", "b"))],
        "backbones": ["resnet8", "resnet20", "vgg11_small"],
        "datasets": ["digits"],
        "seeds": {name: value for name, value in seeds.items() if value is not None},
        "baseline": "a",
        "claims": [{**CLAIM, "over": over}],
    }
    return Experiment.model_validate({**document, **fields})


SPREADS = {"resnet8": 0.01, "resnet20": 0.01, "vgg11_small": 0.01}


def value(cell: Cell, ahead: dict[str, float], spreads: dict[str, float] = SPREADS) -> float:
    noise = float(np.random.default_rng([cell.seed, *cell.loss.encode(), *cell.backbone.encode()]).normal())
    return 0.8 + spreads[cell.backbone] * noise + (ahead[cell.backbone] if cell.loss == "b" else 0)


def rows_of(values: Callable[[Cell], float], seconds: dict[str, float] | None = None) -> Callable[[Cell], Any]:
    def row(cell: Cell) -> dict[str, Any]:
        axes = {axis: getattr(cell, axis) for axis in ("dataset", "backbone", "loss", "seed")}
        took = (seconds or {}).get(cell.backbone, 10.0)
        return {**axes, "state": "finished", "uniform_accuracy": values(cell), "train_seconds": took}

    return row


def launched(
    experiment: Experiment, row: Callable[[Cell], Any], done: Iterable[Cell] = (), room: int = 1
) -> tuple[list[Cell], Allocation, Comparison]:
    """Everything that a launch runs beside what is done, and the comparison it ends with."""
    before = list(done)
    left = plan(experiment).pending({cell.id for cell in before})
    rule = Allocation(left, [row(cell) for cell in before], room, row)
    waiting = deque(rule.first())
    ran = list[Cell]()
    while waiting:
        ran.append(cell := waiting.popleft())
        waiting += rule.heard(Finished(cell, Attempt("here", 0.0, 1.0), {}))
    return ran, rule, compare(experiment, [row(cell) for cell in (*before, *ran)])


def seeds(cells: Iterable[Cell]) -> dict[str, int]:
    return Counter(cell.backbone for cell in cells if cell.loss == "b")


CLEAR = {"resnet8": 0.05, "resnet20": 0.05, "vgg11_small": 0.05}
AGAINST = {**CLEAR, "vgg11_small": -0.05}
WEAK = {**CLEAR, "vgg11_small": 0.015}


def test_for_all_further_seeds_go_to_the_setting_that_is_open() -> None:
    ran, _, comparison = launched(asked(), rows_of(lambda cell: value(cell, WEAK)))
    found = seeds(ran)
    assert found["resnet8"] < 9
    assert found["resnet20"] < 9
    assert found["vgg11_small"] > found["resnet8"] + 3
    assert len(comparison.findings) == 1


def test_for_all_one_setting_that_refutes_ends_it() -> None:
    ran, rule, comparison = launched(asked(), rows_of(lambda cell: value(cell, AGAINST)))
    (finding,) = comparison.findings
    assert finding.verdict == "refuted"
    assert seeds(ran)["resnet8"] == seeds(ran)["resnet20"] == LEAST
    assert [*rule.sentences()][-1].endswith(" seeds per setting, decided")
    assert rule.upcoming() is None


def test_for_all_a_setting_that_supports_it_gets_no_more_where_another_stays_open() -> None:
    ahead = {**CLEAR, "vgg11_small": 0.0}
    ran, rule, comparison = launched(asked(), rows_of(lambda cell: value(cell, ahead)))
    assert comparison.findings[0].verdict == "undecided"
    assert seeds(ran)["vgg11_small"] == MOST
    assert max(seeds(ran)["resnet8"], seeds(ran)["resnet20"]) < 12
    assert rule.upcoming() is None
    assert all(line.planned == line.finished for line in comparison.lines)


def test_for_some_the_nearest_setting_decides() -> None:
    ahead = {"resnet8": 0.0, "resnet20": 0.05, "vgg11_small": 0.0}
    ran, _, comparison = launched(asked("some"), rows_of(lambda cell: value(cell, ahead)))
    assert comparison.findings[0].verdict == "supported"
    assert seeds(ran)["resnet8"] == seeds(ran)["vgg11_small"] == LEAST < seeds(ran)["resnet20"]


NOISY = {"resnet8": 0.002, "resnet20": 0.002, "vgg11_small": 0.03}
SLIGHT = {"resnet8": 0.004, "resnet20": 0.004, "vgg11_small": 0.004}


def test_for_the_mean_seeds_follow_spread_and_not_effects() -> None:
    one, _, _ = launched(asked("mean"), rows_of(lambda cell: value(cell, SLIGHT, NOISY)))
    found = seeds(one[: 2 * 3 * 10])
    assert found["vgg11_small"] > found["resnet8"]
    moved = {"resnet8": 0.0045, "resnet20": 0.0038, "vgg11_small": 0.0037}
    other, _, _ = launched(asked("mean"), rows_of(lambda cell: value(cell, moved, NOISY)))
    shorter = min(len(one), len(other))
    assert one[:shorter] == other[:shorter]


def test_for_the_mean_dear_seeds_are_fewer() -> None:
    row = rows_of(lambda cell: value(cell, dict.fromkeys(CLEAR, 0.001)), {"resnet8": 640.0})
    ran, _, _ = launched(asked("mean"), row)
    assert seeds(ran[: 2 * (9 + 20 + 20)]) == {"resnet8": 9, "resnet20": 20, "vgg11_small": 20}


def test_equal_allocation_gives_all_settings_of_a_claim_the_same_seeds() -> None:
    for over in ("each", "all", "mean"):
        ran, _, _ = launched(asked(over, "equal"), rows_of(lambda cell: value(cell, WEAK)))
        found = seeds(ran).values()
        assert max(found) - min(found) <= 1


@pytest.mark.parametrize("over", ["all", "some", "mean"])
@pytest.mark.parametrize("stop", [0, 11, 37])
def test_a_launch_that_was_interrupted_goes_on_with_the_same_cells(over: str, stop: int) -> None:
    row = rows_of(lambda cell: value(cell, WEAK, {**SPREADS, "resnet8": 0.03}))
    whole, _, once = launched(asked(over), row)
    after, _, again = launched(asked(over), row, whole[:stop])
    assert {cell.id for cell in (*whole[:stop], *after)} == {cell.id for cell in whole}
    assert [each.verdict for each in once.findings] == [each.verdict for each in again.findings]


@pytest.mark.parametrize("over", ["all", "some", "mean"])
def test_what_the_launch_calls_decided_the_comparison_does_too(over: str) -> None:
    for ahead in (CLEAR, AGAINST, WEAK, dict.fromkeys(CLEAR, 0.0)):
        _, rule, comparison = launched(asked(over), rows_of(lambda cell, ahead=ahead: value(cell, ahead)))
        told = [*rule.sentences()][-1].rpartition(", ")[2]
        assert (comparison.findings[0].verdict == "undecided") == (told == "undecided")
        assert comparison.missing == 0


def test_where_free_workers_run_ahead_the_verdict_is_the_same() -> None:
    row = rows_of(lambda cell: value(cell, WEAK))
    assert [each.verdict for each in launched(asked(), row, room=8)[2].findings] == [
        each.verdict for each in launched(asked(), row)[2].findings
    ]


def test_the_next_cells_are_named_with_the_reason() -> None:
    experiment = asked()
    row = rows_of(lambda cell: value(cell, WEAK))
    first = [cell for cell in plan(experiment).cells if cell.seed < LEAST]
    rule = Allocation(plan(experiment).pending({cell.id for cell in first}), [row(cell) for cell in first], 1, row)
    upcoming = rule.upcoming()
    assert upcoming is not None
    assert re.fullmatch(
        r"Next: seed 5 of vgg11_small on digits, for better: 'supported' is nearest per core hour, \d+ more seeds away "
        r"if the differences stay as they are\.",
        upcoming.sentence,
    )
    said = {"seed": 5, "dataset": "digits", "backbone": "vgg11_small", "claim": "better"}
    assert upcoming.to_json() == {"sentence": upcoming.sentence, "why": upcoming.why, **said}
    first_of_all = Allocation(plan(experiment), [], 1, row).upcoming()
    assert first_of_all is not None
    assert first_of_all.sentence == "Next: the first 5 seeds of every setting."
    assert first_of_all.to_json()["seed"] is None
    assert first_of_all.to_json()["claim"] is None
    mean = asked("mean")
    rule = Allocation(plan(mean).pending({cell.id for cell in first}), [row(cell) for cell in first], 1, row)
    told = rule.upcoming()
    assert told is None or "the look at 10 seeds per setting lacks" in told.why


def test_without_allocation_a_file_with_a_claim_on_single_settings_is_as_before() -> None:
    claims = [CLAIM, {**CLAIM, "id": "everywhere", "over": "all"}]
    before = asked(allocation=None, claims=claims)
    assert before.allocation is None
    assert planned(before, before) == "{min: 5, max: 20, until: decided}"
    assert before.model_dump(mode="json")["seeds"] == {"min": 5, "max": 20, "until": "decided"}
    rule = Spending(plan(before), [], 1, rows_of(lambda _: 0.5))
    assert len(rule.first()) == 2 * 3 * LEAST


def test_a_file_whose_claims_are_all_over_several_settings_has_its_cells_where_they_decide() -> None:
    assert asked(allocation=None).allocation == "decisive"
    assert asked(allocation="equal").allocation == "equal"
    assert planned(asked(), asked()) == "{min: 5, max: 20, until: decided, allocation: decisive}"


def test_claims_that_cannot_be_followed_still_ask_for_no_seeds() -> None:
    with pytest.raises((ExperimentError, ValueError), match="No claim can decide the number of seeds"):
        asked(claims=[{**CLAIM, "over": "all", "family": "secondary"}])


def test_a_cell_that_another_launch_settled_counts_as_if_it_had_run_here() -> None:
    row = rows_of(lambda cell: value(cell, WEAK))
    here = Allocation(plan(asked()), [], 1, row)
    there = Allocation(plan(asked()), [], 1, row)
    waiting = deque(here.first())
    assert there.first() == list(waiting)
    while waiting:
        cell = waiting.popleft()
        further = here.heard(Finished(cell, Attempt("here", 0.0, 1.0), {}))
        assert there.heard(Adopted(cell, "finished")) == further
        waiting += further


def test_a_plan_is_not_asked_for_more_than_its_most() -> None:
    ran, rule, comparison = launched(asked("mean"), rows_of(lambda cell: value(cell, dict.fromkeys(CLEAR, 0.0))))
    assert isinstance(Plan(asked(), tuple(ran)), Plan)
    assert set(seeds(ran).values()) == {MOST}
    assert rule.upcoming() is None
    assert comparison.findings[0].difference.n == MOST


def test_a_saving_is_reported_where_it_is_negative() -> None:
    experiments = {way: asked("mean", way) for way in allocation.WAYS}
    row = rows_of(lambda cell: value(cell, dict.fromkeys(CLEAR, 0.015)))
    cells = {
        (cell.dataset, cell.backbone, cell.loss, cell.seed): {**row(cell), "threads": 1}
        for cell in plan(experiments["equal"]).cells
    }
    equal, decisive = (allocation.Replay.of([experiment], cells) for experiment in experiments.values())
    # With equally many seeds it is decided at the eighth; looks by spread and cost are at 5, 10 and 20.
    assert (equal.decided, decisive.decided) == (1, 1)
    assert equal.hours == pytest.approx(2 * 3 * 8 * 10 / 3600)
    assert decisive.hours > equal.hours
    told = allocation.row("x", "mean", 1, equal, decisive).split(" | ")
    assert float(told[5].removesuffix(" %")) == pytest.approx(-100 * (decisive.hours / equal.hours - 1), abs=0.05)


@pytest.mark.parametrize("scope", ["all", "some"])
@pytest.mark.parametrize("way", allocation.WAYS)
def test_the_simulation_of_errors_follows_the_rule_of_a_launch_seed_by_seed(
    scope: allocation_over.Scope, way: Allocated
) -> None:
    backbones = ("resnet8", "resnet20", "vgg11_small")
    costs = (4.0, 2.0, 1.0)
    experiment = asked(scope, way)
    ends = set[str]()
    for number, shift in enumerate((-2.0, -0.8, 0.0, 0.0, 0.8, 2.0)):
        noise = np.random.default_rng(number).normal(size=(3, MOST))
        drawn = np.array([[0.5], [1.0], [2.0]]) * (noise + shift * np.array([[1.0], [1.0], [0.5]]))

        def found(cell: Cell, drawn: Array = drawn) -> float:
            return drawn[backbones.index(cell.backbone), cell.seed] if cell.loss == "b" else 0.0

        ran, _, comparison = launched(experiment, rows_of(found, dict(zip(backbones, costs, strict=True))))
        settings = [allocation_over.Setting(each, cost, MOST) for each, cost in zip(drawn, costs, strict=True)]
        end = allocation_over.followed(settings, scope, way)
        assert [seeds(ran)[backbone] for backbone in backbones] == end.sizes
        assert comparison.findings[0].verdict == end.verdict
        ends.add(end.verdict)
    assert ends == {"supported", "refuted", "undecided"}
