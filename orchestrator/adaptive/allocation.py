"""Which cells to run next if claims over several settings decide, too: those that bring a verdict nearer per core hour.

For one setting, for `all` and for `some`, the intervals hold at every number of seeds in each setting, so results may
say where the next seed goes: to the verdict that costs least if means and spreads stay as they are. For `mean`, weights
are fixed, and spread and cost alone share out the seeds of looks that are set beforehand: a share that followed the
effects would move the mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from orchestrator.adaptive.seeds import Setting, Spending, partners
from orchestrator.experiment.claims import Claim
from orchestrator.experiment.plan import Cell
from orchestrator.experiment.questions import Question, followed_together, parts
from orchestrator.outcome import Adopted, Collapsed, Ending, Finished
from orchestrator.pairing.blocks import Row
from orchestrator.pairing.evidence import evidence
from orchestrator.pairing.followed import cost_of, judged, limits, looked_at, may_get_seeds
from orchestrator.sentences import filled, setting_name
from orchestrator.statistics import sequential
from orchestrator.statistics.pairs import Pairs
from orchestrator.statistics.spread import spread
from orchestrator.statistics.verdicts import Verdict

VERDICTS: Sequence[Verdict] = ("supported", "refuted", "equivalent")


class Offer(NamedTuple):
    """Cells that may run next; the least is the best."""

    is_ahead: bool
    """Whether what is on its way already is expected to suffice."""
    seconds: float
    """Core seconds to the verdict, or to the next look; infinite if none is in sight."""
    seed: int
    question: Question
    cells: list[Cell]
    why: str


class Upcoming(NamedTuple):
    """The next cells, and why them."""

    why: str
    seed: int | None = None
    question: Question | None = None
    """What the seed is for; None for the first seeds, which every setting gets."""

    @property
    def sentence(self) -> str:
        """For people."""
        if self.question is None:
            return f"Next: {self.why}."
        setting = filled(setting_name(self.question.dataset, self.question.backbone))
        return f"Next: seed {self.seed} of {setting}, for {self.question.claim.id}: {self.why}."

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        asked = self.question
        place = {"dataset": asked and asked.dataset, "backbone": asked and asked.backbone}
        return {
            "sentence": self.sentence,
            "why": self.why,
            "seed": self.seed,
            **place,
            "claim": asked and asked.claim.id,
        }


class Road(NamedTuple):
    """The way to a verdict over several settings: the seeds that each still needs."""

    verdict: Verdict
    needed: list[int | None]
    """Per setting, beyond those on their way; None if the verdict is out of sight there."""
    is_any: bool
    """Whether one setting suffices, rather than all being needed."""

    def seconds(self, costs: Sequence[float]) -> float:
        """What it costs."""
        each = [math.inf if n is None else n * cost for n, cost in zip(self.needed, costs, strict=True)]
        return min(each) if self.is_any else math.fsum(each)


class Allocation(Spending):
    """Requests cells where they decide, or in all settings of a claim alike (`allocation` of the seed rule).

    For arguments see `Spending`. Seeds run ahead if workers are free; that may cost cells but never misleads.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._pairs: dict[Question, Pairs] = {}
        super().__init__(*args, **options)
        self._claims = followed_together(self._experiment)
        self._limits = limits(self._experiment)
        self._cost = cost_of(self._experiment, self._partners)

    def upcoming(self) -> Upcoming | None:
        """Where the next cells go, and why; None if none will be asked for."""
        if self._first:
            return Upcoming(f"the first {self._rule.min} seeds of every setting")
        best = min(self._offers(), default=None, key=_rank)
        if best is None:
            return None
        return Upcoming(best.why, best.seed, best.question)

    def sentences(self) -> Iterator[str]:
        """How many seeds each setting has so far, and which claims are undecided, there or over several settings."""
        yield from super().sentences()
        for claim in self._claims:
            seeds = [self._there(question) for question in self._of(claim)]
            number = f"{seeds[0]}" if len(set(seeds)) == 1 else f"{min(seeds)} to {max(seeds)}"
            state = "decided" if self._is_decided(claim) else "undecided"
            yield f"{claim.id} over {claim.over}: {number} seeds per setting, {state}"

    def heard(self, event: Ending | Adopted) -> list[Cell]:
        """Record how a cell ended; return the further cells to run. What a cell cost is in its file."""
        if isinstance(event, Finished) and not event.cell.environment:
            event = Adopted(event.cell, "collapsed" if isinstance(event, Collapsed) else "finished")
        return super().heard(event)

    def _judged(self, setting: Setting) -> list[Question]:
        self._pairs = {question: pairs for question, pairs in self._pairs.items() if _setting(question) != setting}
        return super()._judged(setting)

    def _asked(self, settings: object) -> list[Cell]:
        del settings
        given: list[Cell] = []
        while sum(map(len, self._out.values())) < self._room and (best := min(self._offers(), default=None, key=_rank)):
            given += self._give(best.cells)
        return given

    # What is offered

    def _offers(self) -> Iterator[Offer]:
        open_claims = [claim for claim in self._claims if not self._is_decided(claim)]
        if self._experiment.allocation == "equal":
            for claim, questions in self._open_together(open_claims):
                yield from self._alike(claim, questions)
            return
        for undecided in self._undecided.values():
            for question in undecided:
                yield from self._of_one(question)
        for claim in open_claims:
            yield from (self._of_look if claim.over == "mean" else self._of_several)(claim)

    def _open_together(self, open_claims: Sequence[Claim]) -> Iterator[tuple[Claim, list[Question]]]:
        """Each claim that some setting leaves open, with the questions of all its settings."""
        for claim in open_claims:
            yield claim, self._of(claim)
        every = [question for questions in self._questions.values() for question in questions]
        for claim in dict.fromkeys(question.claim.id for found in self._undecided.values() for question in found):
            own = [question for question in every if question.claim.id == claim]
            yield own[0].claim, own

    def _alike(self, claim: Claim, questions: Sequence[Question]) -> Iterator[Offer]:
        """The next seed of the setting that has fewest."""
        for question in sorted(questions, key=self._has):
            if cells := self._next(question):
                yield self._offer(question, claim, cells, "all its settings get the same seeds")
                return

    def _of_one(self, question: Question) -> Iterator[Offer]:
        """The next pair of a question about one setting."""
        needed: dict[Verdict, int | None] = {
            verdict: self._needed(question, verdict, self._alpha) for verdict in VERDICTS
        }
        known: dict[Verdict, int] = {verdict: seeds for verdict, seeds in needed.items() if seeds is not None}
        if not (cells := self._next(question)):
            return
        if not known:
            yield self._offer(question, question.claim, cells, OUT_OF_SIGHT)
            return
        nearest = min(known, key=lambda verdict: known[verdict])
        seconds = known[nearest] * self._cost(question)
        yield self._offer(question, question.claim, cells, _near(nearest, known[nearest]), seconds)

    def _of_look(self, claim: Claim) -> Iterator[Offer]:
        """The lowest seed that the next look at a mean lacks."""
        look = looked_at(claim, parts(claim, self._experiment), self._partners, self._limits, self._cost)
        lacking = {question: number - self._has(question) for question, number in look.wanted.items()}
        lacking = {question: number for question, number in lacking.items() if number > 0}
        seconds = math.fsum(number * self._cost(question) for question, number in lacking.items())
        total = sum(lacking.values())
        why = f"the look at {look.each} seeds per setting lacks {total}, shared out by spread and cost"
        offers = [(cells[0].seed, place) for place, each in enumerate(lacking) if (cells := self._next(each))]
        if offers:
            question = list(lacking)[min(offers)[1]]
            yield self._offer(question, claim, self._next(question), why, seconds)

    def _of_several(self, claim: Claim) -> Iterator[Offer]:
        """The next pair on the cheapest road to a verdict on all settings, or on some."""
        questions = self._of(claim)
        costs = [self._cost(question) for question in questions]
        road = min(
            (self._road(claim, questions, verdict) for verdict in VERDICTS), key=lambda each: each.seconds(costs)
        )
        seconds = road.seconds(costs)
        if math.isfinite(seconds):
            left = [math.inf if n is None else n * cost for n, cost in zip(road.needed, costs, strict=True)]
            # Where one setting suffices, the nearest; where all are needed, the farthest: it can still go wrong there.
            order = sorted(range(len(questions)), key=lambda place: left[place] if road.is_any else -left[place])
            number = road.needed[order[0]] if road.is_any else sum(n or 0 for n in road.needed)
            why = _near(road.verdict, number or 0)
        else:
            asked = set(may_get_seeds(claim, self._experiment, self._partners, self._alpha))
            fewest = sorted(range(len(questions)), key=lambda place: self._has(questions[place]))
            order = [place for place in fewest if questions[place] in asked]
            why = OUT_OF_SIGHT
        for question in (questions[place] for place in order):
            if cells := self._next(question):
                yield self._offer(question, claim, cells, why, seconds)
                return

    def _road(self, claim: Claim, questions: Sequence[Question], verdict: Verdict) -> Road:
        is_any = verdict == {"all": "refuted", "some": "supported"}[claim.over]
        alpha = self._alpha / len(questions) if is_any else self._alpha
        return Road(verdict, [self._needed(question, verdict, alpha) for question in questions], is_any)

    def _offer(self, question: Question, claim: Claim, cells: list[Cell], why: str, seconds: float = math.inf) -> Offer:
        return Offer(seconds == 0, seconds, cells[0].seed, question._replace(claim=claim), cells, why)

    # What is known

    def _of(self, claim: Claim) -> list[Question]:
        """The questions of a claim over several settings."""
        return [question for part in parts(claim, self._experiment) for question in part.questions]

    def _needed(self, question: Question, verdict: Verdict, alpha: float) -> int | None:
        """The pairs beyond those on their way after which a verdict is expected; None if it is out of sight."""
        pairs = self._evidence(question)
        values = pairs.complete
        if not values:
            return None
        mean = math.fsum(values) / len(values)
        last = self._rule.max - pairs.lost
        deviation = float(spread(values, pairs.step))
        reach = _reach(question.claim, verdict, mean)
        least = min(self._rule.min, last - 1)
        found = sequential.needed(reach, deviation, len(values), least=least, most=last, alpha=alpha)
        return None if found is None else max(0, found - len(values) - self._under_way(question))

    def _is_decided(self, claim: Claim) -> bool:
        found = judged(claim, self._experiment, self._partners, self._cost).judgement.levels
        return found.verdict(self._alpha) != "undecided"

    def _partners(self, question: Question) -> tuple[list[Row], list[Row]]:
        rows = {key: [*self._rows[key].values(), *self._replicas[key]] for key in question.measures}
        return partners(question, rows)

    def _evidence(self, question: Question) -> Pairs:
        if question not in self._pairs:
            self._pairs[question] = evidence(question.claim, *self._partners(question), ())
        return self._pairs[question]

    def _there(self, question: Question) -> int:
        """Pairs that are there, lost ones among them."""
        return len(self._evidence(question).challenger)

    def _has(self, question: Question) -> int:
        """Pairs that are there or on their way."""
        return self._there(question) + self._under_way(question)

    def _under_way(self, question: Question) -> int:
        """Pairs whose missing cells are all being trained."""
        seeds = set[int]().union(*(self._out[key] for key in question.measures))
        lacking = [self._lacking(question, seed) for seed in seeds]
        return sum(
            bool(keys) and all(seed in self._out[key] for key in keys)
            for seed, keys in zip(seeds, lacking, strict=True)
            if keys is not None
        )


OUT_OF_SIGHT = "no verdict is in sight if the differences stay as they are, so an open setting with fewest seeds"


def _near(verdict: Verdict, seeds: int) -> str:
    number = f"{seeds} more {'seed' if seeds == 1 else 'seeds'}"
    return f"'{verdict}' is nearest per core hour, {number} away if the differences stay as they are"


def _rank(offer: Offer) -> tuple[bool, float, int]:
    return offer[:3]


def _setting(question: Question) -> Setting:
    return question.dataset, question.backbone


def _reach(claim: Claim, verdict: Verdict, mean: float) -> float:
    """The widest half of an interval around a mean that still gives a verdict."""
    margin = claim.tolerance
    outside = {"higher": mean - margin, "lower": -mean - margin, "equal": margin - abs(mean)}[claim.direction]
    if verdict == "supported":
        return outside
    if claim.direction == "equal":
        return abs(mean) - margin if verdict == "refuted" else 0.0
    return (
        {"higher": -mean - margin, "lower": mean - margin}[claim.direction]
        if verdict == "refuted"
        else margin - abs(mean)
    )
