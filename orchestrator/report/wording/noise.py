"""What the noise of seeds and of the test set means for a claim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.analysis.sample_noise import Sampled, Source
from orchestrator.sentences import Sentence
from orchestrator.statistics.intervals import ENOUGH

GREATEST: Mapping[Source, str] = {
    "seeds": "the seeds contribute most noise",
    "samples": "the test set contributes most noise",
    "both": "single samples under single seeds contribute most noise",
}

EXPLANATION = "Points, or the unit of the measure. Difference: with its 95 % interval for other seeds and another test set (two-way bootstrap). One seed: half of the median interval for another test set alone. McNemar: seeds whose own samples show a difference (exact, 5 %, Holm over seeds). Seeds, test set, both: noise, as standard deviation of the difference; more seeds reduce the first, more samples the second, either the third; 0.00 is too little to measure. Thresholds are each model's best on these samples. Not corrected for the number of claims."  # noqa: E501 - one key of words.json

NOTHING = "No claim about sample-wise or uniform accuracy has a pair of finished cells."


def advice(found: Sampled) -> Iterator[Sentence]:
    """Which noise is the greatest. The verdict, and how many seeds would decide, is said beside the claim, once."""
    if found.dominant:
        yield GREATEST[found.dominant], {}
    if len(found.seeds) < ENOUGH:
        yield "fewer than {enough} seeds do not show how much seeds differ", {"enough": ENOUGH}
