"""How often a verdict is wrong if someone looks, adds seeds and looks again: `python -m benchmarks.looks [RUNS]`.

No experiment here has a true difference. Verdicts and their marks come from `report.comparison`, applied to rows of a
results table. Writes the tables between two comments in docs/statistics.md. Everything is seeded.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.page import fill
from orchestrator.analysis.findings import Finding, findings_of
from orchestrator.experiment.looks import Began, Looked, planned
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.questions import Key

Array = NDArray[np.float64]
Rng = np.random.Generator

RUNS = 2_000
ALPHA = 0.05
LOOKS = 4
MOST = 100
SPREAD = 0.005
WRONG = {"supported", "refuted"}
"""Verdicts that are wrong; without a margin there is no `equivalent`."""

MEASURES = ("uniform_accuracy", "sample_wise_accuracy", "class_wise_accuracy", "accuracy_at_bias")
"""One per claim; accuracies on few samples are rounded in the same way in all of them."""


class Kind(NamedTuple):
    """A distribution of differences."""

    name: str
    claims: int
    samples: int | None
    """Test images; None for a continuous measure."""


KINDS = (
    Kind("Gaussian, 1 claim", 1, None),
    Kind("Gaussian, 4 claims that share seeds", 4, None),
    Kind("N = 100, 1 claim", 1, 100),
    Kind("N = 797, 1 claim", 1, 797),
    Kind("N = 797, 4 claims that share seeds", 4, 797),
    Kind("N = 10,000, 1 claim", 1, 10_000),
)


def asked(claims: Sequence[dict[str, Any]], seeds: Any, backbones: Sequence[str] = ("resnet8",)) -> Experiment:
    """Claims that BCE is better than SoftMax; fields that are None are left out."""
    common = {"challenger": "bce_unified", "baseline": "softmax", "direction": "higher", "margin": 0.0}
    return Experiment.model_validate(
        {
            "name": "simulated",
            "losses": ["softmax", "bce_unified"],
            "backbones": list(backbones),
            "datasets": ["digits"],
            "seeds": seeds,
            "baseline": "softmax",
            "claims": [
                {name: value for name, value in {**common, "id": f"c{place}", **claim}.items() if value is not None}
                for place, claim in enumerate(claims)
            ],
        }
    )


def rows(values: dict[tuple[str, str], Array], samples: int | None) -> dict[Key, list[dict[str, Any]]]:
    """Results by key, from differences by backbone and measure, one per seed."""
    found = defaultdict[Key, list[dict[str, Any]]](list)
    measures = defaultdict[str, dict[str, Array]](dict)
    for (backbone, measure), differences in values.items():
        measures[backbone][measure] = differences
    for backbone, own in measures.items():
        for seed in range(len(next(iter(own.values())))):
            row = {"dataset": "digits", "backbone": backbone, "seed": seed, "state": "finished", "samples": samples}
            baseline = dict.fromkeys(own, 0.5)
            challenger = {measure: 0.5 + float(each[seed]) for measure, each in own.items()}
            for loss, figures in (("softmax", baseline), ("bce_unified", challenger)):
                found["digits", backbone, loss].append({**row, "loss": loss, **figures})
    return found


def drawn(rng: Rng, kind: Kind) -> dict[tuple[str, str], Array]:
    """Differences for more seeds than any look needs."""
    shared = rng.normal(size=(1, MOST))
    own = rng.normal(size=(kind.claims, MOST))
    values = SPREAD * (math.sqrt(0.5) * shared + math.sqrt(0.5) * own)
    if kind.samples:
        values = np.round(values * kind.samples) / kind.samples
    return {("resnet8", measure): each for measure, each in zip(MEASURES, values, strict=False)}


# Seeds that are added after results

Next = Callable[[Sequence[Finding], int], int | None]
"""From the findings at one number of seeds to the next number; None if there is no further look."""


def as_many_again(found: Sequence[Finding], seeds: int) -> int | None:
    """Five more seeds while something is undecided."""
    return seeds + 5 if any(finding.verdict == "undecided" for finding in found) else None


def as_advised(found: Sequence[Finding], seeds: int) -> int | None:
    """The number of seeds that the output recommends for the first undecided claim."""
    advice = [finding.seeds_needed for finding in found if finding.verdict == "undecided" and finding.seeds_needed]
    return min(*advice, MOST) if advice and seeds < MOST else None


def look(kind: Kind, values: dict[tuple[str, str], Array], plans: Sequence[int]) -> list[Finding]:
    """The findings at the last of several seed plans, with their marks."""
    experiment = asked([{"metric": measure} for _, measure in values], plans[-1])
    by_key = rows({key: each[: plans[-1]] for key, each in values.items()}, kind.samples)
    began = [Began(float(place), str(plan)) for place, plan in enumerate(plans) for _ in range(plan)]
    looked = Looked(planned(experiment, experiment), dict.fromkeys(by_key, began))
    return list(findings_of(experiment, by_key, looked=looked))


class Seen(NamedTuple):
    """The errors in one experiment."""

    unmarked: bool
    """Whether an unmarked verdict was wrong at any look."""
    marked: tuple[bool, ...]
    """Whether a marked verdict was wrong, within two, three … looks."""
    astray: bool
    """Whether a mark was missing at a later look, or present at the first."""


def looking(kind: Kind, further: Next) -> Callable[[Rng], Seen]:
    """Look at five seeds, then repeatedly at more, as long as there is a reason to."""

    def run(rng: Rng) -> Seen:
        values = drawn(rng, kind)
        plans = [5]
        unmarked = astray = False
        marked = [False] * (LOOKS + 1)
        for number in range(1, LOOKS + 1):
            found = look(kind, values, plans)
            standings = {finding.looks.standing for finding in found}
            astray |= standings != {"planned" if number == 1 else "exploratory"}
            wrong = {finding.looks.standing for finding in found if finding.verdict in WRONG}
            unmarked |= "planned" in wrong
            marked[number:] = [marked[number] or "exploratory" in wrong] * (LOOKS + 1 - number)
            following = further(found, plans[-1])
            if following is None:
                break
            plans.append(following)
        return Seen(unmarked, tuple(marked[2:]), astray)

    return run


# Claims that are decided once, at the last look of a rule


class Final(NamedTuple):
    """A rule adds seeds for one claim; another claim is decided at its last look."""

    name: str
    claims: tuple[dict[str, Any], ...]
    """The rule adds seeds for the first."""
    ahead: float
    """True difference of the first claim, in standard deviations; the others have none."""


OTHER = {"metric": "sample_wise_accuracy"}
FINALS = (
    Final("over: mean, nothing followed differs", ({}, {"over": "mean"}), 0.0),
    Final("over: all", ({}, {**OTHER, "over": "all"}), 1.5),
    Final("over: some", ({}, {**OTHER, "over": "some"}), 1.5),
    Final("over: mean", ({}, {**OTHER, "over": "mean"}), 1.5),
    Final(
        "difference of effects",
        ({}, {**OTHER, "where": {"backbone": "resnet8"}, "than": {"backbone": "resnet20"}}),
        1.5,
    ),
    Final("trend", ({}, {**OTHER, "trend": {"backbone": {"resnet8": 1, "resnet20": 2}}}), 1.5),
    Final("secondary", ({}, {**OTHER, "family": "secondary"}), 1.5),
)
RULE = {"min": 5, "max": 20, "until": "decided"}
BACKBONES = ("resnet8", "resnet20")


def deciding(case: Final, samples: int | None) -> Callable[[Rng], bool]:
    """Whether a verdict on a claim without a true difference is wrong at any look, with seeds added by the rule.

    The measures' differences have correlation 0.9, those of the two settings 0.5.
    """
    claims = [{"metric": MEASURES[0], **claim} for claim in case.claims]
    experiment = asked(claims, RULE, BACKBONES)
    measures = list(dict.fromkeys(claim["metric"] for claim in claims))

    def run(rng: Rng) -> bool:
        common = rng.normal(size=(1, 1, RULE["max"]))
        of_setting = math.sqrt(0.5) * common + math.sqrt(0.5) * rng.normal(size=(2, 1, RULE["max"]))
        noise = math.sqrt(0.9) * of_setting + math.sqrt(0.1) * rng.normal(size=(2, len(measures), RULE["max"]))
        values = SPREAD * (noise + case.ahead * (np.arange(len(measures)) == 0)[:, None])
        if samples:
            values = np.round(values * samples) / samples
        seeds = dict.fromkeys(BACKBONES, RULE["min"])
        while True:
            known = {
                (backbone, measure): values[place, at, : seeds[backbone]]
                for place, backbone in enumerate(BACKBONES)
                for at, measure in enumerate(measures)
            }
            found = list(findings_of(experiment, rows(known, samples)))
            open_ = {each.backbone for each in found if not each.is_last and each.verdict == "undecided"}
            asked_for = [backbone for backbone in open_ if seeds[backbone] < RULE["max"]]
            if not asked_for:
                break
            for backbone in asked_for:
                seeds[backbone] += 1
        true = {each.claim.id for each in found if each.claim.metric == MEASURES[0] and case.ahead}
        return any(each.verdict in WRONG for each in found if each.claim.id not in true)

    return run


# The tables


def bound(looks: int, runs: int) -> float:
    """5 % times the number of looks, plus three standard errors of the simulation."""
    share = looks * ALPHA
    return share + 3 * math.sqrt(share * (1 - share) / runs)


def _shown(rate: float, looks: int, runs: int) -> str:
    text = f"{100 * rate:.1f} %"
    return text if rate <= bound(looks, runs) else f"**{text}**"


def _seeded(name: str) -> Rng:
    return np.random.default_rng(zlib.crc32(name.encode()))


def added(runs: int) -> Iterator[str]:
    """One row per distribution and way of looking again."""
    heads = ["1 look, no mark", *(f"within {number} looks, exploratory" for number in range(2, LOOKS + 1))]
    yield f"| seeds | differences | {' | '.join(heads)} | wrongly marked | runs |"
    yield f"|---|---|{'---:|' * (len(heads) + 2)}"
    for way, further in (("5 more while undecided", as_many_again), ("as many as advised", as_advised)):
        for kind in KINDS:
            rng = _seeded(f"{way}, {kind.name}")
            run = looking(kind, further)
            found = [run(rng) for _ in range(runs)]
            rates = [float(np.mean([each.unmarked for each in found]))]
            rates += np.mean([each.marked for each in found], axis=0).tolist()
            shown = [_shown(rate, looks, runs) for looks, rate in enumerate(rates, start=1)]
            astray = sum(each.astray for each in found)
            yield f"| {way} | {kind.name} | {' | '.join(shown)} | {astray} | {runs:,} |"


def decided(runs: int) -> Iterator[str]:
    """One row per claim that is decided at the last look of a rule."""
    yield "| decided at the last look of `until` | Gaussian | N = 797 | runs |"
    yield "|---|---:|---:|---:|"
    for case in FINALS:
        rates = []
        for samples in (None, 797):
            rng = _seeded(f"{case.name}, {samples}")
            run = deciding(case, samples)
            rates.append(_shown(float(np.mean([run(rng) for _ in range(runs)])), 1, runs))
        yield f"| {case.name} | {' | '.join(rates)} | {runs:,} |"


def main() -> None:
    """Simulate everything, and write the tables."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    text = "\n".join([*added(runs), "", *decided(runs // 4)])
    print(text)
    fill("looks", text)
    if "**" in text:
        raise SystemExit("More than 5 % for each look and three standard errors: see what is in bold.")


if __name__ == "__main__":
    main()
