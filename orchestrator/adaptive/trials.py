"""The tuning stage: which recipes to try for each loss, backbone and dataset, and which of them won.

A trial is a cell that is scored on its validation split, with a file like any other. The stage keeps no other state:
the same files give the same trials and the same winners. A searcher sees scores in the order of its trials, not in the
order in which they finished, so its choices do not depend on timing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from orchestrator.adaptive.optuna_search import learning
from orchestrator.errors import DamagedFileError, RequestError
from orchestrator.experiment.claims import Where
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.operation import MEASURES as OPERATING
from orchestrator.experiment.overrides import Override, given
from orchestrator.experiment.plan import Cell, Contents, Plan, digest_in, identity, plan, weights_in
from orchestrator.experiment.space import Domain
from orchestrator.experiment.tuning import Search, Trial, Tuning, Values, own_space
from orchestrator.outcome import Adopted, Diverged, Ending, Finished, has_figures
from orchestrator.records.files.class_names import called
from orchestrator.records.files.evaluations import Evaluations
from orchestrator.records.files.storage import in_parallel
from orchestrator.records.files.summaries import Summaries
from orchestrator.sentences import counted
from orchestrator.thresholds.operating_point import measures_of_trial
from trainers.recipe import Recipe
from trainers.seeds import stable_random

REDUCTION = 3
"""`asha` keeps the best third of the recipes and trains it three times longer."""

RUNGS = 3
"""The number of rungs of `asha`; the last one has the full number of epochs."""

Recall = Callable[[Sequence[Cell]], Mapping[str, float]]

WORST = -math.inf
"""The score of a recipe that diverged or for which the measure is undefined."""


class Competitor(NamedTuple):
    """What is tuned: a loss on a backbone and a dataset, given by their labels."""

    loss: str
    backbone: str
    dataset: str


class Tried(NamedTuple):
    """A trial with its score. Higher is better for every measure; `WORST` if it diverged."""

    number: int
    values: Values
    epochs: int
    score: float
    """The mean over seeds."""
    by_seed: tuple[float, ...]
    """The score for each seed, in the order of seeds."""


@dataclass(frozen=True)
class Tuned:
    """How one competitor was tuned: all scored trials, in the order in which they were proposed."""

    competitor: Competitor
    space: Mapping[str, Domain]
    tried: tuple[Tried, ...]
    winner: Tried | None
    """None while trials are missing."""

    @property
    def whole(self) -> tuple[Tried, ...]:
        """The trials that were trained for the most epochs."""
        most = max((tried.epochs for tried in self.tried), default=0)
        return tuple(tried for tried in self.tried if tried.epochs == most)


@dataclass
class _Contest:
    """The search for one competitor's recipe, and its state so far."""

    competitor: Competitor
    space: Mapping[str, Domain]
    search: Search
    cells_of: Callable[[Trial], list[Cell]]
    batch: list[tuple[Trial, list[Cell]]] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)

    def go_on(self, scores: Mapping[str, float]) -> list[Cell]:
        """Continue the search as far as the known scores (by cell id) allow; return the cells that it needs next."""
        asked: list[Cell] = []
        told: list[float] | None = None
        while True:
            if self.batch:
                if not all(cell.id in scores for _, cells in self.batch for cell in cells):
                    return asked
                found = [
                    (trial, tuple(scores[cell.id] for cell in sorted(cells, key=lambda cell: cell.seed)))
                    for trial, cells in self.batch
                ]
                told = [sum(by_seed) / len(by_seed) for _, by_seed in found]
                self.tried += [
                    Tried(*trial, score, by_seed) for (trial, by_seed), score in zip(found, told, strict=True)
                ]
            try:
                trials = next(self.search) if told is None else self.search.send(told)
            except StopIteration:
                self.batch = []
                return asked
            self.batch = [(trial, self.cells_of(trial)) for trial in trials]
            asked += [cell for _, cells in self.batch for cell in cells]

    def ended(self) -> Tuned:
        """The outcome; of equally good trials, the first wins."""
        tuned = Tuned(self.competitor, self.space, tuple(self.tried), None)
        over = not self.batch and tuned.whole
        return replace(tuned, winner=max(tuned.whole, key=lambda tried: tried.score)) if over else tuned


class Trials:
    """Proposes the cells of an experiment's tuning stage. Not safe to use from several threads.

    Args:
        experiment: With `tuning`.
        recall: Returns the scores of the given cells that are done, by id.
        contents: What the data sets hold.
    """

    def __init__(self, experiment: Experiment, recall: Recall, contents: Contents | None = None) -> None:
        if experiment.tuning is None:
            raise ValueError(f"Experiment '{experiment.name}' has no tuning stage")
        self._tuning = experiment.tuning
        self._recall = recall
        self._contents = contents or {}
        self.experiment = stage(experiment)
        self._scores: dict[str, float] = {}
        self._asked: dict[str, Cell] = {}
        self._contests = [
            _contest(experiment, self._tuning, self._contents, Competitor(loss.label, backbone.label, dataset.label))
            for dataset, backbone, loss in product(experiment.datasets, experiment.backbones, experiment.losses)
        ]
        self._settle(self._contests)

    def recall_through(self, patient: Callable[[Callable[[], Mapping[str, float]]], Mapping[str, float]]) -> None:
        """Read scores through a function that does so again where storage does not answer."""
        recall = self._recall
        self._recall = lambda cells: patient(lambda: recall(cells))

    @property
    def plan(self) -> Plan:
        """All cells proposed so far, done or not."""
        cells = sorted(self._asked.values(), key=lambda cell: (cell.trial, cell.seed, cell.name))
        return Plan(self.experiment, tuple(cells), self._contents)

    @property
    def tuned(self) -> tuple[Tuned, ...]:
        """How each competitor has been tuned so far."""
        return tuple(contest.ended() for contest in self._contests)

    @property
    def over(self) -> bool:
        """Whether every competitor has its recipe."""
        return all(tuned.winner for tuned in self.tuned)

    def sentences(self) -> Iterator[str]:
        """The state of each competitor's search."""
        for tuned in self.tuned:
            name = "/".join(tuned.competitor)
            scores = [tried.score for tried in tuned.whole]
            if tuned.winner is None:
                yield f"{name}: {counted(len(tuned.tried), 'trial')} scored, no recipe yet"
                continue
            diverged = scores.count(WORST)
            values = ", ".join(f"{field} {value}" for field, value in tuned.winner.values.items())
            value = tuned.winner.score if self._tuning.direction == "higher" else -tuned.winner.score
            best = f"{value:.4f} with {values}" if tuned.winner.score > WORST else "none has a score"
            lost = f" ({diverged} diverged)" if diverged else ""
            yield f"{name}: best of {counted(len(tuned.tried), 'trial')}{lost}: {best}"

    def heard(self, event: Ending | Adopted) -> list[Cell]:
        """Record how a cell ended; return the further cells to run."""
        match event:
            case Finished(metrics=measures) if self._tuning.metric not in OPERATING:
                score = scored(self._tuning, measures)
            case Diverged() | Adopted(state="diverged"):
                score = WORST
            case Finished() | Adopted(state="finished" | "collapsed"):
                score = self._recall([event.cell]).get(event.cell.id)
            case _:
                score = None  # it will be retried, or has no score until the user passes --retry-failed
        if score is None:
            return []
        self._scores[event.cell.id] = score
        labels = Competitor(event.cell.loss, event.cell.backbone, event.cell.dataset)
        return self._settle(contest for contest in self._contests if contest.competitor == labels)

    def _settle(self, contests: Iterable[_Contest]) -> list[Cell]:
        """Continue these searches; return the cells that have to run."""
        missing: list[Cell] = []
        for contest in contests:
            while asked := contest.go_on(self._scores):
                # The same recipe may be drawn twice.
                fresh = {cell.id: cell for cell in asked if cell.id not in self._asked}
                self._asked |= fresh
                found = self._recall(list(fresh.values()))
                self._scores |= found
                missing += [cell for name, cell in fresh.items() if name not in found]
        return missing


def final(experiment: Experiment, trials: Trials | None, contents: Contents) -> Plan:
    """The cells of an experiment, with the recipes that won in its tuning stage where it has one.

    Raises:
        RequestError: Not all recipes are found yet.
    """
    return plan(settle(experiment, trials.tuned) if trials else experiment, contents)


def recall(asked: Experiment, evaluations: Evaluations) -> Recall:
    """A function that reads the scores of cells from their files; an absent or damaged file has none.

    Args:
        asked: The experiment, with `tuning`.
        evaluations: The cells' files.
    """
    assert asked.tuning is not None  # noqa: S101 - callers have checked it
    tuning = asked.tuning

    def score(summaries: Summaries, cell: Cell) -> float | None:
        try:
            content = summaries.content(cell)
            if tuning.metric in OPERATING and asked.operation and has_figures(content["state"]):
                rows = evaluations.evaluation(cell, scores=False)
                return scored(tuning, measures_of_trial(asked.operation, called(content), rows))
            return scored(tuning, content["metrics"])
        except ValueError as error:  # of the operation
            raise RequestError(f"{cell.name}: {error}") from None
        except (DamagedFileError, FileNotFoundError):
            return None

    def look(cells: Sequence[Cell]) -> dict[str, float]:
        work = partial(score, Summaries.of_cells(evaluations, cells))
        found = zip(cells, in_parallel(work, cells, evaluations.storage.readers), strict=True)
        return {cell.id: known for cell, known in found if known is not None}

    return look


def scored(tuning: Tuning, measures: Mapping[str, float | None]) -> float:
    """The score of a finished cell's measures: higher is better."""
    value = measures.get(tuning.metric)
    return WORST if value is None else value if tuning.direction == "higher" else -value


def stage(experiment: Experiment) -> Experiment:
    """The tuning stage as a separate experiment in registry, MLflow and files, so that the two are never pooled."""
    assert experiment.tuning is not None  # noqa: S101 - callers have checked it
    name = f"{experiment.name}.tuning"
    question = f"Which recipes are best for '{experiment.name}'?"
    return experiment.model_copy(
        update={"name": name, "question": question, "claims": (), "seeds": experiment.tuning.seeds}
    )


def settle(experiment: Experiment, tuned: Sequence[Tuned]) -> Experiment:
    """The experiment with each competitor's winning recipe.

    Raises:
        RequestError: Some competitor has no recipe yet.
    """
    overrides: list[Override] = []
    for each in tuned:
        if each.winner is None:
            done = f"{sum(other.winner is not None for other in tuned)} of {len(tuned)}"
            raise RequestError(
                f"'{experiment.name}' is still being tuned: {done} recipes are found, and the recipe of "
                f"{'/'.join(each.competitor)} is missing. Launch it first."
            )
        recipe, loss = _parts(each.winner.values, experiment.tuning)
        overrides.append(Override(where=Where(**each.competitor._asdict()), recipe=recipe, loss=loss))
    return experiment.model_copy(update={"overrides": (*experiment.overrides, *overrides)})


def _parts(values: Values, tuning: Tuning | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values split into fields of the recipe and parameters of the loss."""
    recipe = {name: value for name, value in values.items() if tuning and name in tuning.fields}
    return recipe, {name: value for name, value in values.items() if name not in recipe}


def _contest(experiment: Experiment, tuning: Tuning, contents: Contents, competitor: Competitor) -> _Contest:
    settled = experiment.settled(*competitor)
    space = own_space(experiment.loss(competitor.loss), tuning)
    backbone = next(choice for choice in experiment.backbones if choice.label == competitor.backbone)
    dataset = next(choice for choice in experiment.datasets if choice.label == competitor.dataset)
    # Shifts are made from the test split, which tuning must not see.
    data = dataset.plugin.model_copy(update={"shift": None})
    held, known = digest_in(contents, dataset)
    weights, read = weights_in(contents, backbone)

    def cells(trial: Trial) -> list[Cell]:
        recipe, parameters = _parts(trial.values, tuning)
        fields = settled.training.model_dump() | recipe | {"epochs": trial.epochs}
        of_trial = Recipe.model_construct(
            loss=given(settled.loss, parameters),
            backbone=backbone.plugin,
            dataset=data,
            seed=0,
            training=type(settled.training).model_validate(fields),
            scored_on="validation",
            data_digest=held,
            weights_digest=weights,
            trainer=experiment.trainer,
        )
        recipes = [of_trial.model_copy(update={"seed": seed}) for seed in tuning.seeds]
        place = settled.resources, settled.time_limit, trial.number
        return [
            Cell(identity(each), *competitor, each.seed, each, *place, data_known=known and read) for each in recipes
        ]

    return _Contest(competitor, space, _search(space, tuning, settled.training.epochs), cells)


def _search(space: Mapping[str, Domain], tuning: Tuning, epochs: int) -> Search:
    match tuning.searcher:
        case "random":
            return _at_once([Trial(number, point, epochs) for number, point in enumerate(points(space, tuning))])
        case "asha":
            return _halving(list(points(space, tuning)), epochs)
        case "optuna":
            return learning(space, tuning, epochs)


def points(space: Mapping[str, Domain], tuning: Tuning) -> Iterator[Values]:
    """The recipes that are drawn beforehand.

    Each field has a random stream of its own, so that all losses try the same values of the fields that they share.
    """
    shares = {name: stable_random("tuning", name, *tuning.seeds).random_sample(tuning.trials) for name in space}
    for number in range(tuning.trials):
        yield {name: domain.at(shares[name][number]) for name, domain in space.items()}


def _at_once(trials: list[Trial]) -> Search:
    yield trials


def _halving(drawn: Sequence[Values], epochs: int) -> Search:
    """Successive halving (Jamieson & Talwalkar 2016), by thirds: the rungs of ASHA, but each rung is completed first.

    Each rung trains from scratch, with a schedule of its own length.
    """
    left = list(range(len(drawn)))
    budgets = sorted({max(1, epochs // REDUCTION**rung) for rung in range(RUNGS)})
    for place, budget in enumerate(budgets):
        scores = yield [Trial(number, drawn[number], budget) for number in left]
        if place < len(budgets) - 1:
            best = sorted(zip(scores, left, strict=True), key=lambda pair: (-pair[0], pair[1]))
            left = sorted(number for _, number in best[: max(1, len(left) // REDUCTION)])
