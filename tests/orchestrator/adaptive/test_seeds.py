"""More seeds only where a claim is undecided: the error stays at alpha, seeds are saved, and no core is idle."""

from __future__ import annotations

import itertools
import math
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from orchestrator.adaptive.seeds import ALPHA, Spending, look
from orchestrator.analysis.comparison import Comparison, compare
from orchestrator.execution.inline import Inline
from orchestrator.execution.queue import RETRIES, Queue
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, Plan, plan
from orchestrator.experiment.questions import questions
from orchestrator.outcome import Adopted, Attempt, Diverged, Ending, Failed, Finished, Lost, Started, Stopped
from orchestrator.statistics.power import seeds_to_decide
from trainers.metrics import MEASURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

LEAST = 5
MOST = 30

BETTER = {
    "id": "better",
    "metric": "uniform_accuracy",
    "challenger": "b",
    "baseline": "a",
    "direction": "higher",
    "margin": 0.0,
}


def asked(**fields: Any) -> Experiment:
    """Losses a (the baseline), b and c on two backbones, and the claim that b is better than a."""
    document = {
        "name": "x",
        "losses": [
            {"name": "bce_unified", "as": label, "bias_init": number} for number, label in enumerate(("a", "b", "c"))
        ],
        "backbones": ["resnet8", "resnet20"],
        "datasets": ["digits"],
        "seeds": {"min": LEAST, "max": MOST, "until": "decided"},
        "baseline": "a",
        "claims": [BETTER],
    }
    return Experiment.model_validate({**document, **fields})


EVERYWHERE = asked()


def noise(cell: Cell, run: int = 0) -> float:
    """The same number for the same cell, normal over cells."""
    name = [run, cell.seed, *cell.loss.encode(), *cell.backbone.encode()]
    return float(np.random.default_rng(name).normal())


def clear_on_resnet8(cell: Cell) -> float:
    """B is far better than a on resnet8, and just as good on resnet20."""
    return 0.8 + 0.01 * noise(cell) + (0.1 if (cell.loss, cell.backbone) == ("b", "resnet8") else 0)


def measures(value: float) -> dict[str, float | None]:
    return {**dict.fromkeys(MEASURES), "uniform_accuracy": value, "sample_wise_accuracy": value}


def row(cell: Cell, value: float) -> dict[str, Any]:
    axes = {axis: getattr(cell, axis) for axis in ("dataset", "backbone", "loss", "seed")}
    return {**axes, "state": "finished", **measures(value)}


def finished(cell: Cell, value: float) -> Finished:
    return Finished(cell, Attempt("here", 0.0, 1.0), measures(value))


def unknown(cell: Cell) -> Mapping[str, float | None]:
    raise AssertionError(cell)


def spending(left: Plan, rows: Iterable[Mapping[str, Any]] = (), room: int = 1, recall: Any = unknown) -> Spending:
    return Spending(left, rows, room, recall)


def seeds_of(cells: Iterable[Cell]) -> dict[tuple[str, str], int]:
    """How many seeds of each loss on each backbone."""
    return Counter((cell.loss, cell.backbone) for cell in cells)


@dataclass
class Formula:
    """A worker that does not train: every outcome is written down."""

    measure: Callable[[Cell], float]
    ran: list[Cell] = field(default_factory=list)

    def run(self, cell: Cell, tell: Callable[[Any], None]) -> Ending:
        tell(Started(cell, "here", 0.0))
        self.ran.append(cell)
        return finished(cell, self.measure(cell))


def launched(
    experiment: Experiment, measure: Callable[[Cell], float], rows: list[dict[str, Any]] | None = None
) -> tuple[list[Cell], Spending, Comparison]:
    """Everything that a launch runs on the rows it finds, and the comparison it ends with."""
    rows = [] if rows is None else rows
    done = {(each["loss"], each["backbone"], each["seed"]) for each in rows}
    whole = plan(experiment)
    left = Plan(experiment, tuple(c for c in whole.cells if (c.loss, c.backbone, c.seed) not in done))
    rule = spending(left, rows)
    worker = Formula(measure)
    Inline(worker).run(Queue(rule.first(), more=rule.heard), lambda event: None)  # pyright: ignore[reportArgumentType]
    rows += [row(cell, measure(cell)) for cell in worker.ran]
    return worker.ran, rule, compare(experiment, rows)


# A launch


@pytest.fixture(scope="module")
def launch() -> tuple[list[Cell], Spending, Comparison]:
    return launched(EVERYWHERE, clear_on_resnet8)


def test_a_setting_that_is_decided_early_stops_and_another_runs_to_the_last_seed(launch: Any) -> None:
    ran, rule, comparison = launch
    seeds = seeds_of(ran)
    assert LEAST < seeds["b", "resnet8"] < 10
    assert seeds["b", "resnet20"] == seeds["a", "resnet20"] == MOST
    assert {f.backbone: f.verdict for f in comparison.findings} == {"resnet8": "supported", "resnet20": "undecided"}
    assert list(rule.sentences()) == [
        f"resnet8 on digits: {seeds['b', 'resnet8']} of at most 30 seeds, decided",
        "resnet20 on digits: 30 of at most 30 seeds, undecided: better",
    ]


def test_seeds_pair_and_a_loss_of_which_no_claim_speaks_gets_the_first_ones_alone(launch: Any) -> None:
    seeds = seeds_of(launch[0])
    assert seeds["a", "resnet8"] == seeds["b", "resnet8"]
    assert seeds["c", "resnet8"] == seeds["c", "resnet20"] == LEAST


def test_every_cell_runs_once_and_seeds_run_in_their_order(launch: Any) -> None:
    ran = launch[0]
    assert len({cell.id for cell in ran}) == len(ran)
    later = [cell.seed for cell in ran if cell.backbone == "resnet20" and cell.seed >= LEAST]
    assert later == sorted(later)


def test_a_cell_that_was_never_asked_for_is_not_missing(launch: Any) -> None:
    comparison = launch[2]
    assert comparison.missing == 0
    assert all(line.planned == line.finished for line in comparison.lines)
    assert comparison.sequence == EVERYWHERE.sequence
    assert comparison.to_json()["sequence"] == {"min": LEAST, "max": MOST, "until": "decided"}


def test_the_comparison_decides_where_the_launch_did_and_not_one_seed_before(launch: Any) -> None:
    ran = launch[0]
    last = max(cell.seed for cell in ran if cell.backbone == "resnet8")
    rows = [row(cell, clear_on_resnet8(cell)) for cell in ran if cell.seed < last]
    before = compare(EVERYWHERE, rows)
    assert {finding.verdict for finding in before.findings if finding.backbone == "resnet8"} == {"undecided"}


def test_launched_again_nothing_that_is_decided_runs() -> None:
    rows: list[dict[str, Any]] = []
    launched(EVERYWHERE, clear_on_resnet8, rows)
    again, rule, _ = launched(EVERYWHERE, clear_on_resnet8, rows)
    assert again == []
    assert len(list(rule.sentences())) == 2


@pytest.mark.parametrize("stop", [0, 7, 31, 45])
def test_a_launch_that_was_interrupted_goes_on_and_runs_no_more_than_one_that_was_not(launch: Any, stop: int) -> None:
    before = launch[0][:stop]
    after, _, comparison = launched(EVERYWHERE, clear_on_resnet8, [row(c, clear_on_resnet8(c)) for c in before])
    assert {cell.id for cell in (*before, *after)} == {cell.id for cell in launch[0]}
    assert len(before) + len(after) == len(launch[0])
    assert comparison.to_json() == launch[2].to_json()  # where there is no number, NaN is no other NaN's equal


def test_of_what_was_interrupted_only_what_comes_next_is_missing() -> None:
    rows = [row(cell, clear_on_resnet8(cell)) for cell in plan(EVERYWHERE).cells if cell.seed < LEAST]
    comparison = compare(EVERYWHERE, rows)
    assert {line.loss: line.planned for line in comparison.lines} == {"a": LEAST + 1, "b": LEAST + 1, "c": LEAST}
    assert comparison.missing == 4


def test_cells_of_more_seeds_than_were_needed_are_used_and_not_missing() -> None:
    rows = [row(cell, clear_on_resnet8(cell)) for cell in plan(EVERYWHERE).cells if cell.seed < 12]
    comparison = compare(EVERYWHERE, rows)
    assert {finding.difference.n for finding in comparison.findings} == {12}
    assert {line.planned for line in comparison.lines if line.backbone == "resnet8"} == {12}


def test_a_seed_that_failed_below_those_that_finished_is_missing() -> None:
    cells = [cell for cell in plan(EVERYWHERE).cells if cell.seed < 12]
    rows = [row(cell, clear_on_resnet8(cell)) for cell in cells if (cell.loss, cell.seed) != ("b", 7)]
    lines = {(line.loss, line.backbone): line for line in compare(EVERYWHERE, rows).lines}
    assert (lines["b", "resnet8"].planned, lines["b", "resnet8"].finished) == (12, 11)


def test_a_verdict_stands_for_all_questions_together_and_says_what_it_would_be_alone() -> None:
    rows = [row(cell, 0.5 * clear_on_resnet8(cell) + 0.4) for cell in plan(EVERYWHERE).cells if cell.seed < 7]
    many = asked(claims=[{**BETTER, "id": f"better-{number}"} for number in range(50)])
    (one, _) = compare(EVERYWHERE, rows).findings
    others = compare(many, rows).findings[::2]
    assert (one.verdict, one.alone) == ("supported", "supported")
    assert {(each.verdict, each.alone) for each in others} == {("undecided", "supported")}
    assert {each.difference for each in others} == {one.difference}


def test_what_is_undecided_at_the_last_seed_would_need_more(launch: Any) -> None:
    (needed,) = (finding.seeds_needed for finding in launch[2].findings if finding.verdict == "undecided")
    assert needed is None or needed > MOST


def test_the_advice_at_a_look_is_at_the_share_of_alpha_that_the_last_look_has() -> None:
    """Half of alpha is for the last look, and it is divided among two claims."""
    experiment = asked(claims=[BETTER, {**BETTER, "id": "other", "challenger": "c"}], backbones=["resnet8"])
    cells = [cell for cell in plan(experiment).cells if cell.seed < 9]
    rows = [row(cell, 0.8 + 0.01 * noise(cell) + (0.006 if cell.loss == "b" else 0)) for cell in cells]
    finding = compare(experiment, rows).findings[0]
    value = {(each["loss"], each["seed"]): each["uniform_accuracy"] for each in rows}
    differences = [value["b", seed] - value["a", seed] for seed in range(9)]
    mean = float(np.mean(differences))
    deviation = float(np.std(differences, ddof=1))
    expected, at_half, at_twice = (seeds_to_decide(mean, deviation, alpha=ALPHA / parts) for parts in (4, 8, 2))
    assert (finding.verdict, finding.seeds_needed) == ("undecided", expected)
    assert expected not in {None, at_half, at_twice}


# What is asked for


def settle(rule: Spending, cells: Iterable[Cell], measure: Callable[[Cell], float] = clear_on_resnet8) -> list[Cell]:
    return [further for cell in cells for further in rule.heard(finished(cell, measure(cell)))]


def test_at_first_all_cells_of_the_first_seeds_are_asked_for() -> None:
    assert seeds_of(spending(plan(EVERYWHERE)).first()) == seeds_of(
        cell for cell in plan(EVERYWHERE).cells if cell.seed < LEAST
    )


def test_where_there_is_room_seeds_are_asked_for_ahead_the_lowest_first() -> None:
    rule = spending(plan(EVERYWHERE), room=36)
    ahead = rule.first()[30:]
    assert [(cell.loss, cell.backbone, cell.seed) for cell in ahead] == [
        (loss, backbone, seed)
        for seed, backbone in ((5, "resnet8"), (5, "resnet20"), (6, "resnet8"))
        for loss in ("b", "a")
    ]


def test_a_claim_about_one_loss_asks_for_that_loss_alone() -> None:
    claim = {"id": "near", "metric": "uniform_accuracy", "challenger": "c", "within": 0.8}
    further = settle(rule := spending(plan(asked(claims=[claim]))), rule.first())
    assert {cell.loss for cell in further} == {"c"}


def test_several_claims_share_the_cells_they_both_need() -> None:
    claims = [BETTER, {**BETTER, "id": "other", "challenger": "c"}]
    further = settle(rule := spending(plan(asked(claims=claims))), rule.first(), lambda cell: 0.8 + 0.01 * noise(cell))
    assert sorted((cell.loss, cell.backbone, cell.seed) for cell in further) == [
        (loss, backbone, LEAST) for loss in ("a", "b", "c") for backbone in ("resnet20", "resnet8")
    ]


def test_a_claim_of_one_loss_under_two_measures_is_asked_for_like_any_other() -> None:
    claim = {**BETTER, "challenger": "a", "metric": "uniform_accuracy", "baseline_metric": "sample_wise_accuracy"}
    further = settle(rule := spending(plan(asked(claims=[claim]))), rule.first())
    assert {(cell.loss, cell.seed) for cell in further} == {("a", LEAST)}


def test_a_pair_whose_one_cell_has_failed_is_replaced_by_the_next_seed_and_never_completed() -> None:
    whole = plan(EVERYWHERE)
    rule = spending(whole)
    b, a = [cell for cell in settle(rule, rule.first()) if cell.backbone == "resnet20"]
    further = rule.heard(Failed(b, Attempt("here", 0.0, 1.0), "no", ""))
    assert [(cell.loss, cell.backbone, cell.seed) for cell in further] == [
        ("b", "resnet20", LEAST + 1),
        ("a", "resnet20", LEAST + 1),
    ]
    rows = [row(cell, clear_on_resnet8(cell)) for cell in whole.cells if cell.seed < LEAST]
    left = whole.pending({cell.id for cell in whole.cells if cell.seed < LEAST} | {b.id})
    assert a.id not in {cell.id for cell in spending(left, rows).first()}


def test_a_diverged_cell_makes_no_pair_and_the_last_look_is_at_one_pair_fewer() -> None:
    """And a verdict has to stand with it at accuracy 0, too."""

    def values(cell: Cell) -> float:
        return 0.8 + 0.01 * noise(cell) + (0.006 if cell.loss == "b" else 0)

    cells = [cell for cell in plan(EVERYWHERE).cells if cell.backbone == "resnet8"]
    rows = [row(cell, values(cell)) for cell in cells]
    rows = [{**each, "state": "diverged"} if (each["loss"], each["seed"]) == ("b", 3) else each for each in rows]
    (question, _) = questions(EVERYWHERE)
    rule = EVERYWHERE.sequence
    assert rule is not None
    challenger, baseline = ([each for each in rows if each["loss"] == loss] for loss in "ba")
    found = look(question.claim, challenger, baseline, rule)
    pairs = [b["uniform_accuracy"] - a["uniform_accuracy"] for a, b in zip(baseline, challenger, strict=True)]
    once = ttest_1samp([*pairs[:3], *pairs[4:]], 0).confidence_interval(1 - ALPHA / 2)
    assert found.n == MOST - 1
    assert (found.low, found.high) == pytest.approx((once.low, once.high))
    finding = compare(EVERYWHERE, rows).findings[0]
    assert (finding.verdict, finding.withheld, finding.lost) == ("undecided", "lost", 1)
    assert finding.at_worst is not None
    assert finding.at_worst.low < 0 < finding.difference.low


def test_a_claim_whose_first_seeds_give_no_pair_is_not_pursued() -> None:
    claim = {**BETTER, "metric": "bias_gap"}
    further = settle(rule := spending(plan(asked(claims=[claim]))), rule.first())
    assert further == []
    assert all("undecided: better" in sentence for sentence in rule.sentences())


def test_the_partner_of_a_diverged_cell_is_trained_since_the_pair_counts_as_the_worst() -> None:
    rule = spending(plan(EVERYWHERE))
    b, a = [cell for cell in settle(rule, rule.first()) if cell.backbone == "resnet20"]
    rule.heard(Diverged(b, Attempt("here", 0.0, 1.0), 3))
    further = rule.heard(finished(a, clear_on_resnet8(a)))
    assert {(cell.loss, cell.seed) for cell in further} == {("b", LEAST + 1), ("a", LEAST + 1)}


def test_what_is_lost_or_stopped_is_followed_by_nothing() -> None:
    rule = spending(plan(EVERYWHERE))
    cell = rule.first()[0]
    assert rule.heard(Lost(cell, Attempt("here", 0.0, 1.0), "node", "it went", "")) == []
    assert rule.heard(Stopped(cell, Attempt("here", 0.0, 1.0))) == []


def test_what_another_launch_has_settled_counts_as_if_it_had_run_here() -> None:
    def recall(cell: Cell) -> dict[str, float | None]:
        return measures(clear_on_resnet8(cell))

    here = spending(plan(EVERYWHERE))
    there = spending(plan(EVERYWHERE), recall=recall)
    waiting = deque(here.first())
    assert there.first() == list(waiting)
    states = itertools.cycle(["finished", "collapsed"])
    while waiting:
        cell = waiting.popleft()
        further = here.heard(finished(cell, clear_on_resnet8(cell)))
        assert there.heard(Adopted(cell, next(states))) == further
        waiting += further
    assert list(there.sentences()) == list(here.sentences())
    assert [sentence.rpartition(", ")[2] for sentence in here.sentences()] == ["decided", "undecided: better"]


def test_a_cell_that_diverged_in_another_launch_is_followed_by_nothing() -> None:
    told = spending(plan(EVERYWHERE), recall=lambda _: {})
    answers = [told.heard(Adopted(cell, "diverged")) for cell in told.first()]
    assert answers == [[]] * 30


def test_an_experiment_of_a_fixed_number_of_seeds_is_refused() -> None:
    with pytest.raises(ValueError, match="Experiment 'x' has a fixed number of seeds"):
        spending(plan(asked(seeds=3)))


# Several at once


@pytest.mark.parametrize("room", [1, 2, 8, 64])
def test_no_core_is_idle_while_a_claim_is_undecided_and_the_verdicts_stay(room: int, launch: Any) -> None:
    """Cells end in any order; as many run as there is room for while there is anything left to ask."""
    rule = spending(plan(EVERYWHERE), room=room)
    rng = np.random.default_rng(0)
    queue = Queue(rule.first(), more=rule.heard, most=room)
    running = list[Cell]()
    ran = list[Cell]()
    while not queue.over:
        while ticket := queue.take():
            running.append(ticket.cell)
            ran.append(ticket.cell)
        undecided = any("undecided" in sentence for sentence in rule.sentences())
        asked_all = seeds_of(ran)["b", "resnet20"] == MOST
        assert len(running) == room or asked_all or not undecided
        cell = running.pop(int(rng.integers(len(running))))
        queue.ended(finished(cell, clear_on_resnet8(cell)))
    comparison = compare(EVERYWHERE, [row(cell, clear_on_resnet8(cell)) for cell in ran])
    assert [f.verdict for f in comparison.findings] == [f.verdict for f in launch[2].findings]
    assert comparison.missing == 0
    print(f"room {room}: {len(ran)} cells against {len(launch[0])} without running ahead")
    assert len(ran) <= len(launch[0]) + room


def test_a_cell_that_is_lost_once_too_often_does_not_stop_the_others() -> None:
    experiment = asked(backbones=["resnet8"])
    rule = spending(plan(experiment))
    now = iter(range(10**9))
    queue = Queue(rule.first(), more=rule.heard, clock=lambda: float(100 * next(now)))
    while not queue.over:
        if (ticket := queue.take()) is None:
            continue
        if ticket.cell.seed == 6:
            queue.ended(Lost(ticket.cell, Attempt("here", 0.0, 1.0), "memory", "none left", ""))
        else:
            queue.ended(finished(ticket.cell, 0.8 + 0.01 * noise(ticket.cell)))
    assert RETRIES["memory"] == 1
    assert list(rule.sentences()) == ["resnet8 on digits: 29 of at most 30 seeds, undecided: better"]


# How often it errs, and what it saves

PLACES = {"a": 0, "b": 1, "c": 2, "resnet8": 0, "resnet20": 1}


def grid(most: int) -> Plan:
    """Two claims on two backbones: four questions."""
    claims = [BETTER, {**BETTER, "id": "other", "challenger": "c"}]
    return plan(asked(claims=claims, seeds={"min": LEAST, "max": most, "until": "decided"}))


def spent(whole: Plan, effect: float, run: int, room: int) -> tuple[bool, int, int]:
    """Whether any question was ever decided, how many are in the end, and the number of cells that took.

    Pairs differ by `effect` on average, with a standard deviation of 1 over seeds.
    """
    values = np.random.default_rng([7, run]).normal(size=(3, 2, MOST)) / math.sqrt(2)
    values[1:] += effect
    rule = spending(whole, room=room)
    waiting = deque(rule.first())
    ever = False
    count = 0
    while waiting:
        cell = waiting.popleft()
        count = count + 1
        waiting += rule.heard(finished(cell, values[PLACES[cell.loss], PLACES[cell.backbone], cell.seed]))
        ever = ever or undecided(rule) < 4
    return ever, 4 - undecided(rule), count


def undecided(rule: Spending) -> int:
    return sum(sentence.count("better") + sentence.count("other") for sentence in rule.sentences())


@pytest.mark.parametrize("room", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_without_a_difference_at_most_alpha_of_all_experiments_ever_find_one(room: int) -> None:
    """The rule itself is tried in far more runs beside its formula."""
    runs = 300
    whole = grid(most=12)
    misled = np.mean([spent(whole, 0.0, run, room)[0] for run in range(runs)])
    print(f"room {room}: {misled:.4f} of {runs} experiments of four questions ever found what is not there")
    assert misled <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)


@pytest.mark.parametrize(("effect", "power", "most"), [(1.0, 0.9, 140), (2.0, 1.0, 75), (4.0, 1.0, 55)])
def test_seeds_are_saved_against_the_fixed_design(effect: float, power: float, most: float) -> None:
    whole = grid(MOST)
    found = np.array([spent(whole, effect, run, 1) for run in range(40)])
    decided = found[:, 1].mean() / 4
    cells = found[:, 2].mean()
    saved = 100 * (1 - cells / len(whole))
    print(f"effect {effect}: power {decided:.2f} with {cells:.0f} of {len(whole)} cells, {saved:.0f} % saved")
    assert decided >= power
    assert cells <= most


# Claims that are decided once, at the last look

FOLLOWED = {**BETTER, "id": "followed"}
ONCE: dict[str, dict[str, Any]] = {
    "mean": {**BETTER, "over": "mean"},
    "all": {**BETTER, "over": "all"},
    "some": {**BETTER, "over": "some"},
    "than": {**BETTER, "where": {"backbone": "resnet8"}, "than": {"backbone": "resnet20"}},
    "trend": {**BETTER, "trend": {"backbone": {"resnet8": 2, "resnet20": 1}}},
    "secondary": {**BETTER, "family": "secondary"},
}


def far_ahead(cell: Cell) -> float:
    """B is far ahead everywhere, and more so on resnet8."""
    ahead = {"resnet8": 0.2, "resnet20": 0.1}[cell.backbone] if cell.loss == "b" else 0.0
    return 0.6 + 0.005 * noise(cell) + ahead


@pytest.mark.parametrize("kind", ONCE)
def test_what_cannot_be_followed_is_decided_once_no_seeds_are_to_come(kind: str) -> None:
    seeds = {"min": 9, "max": MOST, "until": "decided"}
    experiment = asked(claims=[{**ONCE[kind], "id": "once"}, FOLLOWED], seeds=seeds)
    ran, _, comparison = launched(experiment, far_ahead)
    alone, _, _ = launched(asked(claims=[FOLLOWED, {**FOLLOWED, "id": "another"}], seeds=seeds), far_ahead)
    verdicts = {finding.claim.id: finding for finding in comparison.findings}
    assert (verdicts["once"].verdict, verdicts["once"].is_last) == ("supported", True)
    assert not verdicts["followed"].is_last
    assert max(seeds_of(ran).values()) <= max(seeds_of(alone).values()), "no seeds are added for it"
    before = [row(cell, far_ahead(cell)) for cell in ran if cell.seed < LEAST]
    found = [finding for finding in compare(experiment, before).findings if finding.is_last]
    assert {(each.verdict, each.alone, each.withheld) for each in found} == {("undecided", "undecided", "open")}


def test_alpha_is_divided_among_all_primary_claims_whether_they_are_followed_or_not() -> None:
    """Of seven seeds, at the share of one of three questions; the level is the one of any number of seeds."""
    experiment = asked(claims=[FOLLOWED, {**ONCE["mean"], "id": "once"}])
    rows = [row(cell, far_ahead(cell)) for cell in plan(experiment).cells if cell.seed < 9]
    once = next(finding for finding in compare(experiment, rows).findings if finding.is_last)
    value = {(each["loss"], each["backbone"], each["seed"]): each["uniform_accuracy"] for each in rows}
    means = [
        np.mean([value["b", backbone, seed] - value["a", backbone, seed] for backbone in ("resnet8", "resnet20")])
        for seed in range(9)
    ]
    distance = float(np.mean(means) / np.std(means, ddof=1) * 3)
    ratio = (8 + distance**2) / (8 + distance**2 / 10)
    assert once.p == pytest.approx(3 * 2 * math.sqrt(10) * ratio**-4.5)
    assert once.difference.n == 9


def test_a_secondary_claim_waits_for_a_primary_one_that_stays_open() -> None:
    experiment = asked(claims=[FOLLOWED, {**ONCE["secondary"], "id": "once", "where": {"backbone": "resnet8"}}])
    _, _, comparison = launched(experiment, clear_on_resnet8)
    once = next(finding for finding in comparison.findings if finding.is_last)
    assert (once.verdict, once.alone, once.waits) == ("undecided", "supported", True)


def test_questions_that_flags_leave_out_take_their_share_of_alpha_nevertheless() -> None:
    """So a launch that is narrowed stops where a whole one does."""
    whole = asked(claims=[{**BETTER, "id": f"better-{number}"} for number in range(20)])
    narrow = asked(claims=[{**BETTER, "id": "better-0"}], backbones=["resnet8"])
    rows = [row(cell, clear_on_resnet8(cell)) for cell in plan(narrow).cells if cell.seed < 7]
    left = Plan(narrow, tuple(cell for cell in plan(narrow).cells if cell.seed >= 7))
    sentences = [*Spending(left, rows, 1, unknown, whole=whole).sentences(), *spending(left, rows).sentences()]
    assert [sentence.rpartition(", ")[2] for sentence in sentences] == ["undecided: better-0", "decided"]
    assert [compare(narrow, rows, whole=each).findings[0].verdict for each in (whole, narrow)] == [
        "undecided",
        "supported",
    ]
