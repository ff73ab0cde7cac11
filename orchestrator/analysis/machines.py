"""Would another machine have said otherwise? What cells in several environments tell, each environment by itself."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchestrator.experiment.claims import Claim
from orchestrator.experiment.looks import Standing, marked
from orchestrator.experiment.plan import original
from orchestrator.experiment.units import shown
from orchestrator.outcome import has_figures
from orchestrator.pairing.blocks import Row, is_cell
from orchestrator.provenance.environment import Environment, apart
from orchestrator.sentences import Sentence, filled
from orchestrator.statistics.intervals import Interval
from orchestrator.statistics.verdicts import Verdict

NOISE = (
    "{metric} of one model, standard deviation in points: {machine} over environments (n = {cells} models trained in "
    "two), {seeds} over seeds (n = {runs} models), {samples} over test sets of {size} samples."
)
SAME = "Another machine says the same of {claim}, {backbone} on {dataset}: {heard}."
OTHERWISE = "Another machine says otherwise of {claim}, {backbone} on {dataset}: {heard}."
UNTOLD = "It is not known whether another machine says the same of {claim}, {backbone} on {dataset}: {heard}."
HEARD = "{verdict} with {machine} ({difference}, n = {n})"
ALONE = "Each machine's verdict uses its own pairs only, without correction for other questions."
"""What people are told."""


class MachineNoise(NamedTuple):
    """Standard deviations of one model's measure from three sources, each with what it rests on."""

    metric: str
    machine: float
    """Of the same cell in another environment."""
    cells: int
    """Pairs of a cell and its replica."""
    seeds: float
    """Of another seed; NaN where no loss has two in a setting."""
    runs: int
    """Cells in settings and losses with several seeds."""
    samples: float
    """Of another test set of the same size; NaN where the measure is no share of it."""
    size: int
    """Test samples; of several test sets, the smallest."""


class Heard(NamedTuple):
    """What one environment's pairs say of a claim."""

    environment: str
    difference: Interval
    verdict: Verdict
    """Without correction for other questions."""


class Answer(NamedTuple):
    """What several environments say of a claim in one setting."""

    claim: str
    dataset: str
    backbone: str
    heard: tuple[Heard, ...]
    metrics: tuple[str, ...]
    """What the claim is about."""
    standing: Standing = "unknown"
    """What looks make of the verdicts."""

    @property
    def agrees(self) -> bool | None:
        """Whether all say the same; None as long as one is undecided, which speaks neither for nor against it."""
        verdicts = {each.verdict for each in self.heard}
        return None if "undecided" in verdicts else len(verdicts) == 1


@dataclass(frozen=True)
class Machines:
    """Machine noise, and what each environment says by itself."""

    environments: Mapping[str, Environment]
    """By id."""
    noise: tuple[MachineNoise, ...]
    answers: tuple[Answer, ...]

    def sentences(self) -> Iterator[Sentence]:
        """What a reader must know of it."""
        for noise in self.noise:
            points = {name: _points(getattr(noise, name)) for name in ("machine", "seeds", "samples")}
            yield NOISE, {**noise._asdict(), **points}
        for answer in self.answers:
            names = apart({each.environment: self.environments[each.environment] for each in answer.heard})
            heard = [_heard(each, names[each.environment], answer.metrics, answer.standing) for each in answer.heard]
            about = {name: getattr(answer, name) for name in ("claim", "dataset", "backbone")}
            yield {True: SAME, False: OTHERWISE, None: UNTOLD}[answer.agrees], {**about, "heard": heard}
        if self.answers:
            yield ALONE, {}

    def told(self) -> list[str]:
        """The same in English."""
        return [filled(sentence) for sentence in self.sentences()]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        answers = [
            {**each._asdict(), "agrees": each.agrees, "heard": [heard._asdict() for heard in each.heard]}
            for each in self.answers
        ]
        environments = {name: str(environment) for name, environment in self.environments.items()}
        return {"environments": environments, "noise": [each._asdict() for each in self.noise], "answers": answers}


def _heard(heard: Heard, machine: str, metrics: Sequence[str], standing: Standing) -> Sentence:
    difference = shown(heard.difference, metrics)
    return HEARD, {
        "verdict": (marked(heard.verdict, standing), {}),
        "machine": machine,
        "difference": difference,
        "n": heard.difference.n,
    }


def _points(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.2f}"


def by_block(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The results of each environment, replicas as if they were its cells."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if environment := row.get("environment"):
            found[environment].append({**row, "cell_id": original(row.get("cell_id") or "")})
    return dict(found)


def answer(
    claim: Claim, dataset: str, backbone: str, heard: Sequence[Heard], standing: Standing = "unknown"
) -> Answer | None:
    """What several environments say; None where fewer than two have a pair."""
    told = tuple(each for each in heard if each.difference.n)
    return Answer(claim.id, dataset, backbone, told, claim.metrics, standing) if len(told) > 1 else None


def machines(metrics: Iterable[str], rows: Sequence[Row], answers: Sequence[Answer]) -> Machines | None:
    """Machine noise beside the others; None where no model was trained in two environments.

    Args:
        metrics: The measures to look at.
        rows: The results, those of replicas, too.
        answers: What several environments say of claims.
    """
    noise = tuple(found for metric in metrics if (found := _noise(metric, rows)))
    if not noise and not answers:
        return None
    known = {row["environment"]: Environment.of(row) for row in rows if row.get("environment")}
    return Machines(known, noise, tuple(answers))


def _noise(metric: str, rows: Sequence[Row]) -> MachineNoise | None:
    finished = [row for row in rows if has_figures(row["state"]) and row.get(metric) is not None]
    again = [row for row in finished if not is_cell(row)]
    if not again:
        return None
    cells = {row["cell_id"]: row for row in finished if is_cell(row)}
    both = [(row, cells[original(row["cell_id"])]) for row in again if original(row["cell_id"]) in cells]
    moved = [row[metric] - cell[metric] for row, cell in both]
    if not moved:
        return None
    seeds, runs = _over_seeds(metric, cells.values())
    samples = [row for row in cells.values() if row.get("samples")]
    variances = [row[metric] * (1 - row[metric]) / row["samples"] for row in samples if 0 <= row[metric] <= 1]
    is_share = metric.endswith("accuracy") or metric.startswith("accuracy_at")
    return MachineNoise(
        metric,
        # Two trainings differ by the root of two times what one varies by.
        machine=math.sqrt(math.fsum(each**2 for each in moved) / len(moved) / 2),
        cells=len(moved),
        seeds=seeds,
        runs=runs,
        samples=math.sqrt(math.fsum(variances) / len(variances)) if variances and is_share else math.nan,
        size=min((row["samples"] for row in samples), default=0),
    )


def _over_seeds(metric: str, cells: Iterable[Row]) -> tuple[float, int]:
    """The standard deviation over the seeds of one environment, pooled over losses and settings."""
    groups: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in cells:
        groups[row["dataset"], row["backbone"], row["loss"], row.get("environment") or ""].append(row[metric])
    several = [values for values in groups.values() if len(values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    if not freedom:
        return math.nan, 0
    squares = math.fsum((value - math.fsum(values) / len(values)) ** 2 for values in several for value in values)
    return math.sqrt(squares / freedom), sum(map(len, several))
