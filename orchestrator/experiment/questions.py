"""What claims ask: about which losses, in which settings, and how several answers make one verdict.

A question is a claim about one pair of losses, or about one loss, in one setting. A part is one
or more questions with factors: a single one, the difference of two, or a trend along several. With
`over: each`, every part gets its own verdict; otherwise all parts together get one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from orchestrator.experiment.choices import identity
from orchestrator.experiment.claims import Claim, Than, Trend
from orchestrator.experiment.model import Experiment
from orchestrator.sentences import filled, setting_name
from orchestrator.statistics.scopes import trend_factors

Key = tuple[str, str, str]
"""Dataset, backbone and loss."""


class Question(NamedTuple):
    """One claim in one setting."""

    claim: Claim
    dataset: str
    backbone: str

    @property
    def measures(self) -> dict[Key, tuple[str, ...]]:
        """The measures that it needs from each cell of a seed, by the cell's dataset, backbone and loss."""
        claim = self.claim
        needed: dict[Key, tuple[str, ...]] = {(self.dataset, self.backbone, claim.challenger): (claim.metric,)}
        if claim.baseline is not None:
            key = self.dataset, self.backbone, claim.baseline
            needed[key] = (*needed.get(key, ()), claim.baseline_metric or claim.metric)
        return needed


def questions(experiment: Experiment) -> Iterator[Question]:
    """Every claim in every setting that it is about."""
    for claim in experiment.claims:
        for dataset in experiment.datasets:
            for backbone in experiment.backbones:
                if claim.where.matches(claim.challenger, backbone.label, dataset.label):
                    yield Question(claim, dataset.label, backbone.label)


def followed(experiment: Experiment) -> list[Question]:
    """The questions for which `until` adds seeds while they are undecided."""
    return [question for question in questions(experiment) if question.claim.is_followed]


def followed_together(experiment: Experiment) -> list[Claim]:
    """The claims over several settings for which `until` adds seeds while they are undecided."""
    asking = experiment.claims if experiment.allocation else ()
    return [claim for claim in asking if claim.is_followed_together and parts(claim, experiment)]


class Part(NamedTuple):
    """A weighted sum of effects."""

    name: str
    """Its setting; if it compares effects of several settings, what these have in common."""
    dataset: tuple[str, str | None]
    """The identity of its images; entries that differ only in the number of images are equal."""
    questions: tuple[Question, ...]
    factors: tuple[float, ...]

    @property
    def terms(self) -> list[tuple[Question, float]]:
        """Each question with its factor."""
        return list(zip(self.questions, self.factors, strict=True))


def verdicts(experiment: Experiment, family: str) -> int:
    """The number of verdicts on the claims of a family, among which its alpha is divided."""
    own = [claim for claim in experiment.claims if claim.family == family]
    found = [(claim, len(parts(claim, experiment))) for claim in own]
    return sum(count if claim.over == "each" else min(count, 1) for claim, count in found)


def parts(claim: Claim, experiment: Experiment) -> list[Part]:
    """The parts of a claim, in the order of the experiment's axes."""
    images = {choice.label: identity(choice) for choice in experiment.datasets}
    alone = claim.model_copy(update={"than": None, "trend": None, "over": "each", "population": False})
    asked = list(questions(experiment.model_copy(update={"claims": (alone,)})))
    found = list(_trends(claim.trend, asked, images) if claim.trend else _settings(asked, images))
    if claim.than:
        found = [_against(claim.than, part) for part in found]
    return [part for part in found if len(set(part.questions)) == len(part.questions)]


def _settings(asked: Sequence[Question], images: Mapping[str, tuple[str, str | None]]) -> Iterator[Part]:
    """One part for each question."""
    for question in asked:
        name = filled(setting_name(question.dataset, question.backbone))
        yield Part(name, images[question.dataset], (question,), (1.0,))


def _against(than: Than, part: Part) -> Part:
    """A part minus the effect that it is compared with."""
    changed = than.model_dump(include={"metric", "challenger", "baseline", "baseline_metric"}, exclude_none=True)
    others = tuple(
        Question(
            question.claim.model_copy(update=changed),
            than.dataset or question.dataset,
            than.backbone or question.backbone,
        )
        for question in part.questions
    )
    factors = (*part.factors, *(-factor for factor in part.factors))
    return part._replace(questions=(*part.questions, *others), factors=factors)


def _trends(trend: Trend, asked: Sequence[Question], images: Mapping[str, tuple[str, str | None]]) -> Iterator[Part]:
    """One part for each value of the other axis."""
    along, across = ("dataset", "backbone") if trend.axis == "dataset" else ("backbone", "dataset")
    for fixed in dict.fromkeys(getattr(question, across) for question in asked):
        own = {getattr(question, along): question for question in asked if getattr(question, across) == fixed}
        chosen = tuple(own[label] for label in trend.positions)
        yield Part(fixed, images[chosen[0].dataset], chosen, tuple(trend_factors(list(trend.positions.values()))))
