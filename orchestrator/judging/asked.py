"""What is asked of scores: the systems in place of losses, the settings in place of data sets, and the claims."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, ValidationError

from orchestrator.errors import ExperimentError
from orchestrator.experiment import yaml_lines
from orchestrator.experiment.choices import Choice
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.own_measures import OF_SCORE_FILES, trait
from orchestrator.judging.source import ScoresError
from orchestrator.sentences import of_systems
from trainers.catalogue import nearest
from trainers.evaluation import DecideBy
from trainers.metrics import MEASURES, NEEDED
from trainers.plugin import Plugin


class Foreign(Plugin):
    """Something that was not trained here: a system, or where it was tested."""

    name = "foreign"
    path: str
    """What it is called; different names are different things."""
    decide_by: DecideBy = "raw"


class ScoredExperiment(Experiment):
    """An experiment that others ran: its cells are runs of systems, and nothing is known of their recipes."""

    measures: ClassVar = frozenset({*MEASURES, *OF_SCORE_FILES})
    compared: tuple[str, ...] = Field(default=())
    """The measures that scores have."""

    @property
    def shown(self) -> tuple[str, ...]:
        """The measures that are shown, and whose differences are tested."""
        return self.compared


@dataclass(frozen=True)
class Questions:
    """What a claims file asks."""

    path: Path | None = None
    fields: Mapping[str, Any] | None = None
    """Of `FIELDS`."""

    @property
    def is_asked(self) -> bool:
        """Whether there is any claim."""
        return bool((self.fields or {}).get("claims"))


FIELDS: tuple[str, ...] = ("name", "question", "baseline", "claims", "seeds")
"""Fields of an experiment file that a claims file may have; an experiment file is a claims file, too."""


def questions(claims: Path | Sequence[Mapping[str, Any]] | None) -> Questions:
    """What a file, or a list of claims, asks.

    Raises:
        ExperimentError: The file cannot be read, or has no claims.
    """
    if claims is None:
        return Questions()
    if not isinstance(claims, Path):
        return Questions(fields={"claims": list(claims)})
    document = yaml_lines.read(claims).document
    if isinstance(document, list):
        return Questions(claims, {"claims": document})
    if not isinstance(document, dict) or not document.get("claims"):
        raise ExperimentError([f"{claims}:1: a claims file is a list of claims, or a mapping with 'claims'."])
    if strange := [key for key in document if key not in Experiment.model_fields]:
        known = list(FIELDS)
        sentence = f"Unknown key '{strange[0]}'.{nearest(str(strange[0]), known)} Known: {', '.join(known)}."
        raise ExperimentError([f"{claims}: {sentence}"])
    return Questions(claims, {key: value for key, value in document.items() if key in FIELDS})


def experiment(
    rows: Sequence[Mapping[str, Any]], shown: tuple[str, ...], asked: Questions, baseline: str | None
) -> ScoredExperiment:
    """The experiment whose results these rows are.

    Args:
        rows: One per run.
        shown: The measures that are compared.
        asked: What a claims file asks. Without claims, each system is compared with the baseline by the last measure
            shown.
        baseline: The system that others are compared with; by default that of the claims file, else the first.

    Raises:
        ExperimentError: A claim is wrong.
        ScoresError: There is no such baseline.
    """
    fields = dict(asked.fields or {})
    systems = list(dict.fromkeys(row["loss"] for row in rows))
    chosen = baseline or fields.get("baseline") or systems[0]
    if chosen not in systems:
        text = f"No system is called '{chosen}'.{nearest(str(chosen), systems)} There are: {', '.join(systems)}."
        raise ScoresError([text])
    seeds = sorted({row["seed"] for row in rows})
    values = {
        "name": fields.get("name", "scores"),
        "question": fields.get("question", ""),
        "losses": tuple(map(_choice, systems)),
        "backbones": tuple(map(_choice, dict.fromkeys(row["backbone"] for row in rows))),
        "datasets": tuple(map(_choice, dict.fromkeys(row["dataset"] for row in rows))),
        "seeds": fields.get("seeds", seeds),
        "threshold": "validation" if "accuracy_at_validation_threshold" in shown else "test",
        "baseline": chosen,
        "claims": fields.get("claims") or _claims([system for system in systems if system != chosen], chosen, shown[0]),
        "compared": shown,
    }
    found = _validated(values, asked)
    _check_measures(found, rows)
    if strange := set(seeds) - set(found.seeds):
        text = (
            f"{asked.path}: 'seeds' plans {len(found.seeds)} seeds, but there are scores of seed {min(strange)}, too."
        )
        raise ExperimentError([text])
    return found


def _check_measures(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse claims about measures that do not follow from the scores; too few samples for a rate is said later."""
    given = {name for row in rows for name in experiment.measures if row.get(name) is not None}
    problems = [
        f"Claim '{claim.id}': these scores do not give '{metric}'. They give: {', '.join(sorted(given))}."
        for claim in experiment.claims
        for metric in claim.metrics
        if metric not in given | NEEDED.keys()
    ]
    if problems:
        raise ScoresError(problems)


def _validated(values: Mapping[str, Any], asked: Questions) -> ScoredExperiment:
    try:
        with of_systems():
            return ScoredExperiment.model_validate(values)
    except ValidationError as error:
        if asked.path is None:
            sentences = [sentence for _, sentence in yaml_lines.problems(error, ScoredExperiment)]
            raise ExperimentError(sentences) from None
        source = yaml_lines.read(asked.path)
        if isinstance(source.document, list):  # what it holds is checked as `claims`
            source = replace(source, lines={("claims", *place): line for place, line in source.lines.items()})
        raise source.error(error, ScoredExperiment) from None


def _claims(systems: Sequence[str], baseline: str, metric: str) -> list[dict[str, Any]]:
    """Each system against the baseline, where nobody stated a claim."""
    direction = "lower" if trait(metric).better == "lower" else "higher"
    about = {"metric": metric, "baseline": baseline, "direction": direction}
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "-", system).strip("._-")[:90] or "system" for system in systems]
    return [
        {"id": name if plain.count(name) == 1 else f"{name}-{number}", "challenger": system, **about}
        for number, (name, system) in enumerate(zip(plain, systems, strict=True), start=1)
    ]


def _choice(label: str) -> Choice:
    """A choice with any label, such as `organisation/model`."""
    return Choice.model_construct(label=label, plugin=Foreign(path=label))


def whole_grid(places: Iterable[tuple[str, str]]) -> bool:
    """Whether every data set was tested with every backbone, so that the two are axes."""
    found = set(places)
    datasets = {dataset for dataset, _ in found}
    backbones = {backbone for _, backbone in found}
    return found == set(product(datasets, backbones))
