"""How often a verdict is wrong if there is no true difference, by the old rules and the current ones.

    python -m benchmarks.verdicts [--runs 2000] [--out verdicts.json]

Each scenario simulates experiments with a known truth and counts those with any wrong verdict. Results are stored in a
file as they come, so that an interrupted run can continue, and the table between two comments in docs/statistics.md is
written from this file. Everything is seeded.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import fdtrc, stdtr, stdtrit
from scipy.stats import rankdata

from benchmarks.page import fill
from orchestrator.experiment.model import Experiment
from orchestrator.reproduction.anchor_log import Anchor, AnchorEntry
from orchestrator.reproduction.equivalence import judge as judge_anchors
from orchestrator.reproduction.finished_cells import Environment
from orchestrator.statistics.intervals import mean_interval
from orchestrator.statistics.mixed import effect_as_given, loss_effect
from orchestrator.statistics.multiplicity import holm
from orchestrator.statistics.pairs import Pairs, Scale, judge, judge_at_look
from orchestrator.statistics.ranks import chance, friedman
from orchestrator.statistics.scopes import FEWEST_DATASETS
from orchestrator.statistics.verdicts import Direction, Verdict

ALPHA = 0.05
RUNS = 2_000
QUESTIONS = 12
MARGIN = 0.01

Rng = np.random.Generator
Array = np.ndarray


class Wrong(NamedTuple):
    """Whether any verdict of one experiment is wrong."""

    before: bool
    now: bool
    doubted: bool = False
    """Whether a verdict is wrong by the current rules and the output warns that a sign test disagrees."""


class Scenario(NamedTuple):
    """A kind of experiment with a known truth."""

    name: str
    draw: Callable[[Rng], Wrong]
    may_exceed: bool = False
    """Whether the error rate may exceed its bound; only for skew and rare collapse."""
    share: float = 1.0
    """Fraction of the runs to simulate, below 1 if one takes long."""


# The rules before


def verdict_before(values: Array, direction: Direction, margin: float) -> tuple[Verdict, float]:
    """Student's t from two pairs on, without a lower limit on the spread: equal differences gave width 0."""
    n = len(values)
    mean = float(values.mean())
    half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n))
    if half < 1e-15:  # noqa: PLR2004 - equal up to rounding
        half = 0.0
    low, high = (mean - half, mean + half) if direction != "lower" else (-mean - half, -mean + half)
    distance = min(abs(mean - margin), abs(mean + margin))
    p = (0.0 if distance else 1.0) if half == 0 else 2 * stdtr(n - 1, -distance / half * stdtrit(n - 1, 0.975))
    within = -margin <= low and high <= margin
    if direction == "equal":
        return ("supported" if within else "refuted" if low > margin or high < -margin else "undecided"), float(p)
    found: Verdict = "supported" if low > margin else "refuted" if high < -margin else "equivalent"
    return (found if found != "equivalent" or within else "undecided"), float(p)


# One look at several questions


def family(
    differences: Array, margin: float, samples: int, wrong: set[Verdict], direction: Direction = "higher"
) -> Wrong:
    """Differences (questions, seeds) of accuracies on `samples` test samples; 0 means a continuous measure."""
    old = [verdict_before(line, direction, margin) for line in differences]
    scale = Scale(0.0, 1.0, 1 / samples if samples else 0.0)
    new = [
        judge(Pairs((0.5 + line).tolist(), [0.5] * len(line), scale, scale), direction, margin) for line in differences
    ]
    before = holm([p for _, p in old]) <= ALPHA
    now = holm([each.p for each in new]) <= ALPHA
    missed = [each.verdict in wrong and bool(is_found) for each, is_found in zip(new, now, strict=True)]
    doubted = [each.is_doubted for each, is_missed in zip(new, missed, strict=True) if is_missed]
    return Wrong(
        any(found in wrong and is_found for (found, _), is_found in zip(old, before, strict=True)),
        any(missed),
        bool(doubted) and all(doubted),
    )


def on_samples(values: Array, samples: int) -> Array:
    """Round to whole test samples."""
    return np.round(values * samples) / samples


def discrete(questions: int, n: int, samples: int, spread: float, margin: float = 0.0) -> Callable[[Rng], Wrong]:
    """Accuracies whose mean difference is the margin, so that any verdict except *undecided* is wrong."""
    wrong: set[Verdict] = {"supported", "refuted", "equivalent"} if not margin else {"supported", "equivalent"}

    def draw(rng: Rng) -> Wrong:
        drawn = on_samples(margin + rng.normal(0, spread, (questions, n)), samples)
        return family(drawn, margin, samples, wrong)

    return draw


def gaussian(questions: int, n: int, correlation: float = 0.0) -> Callable[[Rng], Wrong]:
    """A continuous measure; questions may share their seeds' noise."""

    def draw(rng: Rng) -> Wrong:
        shared = rng.normal(size=(1, n))
        own = rng.normal(size=(questions, n))
        return family(
            math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own, 0.0, 0, {"supported", "refuted"}
        )

    return draw


def skewed(n: int, draw_values: Callable[[Rng, int], Array]) -> Callable[[Rng], Wrong]:
    """One question about non-normal differences with mean 0."""
    return lambda rng: family(draw_values(rng, n)[None], 0.0, 0, {"supported", "refuted"})


def exponential(rng: Rng, n: int) -> Array:
    """Skewed to the right, with mean 0."""
    return rng.exponential(size=n) - 1


def collapsing(rng: Rng, n: int) -> Array:
    """One seed in ten collapses by 40 points; the others are better by so much that the mean is 0."""
    return 0.04 - 0.4 * (rng.random(n) < 0.1) + rng.normal(0, 0.005, n)  # noqa: PLR2004 - one in ten


# Looking


def settings_that_finish(rng: Rng) -> Wrong:
    """12 settings finish one after the other, with a look after each."""
    lines = rng.normal(size=(QUESTIONS, 5))
    before = now = False
    p = np.array([verdict_before(line, "higher", 0.0)[1] for line in lines])
    for done in range(1, QUESTIONS + 1):
        known = np.where(np.arange(QUESTIONS) < done, p, np.nan)
        before |= bool((holm(p[:done]) <= ALPHA).any())
        now |= bool((np.nan_to_num(holm(known), nan=1.0) <= ALPHA).any())
    return Wrong(before, now)


def seeds_that_come(samples: int, spread: float) -> Callable[[Rng], Wrong]:
    """`until: decided` from 5 to 12 seeds; the old rule had no lower limit on the spread at its last look."""

    def draw(rng: Rng) -> Wrong:
        before = now = False
        for line in on_samples(rng.normal(0, spread, (4, 12)), samples):
            scale = Scale(0.0, 1.0, 1 / samples)
            found, p = verdict_before(line, "higher", 0.0)
            before |= found in {"supported", "refuted"} and p <= ALPHA / 4 / 2
            for n in range(5, 13):
                pairs = Pairs((0.5 + line[:n]).tolist(), [0.5] * n, scale, scale)
                now |= judge_at_look(pairs, "higher", 0.0, least=5, most=12, alpha=ALPHA / 4) != "undecided"
        return Wrong(before, now)

    return draw


# Lost cells


def diverging(rng: Rng) -> Wrong:
    """The challenger diverges in four seeds of ten and is a point better in the others: *higher* is wrong."""
    baseline = 0.9 + rng.normal(0, 0.002, 5)
    challenger = baseline + 0.01 + rng.normal(0, 0.002, 5)
    kept = rng.random(5) >= 0.4  # noqa: PLR2004
    left = (challenger - baseline)[kept]
    before = len(left) > 1 and verdict_before(left, "higher", 0.0)[0] == "supported"
    scale = Scale(0.0, 1.0, 1 / 1000)
    values = [value if is_kept else None for value, is_kept in zip(challenger.tolist(), kept, strict=True)]
    found = judge(Pairs(values, baseline.tolist(), scale, scale), "higher", 0.0)
    # if no seed is lost, the data cannot show it
    return Wrong(before and not kept.all(), found.verdict == "supported" and not kept.all())


# Settings


def nested(datasets: int, backbones: int) -> Callable[[Rng], Wrong]:
    """Backbones on one data set share most of their differences; there is no effect over data sets.

    By the old rules, every setting was a separate unit. Now a verdict from fewer than five data sets is about exactly
    these settings, and its interval is wrong if it misses their mean; from more, it is about the population.
    """

    def draw(rng: Rng) -> Wrong:
        effect = rng.normal(0, 1.0, (datasets, 1, 1)) + rng.normal(0, 0.5, (datasets, backbones, 1))
        shared = rng.normal(size=(datasets, 1, 5))
        own = rng.normal(size=(datasets, backbones, 5))
        values = effect + math.sqrt(0.7) * shared + math.sqrt(0.3) * own
        old = mean_interval(values.mean(axis=2).ravel().tolist())
        found = loss_effect(values.mean(axis=1))
        given = effect_as_given(values.reshape(-1, 5))
        truth = effect.mean()
        missed = (
            found.low > 0 or found.high < 0 if datasets >= FEWEST_DATASETS else not given.low <= truth <= given.high
        )
        return Wrong(not old.low <= 0 <= old.high, bool(missed))

    return draw


def ranked(settings: int, losses: int) -> Callable[[Rng], Wrong]:
    """Whether the ranks of losses differ at all: the F of Iman & Davenport, and the exact test over all orders."""
    by_chance = chance(np.tile(np.arange(losses, dtype=float), (settings, 1)), np.random.default_rng(0))

    def draw(rng: Rng) -> Wrong:
        scores = rng.normal(size=(settings, losses))
        mean = rankdata(-scores, axis=1).mean(axis=0)
        statistic = 12 * settings / (losses * (losses + 1)) * float(((mean - (losses + 1) / 2) ** 2).sum())
        room = settings * (losses - 1) - statistic
        f = math.inf if room <= 1e-9 else (settings - 1) * statistic / room  # noqa: PLR2004
        before = float(fdtrc(losses - 1, (losses - 1) * (settings - 1), f)) <= ALPHA
        return Wrong(before, friedman(scores, by_chance).p <= ALPHA)

    return draw


# Old cells beside new ones


GRID = Experiment.model_validate(
    {
        "name": "x",
        "losses": ["softmax", "bce_unified"],
        "backbones": ["resnet8"],
        "datasets": ["digits"],
        "seeds": 5,
        "baseline": "softmax",
        "claims": [
            {
                "id": "x",
                "metric": "uniform_accuracy",
                "challenger": "bce_unified",
                "baseline": "softmax",
                "direction": "higher",
                "margin": MARGIN,
            }
        ],
    }
)
HERE = Environment.of({})


def shifted(shifts: list[tuple[str, str, float]], noise: float = 0.003) -> Callable[[Rng], Wrong]:
    """Anchors (loss, backbone, shift), with a margin of 0.01: accepting them is wrong."""

    def draw(rng: Rng) -> Wrong:
        found = [shift + rng.normal(0, noise) for _, _, shift in shifts]
        anchors = tuple(
            Anchor(
                str(number),
                f"{loss}/{backbone}/digits/s0",
                ("digits", backbone),
                {"uniform_accuracy": 0.5},
                {"uniform_accuracy": 0.5 + difference},
                identical=False,
                samples=10_000,
            )
            for number, ((loss, backbone, _), difference) in enumerate(zip(shifts, found, strict=True))
        )
        mean = mean_interval(found)
        outcome = judge_anchors(GRID, [AnchorEntry(0.0, HERE, HERE, HERE, (), anchors)])
        return Wrong(max(-mean.low, mean.high) <= MARGIN, outcome is not None and outcome.found == "equivalent")

    return draw


def scenarios() -> Iterator[Scenario]:
    """All of them, in the order of the table."""
    yield from _of_one_look()
    yield from _of_several_looks()
    yield from _across_settings()
    yield from _of_anchors()
    for n in (3, 5, 10, 20):
        yield Scenario(f"skew: exponential differences, n = {n}", skewed(n, exponential), may_exceed=True)
        yield Scenario(f"rare collapse: one seed in ten, n = {n}", skewed(n, collapsing), may_exceed=True)


def _of_one_look() -> Iterator[Scenario]:
    for n, samples, spread in itertools.product((2, 3, 5), (100, 797, 10_000), (0.001, 0.005, 0.01)):
        about = f"{QUESTIONS} claims, n = {n}, N = {samples:,}, spread {100 * spread:g} points"
        yield Scenario(f"accuracies: {about}", discrete(QUESTIONS, n, samples, spread))
    for n, samples in itertools.product((2, 3, 5), (100, 1_000)):
        name = f"accuracies that differ by the margin: 1 claim, n = {n}, N = {samples:,}, spread 0.5 points"
        yield Scenario(name, discrete(1, n, samples, 0.005, margin=MARGIN))
    for n in (2, 3, 5):
        yield Scenario(f"Gaussian: 1 claim, n = {n}", gaussian(1, n))
        yield Scenario(f"Gaussian: {QUESTIONS} claims that share seeds, n = {n}", gaussian(QUESTIONS, n, 0.7))
    yield Scenario("a challenger that diverges in 4 of 10 seeds is called better", diverging)


def _of_several_looks() -> Iterator[Scenario]:
    yield Scenario(f"looking while {QUESTIONS} settings finish", settings_that_finish)
    for samples, spread in ((100, 0.005), (797, 0.005), (10_000, 0.001)):
        name = f"`until: decided`, 4 claims, 5 to 12 seeds, N = {samples:,}, spread {100 * spread:g} points"
        yield Scenario(name, seeds_that_come(samples, spread), share=0.5)


def _across_settings() -> Iterator[Scenario]:
    for datasets, backbones in ((1, 6), (2, 4), (3, 3), (5, 2), (6, 1), (6, 3)):
        name = f"settings: data sets × backbones = {datasets} × {backbones}"
        yield Scenario(name, nested(datasets, backbones))
    for settings, losses in ((2, 2), (3, 2), (2, 3), (4, 2), (2, 4), (5, 3)):
        yield Scenario(f"ranks: {settings} data sets, {losses} losses", ranked(settings, losses))


def _of_anchors() -> Iterator[Scenario]:
    apart = [("softmax", "a", 1.5 * MARGIN), ("bce", "a", -1.5 * MARGIN)] * 12
    yield Scenario("anchors: losses shift by 1.5 margins in opposite directions, 24 anchors", shifted(apart), share=0.5)
    few = [("softmax", f"b{number}", 3 * MARGIN if number in {0, 1} else 0.0) for number in range(24)]
    yield Scenario("anchors: 2 of 24 settings shift by 3 margins", shifted(few), share=0.5)
    edge = [("softmax", "a", MARGIN), ("bce", "a", 0.0)] * 6
    yield Scenario("anchors: one loss shifts by the margin, 12 anchors", shifted(edge), share=0.5)


class Rate(NamedTuple):
    """Fractions of experiments with a wrong verdict."""

    before: float
    now: float
    doubted: float
    runs: int

    @property
    def bound(self) -> float:
        """5 % plus three standard errors of the simulation."""
        return ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / self.runs)


def measure(scenario: Scenario, runs: int) -> Rate:
    """Simulate a scenario, always with the same random draws."""
    runs = max(1, round(scenario.share * runs))
    rng = np.random.default_rng(zlib.crc32(scenario.name.encode()))
    found = np.array([scenario.draw(rng) for _ in range(runs)], float).mean(axis=0)
    before, now, doubted = map(float, found)
    return Rate(before, now, doubted, runs)


def table(found: dict[str, Rate]) -> str:
    """Markdown table; rates above their bound are in bold."""
    lines = ["| scenario | before | now | runs |", "|---|---:|---:|---:|"]
    for scenario in scenarios():
        rate = found.get(scenario.name)
        if rate is None:
            continue
        now = f"{100 * rate.now:.1f} %"
        exceeds = rate.now > rate.bound
        shown = f"**{now}**" if exceeds and not scenario.may_exceed else now
        doubted = f" ({100 * rate.doubted:.1f} points with a warning)" if scenario.may_exceed and rate.doubted else ""
        lines.append(f"| {scenario.name} | {100 * rate.before:.1f} % | {shown}{doubted} | {rate.runs:,} |")
    return "\n".join(lines)


def main() -> None:
    """Simulate the scenarios that are not in the file yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--out", type=Path, default=Path("verdicts.json"))
    asked = parser.parse_args()
    kept = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    found = {name: Rate(*rate) for name, rate in kept.items()}
    for scenario in scenarios():
        if scenario.name not in found:
            found[scenario.name] = measure(scenario, asked.runs)
            asked.out.write_text(json.dumps(found, indent=1))
            print(f"{scenario.name}: {found[scenario.name].before:.4f} {found[scenario.name].now:.4f}", flush=True)
    fill("verdicts", table(found))
    exceeded = [
        each.name for each in scenarios() if not each.may_exceed and found[each.name].now > found[each.name].bound
    ]
    if exceeded:
        raise SystemExit(f"More than 5 % and three standard errors: {'; '.join(exceeded)}")


if __name__ == "__main__":
    main()
