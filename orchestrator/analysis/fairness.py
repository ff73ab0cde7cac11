"""Whether the contest was equal: what each loss was given beside the others on the same backbone and dataset."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.adaptive.seeds import Key, Row
from orchestrator.analysis.budget import Budget, Lead, budgets, leads
from orchestrator.analysis.sensitivity import Sensitivity, sensitivities, unknown
from orchestrator.analysis.settings import rows_by_key
from orchestrator.experiment.choices import Choice
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.seed_rule import Sequential
from orchestrator.experiment.space import Value
from orchestrator.sentences import Sentence, filled
from trainers.commands import NamedDataset
from trainers.recipe import Training

if TYPE_CHECKING:
    from orchestrator.adaptive.trials import Tuned

ROOM = 1.01
"""Ratio of parameters that is no inequality: a bias for each class is far less of any network here."""

FACTOR = 2.0
"""Ratio of seconds that is worth a remark. It is none of fairness: what one can afford is not what a loss is worth."""

TRIALS = "trials: {shares}"
TRIED = "epochs of all trials together: {shares}"
SPACE = "space of {name}: {shares}"
BY_HAND = "{name}, by hand: {shares}"
SEEDS = "seeds with a result: {shares}"
PARAMETERS = "parameters: {shares}"
FINAL_SECONDS = "training seconds per cell: {shares}"
TUNING_SECONDS = "training seconds of all trials: {shares}"

EQUAL = {
    (False, False): "Conditions: equal – one shared recipe, no tuning per loss; {seeds}, {epochs}.",
    (False, True): "Conditions: equal – one shared recipe, no tuning per loss; {seeds} of {most} seeds, {epochs}.",
    (True, False): "Conditions: equal – {trials} trials per loss in the same space, {seeds}, {epochs}.",
    (True, True): "Conditions: equal – {trials} trials per loss in the same space, {seeds} of {most} seeds, {epochs}.",
}
"""By whether recipes are tuned, and whether the claims stop the seeds."""

NOT_TOLD = "Conditions: unknown – no files are named as 'data' of {datasets}, so nothing records that all losses had the same data."  # noqa: E501 - one key of words.json
"""Where a command trains on data of which nothing is known."""

NAMED = 3
"""Inequalities, or edges, that a line names one by one."""


class Inequality(NamedTuple):
    """In what losses of one setting differ besides being other losses."""

    what: str
    """With a place for `shares`, and one for `name` where there is one."""
    name: str
    dataset: str
    backbone: str
    by: Mapping[str, str]
    """What each loss has."""

    def divides(self, loss: str, other: str) -> bool:
        """Whether these two differ."""
        return {loss, other} <= self.by.keys() and self.by[loss] != self.by[other]

    @property
    def sentence(self) -> Sentence:
        """What which loss has."""
        losses: defaultdict[str, list[str]] = defaultdict(list)
        for loss, value in self.by.items():
            losses[value].append(loss)
        shares = ", ".join(f"{value} ({', '.join(names)})" for value, names in losses.items())
        return self.what, {"name": self.name, "shares": shares}

    def __str__(self) -> str:
        text, values = self.sentence
        return text.format(**values)


@dataclass(frozen=True)
class Entrant:
    """What one loss was given on one backbone and dataset."""

    dataset: str
    backbone: str
    loss: str
    trials: int
    """That have been scored; by number, so that a trial trained for longer in the end is one."""
    diverged: int
    """Of these, without a score."""
    trial_epochs: int
    """Trained in all trials together, with one seed."""
    space: Mapping[str, str]
    """As written in an experiment file."""
    winner: Mapping[str, Value]
    """Its values; empty where nothing was tuned, or not to the end."""
    edges: tuple[str, ...]
    """Fields of which the winner's value is at the end of its space: better ones may lie beyond."""
    seeds: tuple[int, ...]
    """With a result."""
    parameters: int | None
    recipe: Mapping[str, Any]
    """How the final cells are trained."""
    data: Mapping[str, Any]
    """What is asked of the dataset besides its name, and what of the training images is not trained on as it is."""
    tuning_seconds: float
    """Of training, in all trials together."""
    seconds: float
    """Of training, in all final cells together."""

    @property
    def epochs(self) -> int:
        """Of a final cell: nothing ends it earlier."""
        return self.recipe["epochs"]


@dataclass(frozen=True)
class Audit:
    """What every loss was given, and in what they were not given the same."""

    asked: int | None
    """Trials that each was to have; None where nothing is tuned."""
    metric: str | None
    """By which the best trial won."""
    searcher: str | None
    trial_seeds: tuple[int, ...]
    sequence: Sequential | None
    """The rule that stopped the seeds; None where their number was fixed."""
    entrants: tuple[Entrant, ...]
    unequal: tuple[Inequality, ...]
    remarks: tuple[Inequality, ...]
    """What differs without making the comparison unfair."""
    budgets: tuple[Budget, ...] = ()
    leads: tuple[Lead, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()
    unknown: Sentence | None = None
    """Why there is no sensitivity."""
    not_told: tuple[str, ...] = ()
    """Data sets of which only the command that trains knows what they hold."""

    def between(self, dataset: str, backbone: str, loss: str, other: str | None) -> tuple[Inequality, ...]:
        """What two losses were not given equally in one setting; nothing where there is no other."""
        return tuple(
            each._replace(by={name: each.by[name] for name in (loss, other)})
            for each in self.unequal
            if (each.dataset, each.backbone) == (dataset, backbone) and other is not None and each.divides(loss, other)
        )

    @property
    def sentence(self) -> Sentence:
        """The whole contest in a line; what was unequal is in `reasons`."""
        if self.unequal:
            return "Conditions: UNEQUAL – {reasons}.", {
                "reasons": _few(f"{each}{place}" for each, place in self.reasons)
            }
        if not any(entrant.seeds for entrant in self.entrants):
            return "Conditions: no result yet.", {}
        if self.not_told:
            return NOT_TOLD, {"datasets": ", ".join(self.not_told)}
        seeds = _span(len(entrant.seeds) for entrant in self.entrants)
        epochs = _span(entrant.epochs for entrant in self.entrants)
        values: dict[str, Any] = {
            "seeds": seeds
            if self.sequence
            else ("{count} seed" if seeds == "1" else "{count} seeds", {"count": seeds}),
            "epochs": ("{count} epoch" if epochs == "1" else "{count} epochs", {"count": epochs}),
        }
        if self.asked is not None:
            made = _span(entrant.trials for entrant in self.entrants)
            values["trials"] = made if made == str(self.asked) else f"{made}/{self.asked}"
        if self.sequence:
            values["most"] = f"{self.sequence.max}"
        return EQUAL[self.asked is not None, self.sequence is not None], values

    @property
    def reasons(self) -> list[tuple[Inequality, str]]:
        """What was unequal, each once, and where it was if that is not everywhere."""
        settings = {(entrant.dataset, entrant.backbone) for entrant in self.entrants}
        places: defaultdict[str, list[Inequality]] = defaultdict(list)
        for each in self.unequal:
            places[str(each)].append(each)
        return [
            (found[0], "" if len(found) == len(settings) else f" [{_few(map(_place, found))}]")
            for found in places.values()
        ]

    @property
    def edges(self) -> Sentence | None:
        """Which winners lie at the end of their space."""
        found = [
            f"{name} {entrant.winner[name]} ({entrant.loss}, {_place(entrant)})"
            for entrant in self.entrants
            for name in entrant.edges
        ]
        text = "At the edge of the search range, so a wider range may have better values: {edges}."
        return (text, {"edges": _few(found)}) if found else None

    def told(self) -> list[str]:
        """The lines about the contest, in English."""
        return [filled(sentence) for sentence in filter(None, (self.sentence, self.edges))]

    def robust(self) -> list[str]:
        """The lines about how much of the space a challenger wins, in English."""
        reason = [self.unknown[0].format(**self.unknown[1])] if self.unknown else []
        return [*(each.told() for each in self.sensitivity), *reason]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "equal": not self.unequal,
            "asked": self.asked,
            "metric": self.metric,
            "searcher": self.searcher,
            "trial_seeds": self.trial_seeds,
            "sequence": self.sequence and self.sequence.model_dump(),
            "entrants": [{**asdict(entrant), "epochs": entrant.epochs} for entrant in self.entrants],
            "unequal": [{**each._asdict(), "what": str(each)} for each in self.unequal],
            "remarks": [{**each._asdict(), "what": str(each)} for each in self.remarks],
            "budgets": [asdict(budget) for budget in self.budgets],
            "leads": [
                {**lead.pair._asdict(), "by": lead.by, "trials": lead.trials, "seeds": lead.seeds}
                for lead in self.leads
            ],
            "sensitivity": [each.to_json() for each in self.sensitivity],
            "unknown": self.unknown and self.unknown[0].format(**self.unknown[1]),
        }


def audit(
    experiment: Experiment, rows: Iterable[Row], tuned: Iterable[Tuned] = (), trial_rows: Iterable[Row] = ()
) -> Audit | None:
    """What each loss of an experiment was given; None where there is one alone.

    Args:
        experiment: What was asked; where it is tuned, with the winners' recipes.
        rows: The results table, one mapping a cell.
        tuned: How each loss was tuned on each backbone and dataset.
        trial_rows: The results table of the tuning stage.
    """
    if len(experiment.losses) < 2:  # noqa: PLR2004 - a contest takes two
        return None
    tuned = tuple(tuned)
    found = {tuple(each.competitor): each for each in tuned}
    final = rows_by_key(rows)
    trials = rows_by_key(trial_rows)

    def entrants(dataset: str, backbone: str) -> list[Entrant]:
        keys = [(dataset, backbone, loss.label) for loss in experiment.losses]
        return [
            _entrant(experiment, key, found.get((key[2], backbone, dataset)), final[key], trials[key]) for key in keys
        ]

    settings = [entrants(d.label, b.label) for d, b in product(experiment.datasets, experiment.backbones)]
    return Audit(
        asked=experiment.tuning and experiment.tuning.trials,
        metric=experiment.tuning and experiment.tuning.metric,
        searcher=experiment.tuning and experiment.tuning.searcher,
        trial_seeds=experiment.tuning.seeds if experiment.tuning else (),
        sequence=experiment.sequence,
        entrants=tuple(entrant for setting in settings for entrant in setting),
        unequal=tuple(each for setting in settings for each in _unequal(experiment, setting)),
        remarks=tuple(each for setting in settings for each in _remarks(setting)),
        budgets=budgets(experiment, tuned),
        leads=leads(experiment, tuned),
        sensitivity=sensitivities(experiment, tuned),
        unknown=unknown(experiment) if tuned else None,
        not_told=tuple(choice.label for choice in experiment.datasets if _is_not_told(choice)),
    )


def _is_not_told(dataset: Choice) -> bool:
    return isinstance(dataset.plugin, NamedDataset) and not dataset.plugin.data


def _entrant(
    experiment: Experiment, key: Key, own: Tuned | None, rows: Sequence[Row], trial_rows: Sequence[Row]
) -> Entrant:
    dataset, backbone, loss = key
    training = experiment.settled(loss, backbone, dataset).training
    winner = own.winner.values if own and own.winner else {}
    numbers = {tried.number for tried in own.tried} if own else set[int]()
    scored = {tried.number for tried in own.tried if math.isfinite(tried.score)} if own else set[int]()
    return Entrant(
        *key,
        trials=len(numbers),
        diverged=len(numbers - scored),
        trial_epochs=sum(tried.epochs for tried in own.tried) if own else 0,
        space={name: str(domain) for name, domain in own.space.items()} if own else {},
        winner=dict(winner),
        edges=tuple(name for name, value in winner.items() if own and own.space[name].is_edge(value)),
        seeds=tuple(sorted(row["seed"] for row in rows)),
        parameters=max((row.get("parameters") or 0 for row in rows), default=0) or None,
        recipe=training.stated,
        data=_data(experiment, dataset, training),
        tuning_seconds=_seconds(trial_rows),
        seconds=_seconds(rows),
    )


def _data(experiment: Experiment, dataset: str, training: Training) -> dict[str, Any]:
    plugin = next(choice.plugin for choice in experiment.datasets if choice.label == dataset)
    asked = plugin.model_dump(mode="json", exclude_defaults=True, exclude={"shift"})
    fields = {name: value for name, value in asked.items() if name != "name"}
    noise = {"label_noise": training.label_noise} if training.label_noise else {}
    share = {} if experiment.trainer else {"validation_fraction": training.validation_fraction}
    return {**fields, **noise, **share}


def _seconds(rows: Iterable[Row]) -> float:
    return math.fsum(row.get("train_seconds") or 0.0 for row in rows)


def _unequal(experiment: Experiment, entrants: Sequence[Entrant]) -> Iterator[Inequality]:
    """What the losses of one setting were not given equally."""
    tuned = {name: None for entrant in entrants for name in entrant.space}
    if tuned:
        yield from _differing(TRIALS, entrants, lambda entrant: f"{entrant.trials}")
        if len({entrant.trials for entrant in entrants}) == 1:
            yield from _differing(TRIED, entrants, lambda entrant: f"{entrant.trial_epochs}")
    for name in tuned:
        able = [entrant for entrant in entrants if entrant.space and _has(experiment, entrant.loss, name)]
        yield from _differing(SPACE, able, lambda entrant, name=name: entrant.space.get(name, "–"), name)
    for name in entrants[0].recipe if entrants else ():
        if name not in tuned:
            yield from _differing(BY_HAND, entrants, lambda entrant, name=name: _written(entrant.recipe[name]), name)
    asked = set(experiment.seeds[: experiment.sequence.min] if experiment.sequence else experiment.seeds)
    begun = [entrant for entrant in entrants if entrant.seeds]  # others are not finished, rather than unequal
    yield from _differing(SEEDS, begun, lambda entrant: _ranges([seed for seed in entrant.seeds if seed in asked]))
    counts = {entrant.loss: entrant.parameters for entrant in entrants if entrant.parameters}
    sizes = _alike(counts)
    known = [entrant for entrant in entrants if entrant.loss in sizes]
    yield from _differing(PARAMETERS, known, lambda entrant: f"{sizes[entrant.loss]}")


def _alike(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts, those that are about the same as a smaller one given as that."""
    found: dict[str, int] = {}
    last = 0
    for loss, count in sorted(counts.items(), key=lambda entry: entry[1]):
        last = found[loss] = last if count <= ROOM * last else count
    return found


def _has(experiment: Experiment, loss: str, name: str) -> bool:
    """Whether a loss could be tuned by a field."""
    shared = experiment.tuning.fields if experiment.tuning else ()
    return name in shared or name in experiment.loss(loss).parameters


def _written(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else f"{value}"


def _differing(
    what: str, entrants: Collection[Entrant], value: Callable[[Entrant], str], name: str = ""
) -> Iterator[Inequality]:
    by = {entrant.loss: value(entrant) for entrant in entrants}
    if len(set(by.values())) > 1:
        first = next(iter(entrants))
        yield Inequality(what, name, first.dataset, first.backbone, by)


def _remarks(entrants: Sequence[Entrant]) -> Iterator[Inequality]:
    """What cost some losses of one setting far more than others."""
    sums = (
        (FINAL_SECONDS, {entrant.loss: entrant.seconds / max(1, len(entrant.seeds)) for entrant in entrants}),
        (TUNING_SECONDS, {entrant.loss: entrant.tuning_seconds for entrant in entrants}),
    )
    for what, spent in sums:
        known = [seconds for seconds in spent.values() if seconds]
        if known and max(known) > FACTOR * min(known):
            yield from _differing(what, entrants, lambda entrant, spent=spent: f"{spent[entrant.loss]:.3g}")


def _span(numbers: Iterable[int]) -> str:
    """`5`, or `3–5` where they differ."""
    known = sorted(set(numbers))
    return f"{known[0]}" if len(known) == 1 else f"{known[0]}–{known[-1]}"


def _ranges(seeds: Sequence[int]) -> str:
    """`0–3, 7`."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(_span((part[0], part[-1])) for part in parts) or "–"


def _place(where: Inequality | Entrant) -> str:
    return f"{where.backbone}/{where.dataset}"


def _few(texts: Iterable[str]) -> str:
    known = list(texts)
    return "; ".join([*known[:NAMED], *([f"… ({len(known) - NAMED})"] if len(known) > NAMED else [])])
