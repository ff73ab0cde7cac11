"""What the numbers of a comparison are, and what a reader must know to believe them no more than they deserve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.analysis.comparison import Comparison
from orchestrator.experiment import units
from orchestrator.experiment.model import Threshold
from orchestrator.sentences import Sentence
from orchestrator.statistics import power
from orchestrator.statistics.intervals import ENOUGH as ENOUGH_PAIRS

ENOUGH = 6
"""Pairs of seeds from which a sign-flip test can be significant at 5 %."""

OWN_UNIT = "Values in their own unit: mean ± half of the 95 % Student t interval over n runs. Δ: difference to {baseline}, paired by run; pairs: how many."  # noqa: E501 - one key of words.json

PROTOCOLS: Mapping[Threshold, str] = {
    "validation": "Threshold: chosen on held-out images (deployable). Uniform: the best on test images, optimistic.",
    "bias": "Threshold: the bias, learnt or fixed; – where none is. Uniform: the best on test images, optimistic.",
    "test": "Threshold: the best on test images (uniform), optimistic: it is unknown when a model is deployed.",
}


def numbers(comparison: Comparison) -> Sentence:
    """What the columns are; it belongs under every table."""
    if not units.in_points(comparison.measures):
        return OWN_UNIT, {"baseline": comparison.baseline}
    text = "Accuracies in percent: mean ± half of the 95 % Student t interval over n seeds. Δ: difference to {baseline}, paired by seed, in points; pairs: how many. * differs from 0 after Holm's correction over all differences shown (paired t test, 5 %, from {enough} pairs on, if every planned pair has both results and the seeds were fixed beforehand)."  # noqa: E501 - one key of words.json
    return text, {"baseline": comparison.baseline, "enough": ENOUGH_PAIRS}


def conditions(comparison: Comparison) -> list[Sentence]:
    """How the threshold was chosen, and by what losses decide."""
    has_threshold = "uniform_accuracy" in comparison.measures
    return [*([(PROTOCOLS[comparison.threshold], {})] if has_threshold else []), *decided_by(comparison)]


def decided_by(comparison: Comparison) -> list[Sentence]:
    """By what losses decide, where some do not by raw scores."""
    named = ", ".join(f"{loss} ({by})" for loss, by in comparison.decide_by.items())
    text = "These losses compare with the threshold what 'decide_by' says, and not raw scores; the result is called uniform, too: {losses}."  # noqa: E501 - one key of words.json
    return [(text, {"losses": named})] if named else []


def added(comparison: Comparison) -> Iterator[Sentence]:
    """What was added to the experiment file, what was taken back, and how many questions there are by it."""
    if comparison.added:
        yield from comparison.added.sentences()


def limits(comparison: Comparison) -> Iterator[Sentence]:
    """What limits the figures, beside changed seeds and cells without a result."""
    if comparison.sequence:
        yield "No stars: the claims decide how many seeds there are, and a star is valid at one look only.", {}
    yield from too_few_pairs(comparison)
    yield from unpaired(comparison)


def planned(comparison: Comparison) -> Iterator[Sentence]:
    """That the number of seeds was changed after results, or that this is not known."""
    looks = comparison.looks
    if comparison.narrowed:
        yield "Options leave out of this view: {what}.", {"what": comparison.narrowed}
    if comparison.is_narrowed:
        yield "Flags leave out planned seeds: no verdict and no star.", {}
    if len(looks.plans) > 1:
        text = "The seeds were changed after results (seeds: {plans}): verdicts on these cells are exploratory, wrong in up to 5 % per look; they have no star, and p and intervals are those of one look."  # noqa: E501 - one key of words.json
        yield text, {"plans": " → ".join(looks.plans)}
    if comparison.scored:
        text = "Looks: not known. Scores do not say whether runs were added after results were seen; there is no star."
        yield text, {}
    elif looks.unknown or not looks.plans:
        text = "Looks: not known. Not all cells record which seeds this experiment planned when they began (old, imported and other experiments' cells do not), so it is not known whether seeds were added after results; there is no star."  # noqa: E501 - one key of words.json
        yield text, {}


def too_few_pairs(comparison: Comparison) -> Iterator[Sentence]:
    """That the fewest pairs of seeds cannot show anything without assumptions, where that is so."""
    tests = [tested for line in comparison.lines for tested in (line.tests or {}).values()]
    pairs = min((each for each in (test.win + test.tie + test.loss for test in tests) if each), default=0)
    if 1 < pairs < ENOUGH:
        p = power.smallest_p(pairs, "sign_flip")
        text = "With {pairs} pairs of seeds, an exact nonparametric test cannot reach a p below {p}."
        yield text, {"pairs": pairs, "p": f"{p:.3g}"}


def unpaired(comparison: Comparison) -> Iterator[Sentence]:
    """How many pairs of seeds are in no difference, and how many replicas would bring them together."""
    if comparison.unpaired:
        text = "Seed pairs in no difference, because their cells come from two environments, or from one that is not pooled with that of most pairs: {count}."  # noqa: E501 - one key of words.json
        yield text, {"count": comparison.unpaired}
    if comparison.owed:
        yield "Replicas that launch will train: {owed}.", {"owed": comparison.owed}


def missing(comparison: Comparison) -> list[Sentence]:
    """Planned cells without a result."""
    text = "Planned cells without a result: {count}. Means and differences are over the cells that have one."
    return [(text, {"count": comparison.missing})] if comparison.missing else []


def collapsed(comparison: Comparison) -> list[Sentence]:
    """Cells that collapsed."""
    text = "Collapsed cells: {count}; no better than a guess on their own training images. Their figures count as they are."  # noqa: E501 - one key of words.json
    return [(text, {"count": comparison.collapsed})] if comparison.collapsed else []


def diverged(comparison: Comparison) -> list[Sentence]:
    """Cells that diverged."""
    text = "Diverged cells: {count}; their loss became NaN or infinite. They are in no mean."
    return [(text, {"count": comparison.diverged})] if comparison.diverged else []
