"""Which seeds to run next if the claims decide their number: as few as they need.

Each claim in each setting (dataset x backbone) is a question. Combined claims, secondary claims and claims about
user-defined measures request no seeds: they are decided once, after the last seed. A question is looked at whenever a
pair of seeds is complete. Its interval holds at all looks together and, because alpha is divided beforehand
(Bonferroni), for all questions together. Holm's correction does not apply here, because it compares the p-values of
a single look.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from orchestrator.experiment.claims import Claim
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import Cell, Plan
from orchestrator.experiment.questions import Key, Question, followed, verdicts
from orchestrator.experiment.seed_rule import Sequential
from orchestrator.outcome import Adopted, Diverged, Ending, Finished, Lost, Stopped, has_figures
from orchestrator.pairing.blocks import Row, is_cell, met
from orchestrator.pairing.evidence import evidence
from orchestrator.statistics import sequential
from orchestrator.statistics.intervals import Interval
from orchestrator.statistics.pairs import judge_at_look
from orchestrator.statistics.verdicts import Verdict

ALPHA = 0.05
"""The probability that any of the verdicts is wrong."""

Setting = tuple[str, str]


def by_seed(rows: Iterable[Row], metric: str) -> dict[int, float]:
    """A measure of the cells with figures, by seed; cells for which it is undefined are left out."""
    return {row["seed"]: row[metric] for row in rows if _has(row, metric)}


def _has(row: Row | None, metric: str) -> bool:
    return row is not None and has_figures(row["state"]) and row.get(metric) is not None


def partners(question: Question, rows: Mapping[Key, Collection[Row]]) -> tuple[list[Row], list[Row]]:
    """The results that answer a question: those of the challenger, and those of the baseline in the same blocks.

    Cells whose partner has no result yet are included, because a diverged cell makes no pair in any case. If the claim
    is about the challenger alone, there are no results of a baseline.

    Args:
        question: A claim in a setting.
        rows: The results, including those of replicas.
    """
    setting = (question.dataset, question.backbone)
    claim = question.claim
    challenger = rows.get((*setting, claim.challenger), ())
    if claim.baseline is None:
        return [row for row in challenger if is_cell(row)], []
    baseline = rows.get((*setting, claim.baseline), ())
    mine, theirs = met(challenger, baseline)
    return [*mine, *_alone(challenger, baseline)], [*theirs, *_alone(baseline, challenger)]


def _alone(rows: Iterable[Row], others: Iterable[Row]) -> list[Row]:
    there = {row["seed"] for row in others}
    return [row for row in rows if is_cell(row) and row["seed"] not in there]


def look(
    claim: Claim, challenger: Collection[Row], baseline: Collection[Row], rule: Sequential, alpha: float = ALPHA
) -> Interval:
    """The mean of the claim's measure or difference, with an interval that holds at all looks together.

    A seed whose cell diverged or lacks the measure never makes a pair, so the last look has fewer pairs than there are
    seeds.

    Args:
        claim: What is asked.
        challenger: The challenger's results in one setting, as `partners` finds them.
        baseline: The baseline's there; none if the claim is about the challenger alone.
        rule: The least and the most seeds.
        alpha: The probability that any look misleads.
    """
    pairs = evidence(claim, challenger, baseline, ())
    most = rule.max - pairs.lost
    # The last of several looks needs the rule for several, so at least two looks are assumed.
    return sequential.interval(pairs.complete, min(rule.min, most - 1), most, alpha, pairs.step)


def decided(
    claim: Claim, challenger: Collection[Row], baseline: Collection[Row], rule: Sequential, alpha: float = ALPHA
) -> Verdict:
    """The verdict at a look; it must also hold with lost cells at their worst value. For arguments see `look`."""
    pairs = evidence(claim, challenger, baseline, ())
    return judge_at_look(pairs, claim.direction, claim.tolerance, least=rule.min, most=rule.max, alpha=alpha)


class Spending:
    """Requests cells seed by seed, until the results decide the claims.

    The first seeds of all cells are requested at once. After that, an undecided question
    requests its next pair when the previous one is complete. If workers are free, further
    pairs are requested, lowest seeds first. The intervals hold at every look, so running
    ahead may cost cells but never misleads. A restart with the results so far requests the
    same cells. Not safe to use from several threads; a queue calls it one at a time.

    Args:
        left: The cells that can be run; cells of its experiment that are neither here nor in
            `rows` have failed.
        rows: The results so far, as in the results table.
        room: How many cells run at once.
        recall: Returns the results table's row of a done cell: its state, measures and environment.
        replicas: The results of replicas so far.
        whole: The experiment as in its file; alpha is divided among all its questions, even if flags leave some out.

    Raises:
        ValueError: The experiment's number of seeds is fixed.
    """

    def __init__(
        self,
        left: Plan,
        rows: Iterable[Row],
        room: int,
        recall: Callable[[Cell], Row],
        replicas: Iterable[Row] = (),
        *,
        whole: Experiment | None = None,
    ) -> None:
        if left.experiment.sequence is None:
            raise ValueError(f"Experiment '{left.experiment.name}' has a fixed number of seeds")
        self._experiment = left.experiment
        self._rule = left.experiment.sequence
        self._room = room
        self._recall = recall
        self._rows: defaultdict[Key, dict[int, Row]] = defaultdict(dict)
        for row in rows:
            self._rows[row["dataset"], row["backbone"], row["loss"]][row["seed"]] = row
        self._replicas: defaultdict[Key, list[Row]] = defaultdict(list)
        for row in replicas:
            self._replicas[row["dataset"], row["backbone"], row["loss"]].append(row)
        self._left: defaultdict[Key, dict[int, Cell]] = defaultdict(dict)
        for cell in left.cells:
            self._left[_key(cell)][cell.seed] = cell
        self._out: defaultdict[Key, set[int]] = defaultdict(set)
        self._first = [cell for cell in left.cells if cell.seed < self._rule.min]
        self._questions: defaultdict[Setting, list[Question]] = defaultdict(list)
        for question in followed(left.experiment):
            self._questions[question.dataset, question.backbone].append(question)
        asked = (left.experiment, whole or left.experiment)
        self._alpha = ALPHA / max(1, *(verdicts(each, "primary") for each in asked))
        self._undecided = {setting: self._judged(setting) for setting in self._questions}

    def first(self) -> list[Cell]:
        """The cells to start with; none if everything is decided."""
        given = self._give(self._first)
        self._first = []
        return given + self._asked(self._undecided)

    def heard(self, event: Ending | Adopted) -> list[Cell]:
        """Record how a cell ended; return the further cells to run."""
        match event:
            case Lost() | Stopped():
                return []  # it will be retried, or the launch is stopping
            case Finished(metrics=measures):
                found = {"state": "finished", **measures, **_where(event)}
            case Diverged():
                found = {"state": "diverged", **_where(event)}
            case Adopted(state="finished" | "collapsed" | "diverged" as state):
                found = {**self._recall(event.cell), "state": state}
            case _:
                found = None
        key = _key(event.cell)
        seed = event.cell.seed
        row = found and {**found, "seed": seed}
        if event.cell.environment:
            self._replicas[key] += [row] if row else []
        else:
            self._out[key].discard(seed)
            self._rows[key] |= {seed: row} if row else {}
        setting = key[:2]
        self._undecided[setting] = self._judged(setting)
        return self._asked([setting])

    def sentences(self) -> Iterator[str]:
        """How many seeds each setting has used so far, and which claims are undecided there."""
        for setting, undecided in self._undecided.items():
            keys = {key for question in self._questions[setting] for key in question.measures}
            seeds = len({seed for key in keys for seed in self._rows[key]})
            state = f"undecided: {', '.join(question.claim.id for question in undecided)}" if undecided else "decided"
            if keys:
                yield f"{setting[1]} on {setting[0]}: {seeds} of at most {self._rule.max} seeds, {state}"

    def _judged(self, setting: Setting) -> list[Question]:
        return [question for question in self._questions[setting] if self._verdict(question) == "undecided"]

    def _verdict(self, question: Question) -> Verdict:
        claim = question.claim
        rows = {key: [*self._rows[key].values(), *self._replicas[key]] for key in question.measures}
        return decided(claim, *partners(question, rows), self._rule, self._alpha)

    def _asked(self, settings: Iterable[Setting]) -> list[Cell]:
        given: list[Cell] = []
        for setting in settings:
            for question in self._undecided[setting]:
                if not self._is_waiting(question):
                    given += self._give(self._next(question))
        while sum(map(len, self._out.values())) < self._room:
            offers = [self._next(question) for undecided in self._undecided.values() for question in undecided]
            if not any(offers):
                break
            given += self._give(min(filter(None, offers), key=lambda cells: cells[0].seed))
        return given

    def _give(self, cells: list[Cell]) -> list[Cell]:
        for cell in cells:
            del self._left[_key(cell)][cell.seed]
            self._out[_key(cell)].add(cell.seed)
        return cells

    def _is_waiting(self, question: Question) -> bool:
        """Whether a pair of this question is being trained."""
        for seed in set[int]().union(*(self._out[key] for key in question.measures)):
            lacking = self._lacking(question, seed)
            if lacking and not any(seed in self._left[key] for key in lacking):
                return True
        return False

    def _next(self, question: Question) -> list[Cell]:
        """The cells that complete the pair of the lowest seed not yet requested; none if there is no such pair.

        If none of the first seeds can make a complete pair, later seeds are not tried: they would be lost as well.
        """
        if not any(self._can_pair(question, seed) for seed in range(self._rule.min)):
            return []
        for seed in sorted(set[int]().union(*(self._left[key] for key in question.measures))):
            lacking = self._lacking(question, seed) or ()
            if cells := [self._left[key][seed] for key in lacking if seed in self._left[key]]:
                return cells
        return []

    def _can_pair(self, question: Question, seed: int) -> bool:
        """Whether a seed has, or may still get, a pair with both values."""
        if self._lacking(question, seed) is None:
            return False
        found = [(self._rows[key].get(seed), metrics) for key, metrics in question.measures.items()]
        return all(_has(row, metric) for row, metrics in found if row is not None for metric in metrics)

    def _lacking(self, question: Question, seed: int) -> list[Key] | None:
        """The cells that a seed still needs to make a pair; None if one of them can no longer be trained."""
        lacking = [key for key in question.measures if seed not in self._rows[key]]
        return lacking if all(seed in self._left[key] or seed in self._out[key] for key in lacking) else None


def _where(event: Finished | Diverged) -> Row:
    return {"environment": event.environment, "started": event.attempt.started, "cell_id": event.cell.id}


def _key(cell: Cell) -> Key:
    return cell.dataset, cell.backbone, cell.loss
