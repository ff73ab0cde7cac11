"""The comparison: every loss against the baseline, per setting, paired by seed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.adaptive.seeds import ALPHA, Row, by_seed, decided, look, partners
from orchestrator.analysis.fairness import Audit, Inequality, audit
from orchestrator.analysis.imported import Imported
from orchestrator.analysis.limits import Calibrated, TooFew, calibrated, too_few
from orchestrator.analysis.machines import Heard, Machines, answer, by_block, machines
from orchestrator.analysis.published import Published, beside
from orchestrator.experiment.looks import NOT_KNOWN, Looked, Looks, leaves_out, marked
from orchestrator.experiment.model import Claim, Experiment, Sequential, Threshold
from orchestrator.experiment.questions import Key, Part, Question, followed, parts, questions, verdicts
from orchestrator.experiment.stated import Dated, When
from orchestrator.outcome import Result, has_figures
from orchestrator.pairing.blocks import is_cell, met, unpaired
from orchestrator.pairing.combination import combine
from orchestrator.pairing.evidence import evidence, step
from orchestrator.records.files.earlier import NOTHING, Data
from orchestrator.reproduction.pooling import Pool
from orchestrator.statistics import multiplicity, paired, power
from orchestrator.statistics.intervals import Interval, mean_interval, paired_interval
from orchestrator.statistics.pairs import Judgement, Rule, Withheld, judge
from orchestrator.statistics.proportions import wilson
from orchestrator.statistics.verdicts import Verdict

if TYPE_CHECKING:
    from orchestrator.adaptive.trials import Tuned
    from trainers.evaluation import DecideBy

ALWAYS = ("sample_wise_accuracy", "uniform_accuracy")
"""What every comparison shows; claims may be about any measure."""

DEPLOYED: Mapping[Threshold, str] = {
    "validation": "accuracy_at_validation_threshold",
    "bias": "accuracy_at_bias",
    "test": "uniform_accuracy",
}
"""The accuracy of whoever chooses the threshold so."""

DRAWS = 10_000
"""Bootstrap resamples."""

ENOUGH_SEEDS = 20
"""Seeds from which a bootstrap interval over them is given. Where it says 95 %, it holds the truth in 91 to 95 of
100 cases with 20 seeds, in 84 to 93 with 5, and in 49 to 77 with 2."""


def compared(experiment: Experiment) -> tuple[str, ...]:
    """The measures that are shown, and whose differences are tested; all, in all settings, are one family."""
    return tuple(dict.fromkeys((*ALWAYS, DEPLOYED[experiment.threshold])))


class Tested(NamedTuple):
    """What tests say of one paired difference to the baseline."""

    t: float
    """p of Student's paired t test, to which the interval belongs."""
    holm: float
    """The same, so adjusted that of the whole table no difference is found wrongly (Holm 1979)."""
    fdr: float
    """The same, so adjusted that of those found few are found wrongly (Benjamini & Hochberg 1995)."""
    sign_flip: float
    """p of the exact sign-flip permutation test, which assumes no distribution."""
    bca_low: float
    bca_high: float
    effect: float
    """Hedges' d_z."""
    win: int
    tie: int
    loss: int


@dataclass(frozen=True)
class Line:
    """One loss in one setting (dataset x backbone)."""

    dataset: str
    backbone: str
    loss: str
    planned: int
    """Cells that were asked for, as far as the results tell."""
    finished: int
    """With figures, those that collapsed among them."""
    diverged: int
    means: Mapping[str, Interval]
    differences: Mapping[str, Interval] | None
    """Paired differences to the baseline; None for the baseline itself."""
    tests: Mapping[str, Tested] | None = None
    """What tests say of the differences."""
    collapsed: int = 0
    """No better than a guess on their own training images; they count as they are."""
    unpaired: int = 0
    """Seeds of which the loss and the baseline both have a result, but none from the same environment."""
    is_fixed: bool = False
    """Whether all seeds that were planned beforehand count, and no others: a test holds at one look alone."""


@dataclass(frozen=True)
class Finding:
    """What the results of one setting, or of several together, say of one claim."""

    claim: Claim
    dataset: str
    """Empty where the verdict is on several."""
    backbone: str
    """The same."""
    difference: Interval
    """With its 95 % interval: of one look, or where seeds are sequential of all looks together."""
    verdict: Verdict
    """After correction for the number of claims and settings."""
    alone: Verdict
    """The verdict if this were the only question asked."""
    p: float
    """How sure it is (`scopes.Levels`), adjusted by Holm over all findings; where seeds are sequential by Bonferroni,
    and NaN for claims that are looked at after every seed."""
    seeds_needed: int | None = None
    """How many seeds in all would decide if the true difference is as estimated; None if decided or unknown, and where
    `power.PRACTICAL` would not."""
    cells: int = 0
    """Results of both losses."""
    collapsed: int = 0
    diverged: int = 0
    lost: int = 0
    """Pairs of which a cell diverged or lacks the measure: they count as the worst, and a verdict stands with them."""
    at_worst: Interval | None = None
    """The difference with these at the measure's bound; None where there are none, or no bound."""
    withheld: Withheld | None = None
    """Why there is no verdict, where it is not the interval alone."""
    signs: float = math.nan
    """p of a sign test of the verdict; NaN without a verdict or with too few pairs."""
    doubted: bool = False
    """Whether that test disagrees sharply, so that the verdict rests on differences being about normal."""
    bound: float | None = None
    """The largest size of the difference that is left open, where no practical number of seeds would decide."""
    unequal: tuple[Inequality, ...] = ()
    """What the two losses were not given equally."""
    parts: int = 1
    """How many settings, or comparisons of settings, the verdict is on."""
    decisive: str | None = None
    """Of a claim about all or some of them, the one whose difference this is, which decides."""
    is_last: bool = False
    """Whether it is decided once, when no more seeds are to come that other claims ask for."""
    calibrated: Calibrated | None = None
    """The temperatures of calibrated probabilities that it rests on; None where it rests on none."""
    too_few: TooFew | None = None
    """A rate that the samples cannot carry, for which there is no figure; None where there is none."""
    waits: bool = False
    """Whether the claim is secondary and some primary one has no verdict yet."""
    looks: Looks = NOT_KNOWN
    """Under how many plans of seeds its cells began: with several, its verdict is exploratory."""

    @property
    def marked(self) -> str:
        """The verdict, with what looks make of it."""
        return marked(self.verdict, self.looks.standing)


@dataclass(frozen=True)
class Comparison:
    """Everything a reader needs to judge; `missing` counts cells that were asked for without a result."""

    experiment: str
    question: str
    baseline: str
    missing: int
    diverged: int
    collapsed: int
    lines: tuple[Line, ...]
    findings: tuple[Finding, ...]
    published: tuple[Published, ...] = ()
    """Figures from papers for the same datasets, backbones and losses, by recipes of their own."""
    stated: Mapping[str, When] = field(default_factory=dict)
    """When each claim was stated, by its id, as far as the cells tell."""
    sequence: Sequential | None = None
    """The rule that asked for seeds until the claims were decided: their verdicts then hold at all looks together,
    and for all claims and settings together by Bonferroni's correction. `Line.tests` hold at one look alone."""
    pool: Pool | None = None
    """The environments that the cells come from, and whether they may be pooled; None where it is one."""
    threshold: Threshold = "validation"
    """How the threshold is chosen of a model that is deployed."""
    decide_by: Mapping[str, DecideBy] = field(default_factory=dict)
    """By what losses decide, where that is not their raw scores."""
    audit: Audit | None = None
    """What each loss was given; None where there is one alone."""
    data: Data = NOTHING
    """What there is to know of the data: where they are not here, and cells of other states of them."""
    machines: Machines | None = None
    """What several environments say, each by itself; None where nothing was trained in two."""
    unpaired: int = 0
    """Pairs of a seed that are done, but not in one environment, and so in no difference."""
    owed: int = 0
    """Replicas that a launch on this machine would train to bring these together."""
    imported: Imported | None = None
    """What cells were trained elsewhere; None where none was."""
    looks: Looks = NOT_KNOWN
    """Under how many plans of seeds any of its cells began."""
    is_narrowed: bool = False
    """Whether flags leave out planned seeds: then there is no verdict."""

    @property
    def left_out(self) -> frozenset[str]:
        """The ids of cells and replicas that are in no figure."""
        return self.pool.left_out if self.pool else frozenset()

    def when(self, claim: Claim) -> When:
        """When a claim was stated."""
        return self.stated.get(claim.id, When(0, 0, 0))

    @property
    def when_all(self) -> Dated:
        """When the claims were stated: after results if one was, before them only if all were."""
        words = {self.when(finding.claim).word for finding in self.findings}
        return "after" if "after" in words else "before" if words == {"before"} else "unknown"

    @property
    def secondary(self) -> int:
        """Findings that wait for the others."""
        return sum(finding.claim.family == "secondary" for finding in self.findings)

    @property
    def measures(self) -> tuple[str, ...]:
        """What is compared."""
        return tuple(self.lines[0].means)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and names; NaN where an interval does not exist becomes None."""
        about = ("experiment", "question", "baseline", "missing", "diverged", "collapsed", "threshold", "decide_by")
        about += ("unpaired", "owed")
        return _plain(
            {
                **{name: getattr(self, name) for name in about},
                "stated": self.when_all,
                "looks": self.looks.to_json(),
                "sequence": self.sequence and self.sequence.model_dump(),
                "pool": self.pool and self.pool.to_json(),
                "audit": self.audit and self.audit.to_json(),
                "data": self.data.to_json(),
                "machines": self.machines and self.machines.to_json(),
                "imported": self.imported and self.imported.to_json(),
                "lines": [_told(line) for line in self.lines],
                "published": [figure.to_json() for figure in self.published],
                "claims": [
                    {
                        **finding.claim.model_dump(mode="json", exclude={"where"}),
                        **{name: value for name, value in vars(finding).items() if name != "claim"},
                        "unequal": [str(each) for each in finding.unequal],
                        "calibrated": finding.calibrated and asdict(finding.calibrated),
                        "too_few": finding.too_few and asdict(finding.too_few),
                        "stated": _dated(self.when(finding.claim)),
                        "looks": finding.looks.to_json(),
                    }
                    for finding in self.findings
                ],
            }
        )


def _dated(when: When) -> dict[str, Any]:
    return {"when": when.word, "carried": when.carried, "cells": when.cells}


def compare(
    experiment: Experiment,
    rows: Sequence[Row],
    *,
    replicas: Sequence[Row] = (),
    owed: int = 0,
    stated: Mapping[str, When] | None = None,
    pool: Pool | None = None,
    tuned: Sequence[Tuned] = (),
    trial_rows: Sequence[Row] = (),
    data: Data | None = None,
    looked: Looked | None = None,
    whole: Experiment | None = None,
) -> Comparison:
    """Compare all losses of an experiment from its results table.

    Args:
        experiment: What was asked; where it is tuned, with the winners' recipes.
        rows: The results table, one mapping a cell.
        replicas: The table of cells that were trained again, so that pairs meet in one environment.
        owed: How many more a launch would train.
        stated: When each claim was stated, by its id; not known without it.
        pool: The environments that the cells come from, where there are several; what it leaves out counts nowhere,
            except that each environment says by itself what it says.
        tuned: How each loss was tuned on each backbone and dataset.
        trial_rows: The results table of the tuning stage.
        data: What there is to know of the data.
        looked: Under which plans of seeds cells began; not known without it.
        whole: The experiment as its file has it, where flags change it: what they leave out counts among the
            questions nevertheless, and without seeds that are planned there is no verdict.
    """
    everything = (*rows, *replicas)
    left = pool.left_out if pool else ()
    rows = _without(rows, left)
    counted = _without(everything, left)
    by_key = _by_key(counted)
    whole = whole or experiment
    seen = _Seen(looked, experiment)
    narrowed = leaves_out(whole, experiment)
    fixed = frozenset() if narrowed or experiment.sequence else seen.fixed()
    tests = _tests(experiment, by_key, fixed, whole, np.random.default_rng(0))
    contest = audit(experiment, rows, tuned, trial_rows)
    findings = tuple(
        _limited(_marked(finding, experiment, contest), experiment, by_key)
        for finding in findings_of(experiment, by_key, whole, looked)
    )
    planned = _planned(experiment, _by_key(everything), findings)
    lines = tuple(
        replace(line, tests=tests.get(_key(line)), is_fixed=_key(line) in fixed)
        for line in _lines(experiment, by_key, planned)
    )
    return Comparison(
        experiment=experiment.name,
        question=experiment.question,
        baseline=experiment.baseline,
        missing=sum(line.planned - line.finished - line.diverged for line in lines),
        diverged=sum(line.diverged for line in lines),
        collapsed=sum(line.collapsed for line in lines),
        lines=lines,
        findings=findings,
        published=tuple(beside(experiment)),
        stated=stated or {},
        sequence=experiment.sequence,
        pool=pool,
        threshold=experiment.threshold,
        decide_by=_decide_by(experiment),
        audit=contest,
        data=data or NOTHING,
        machines=None
        if narrowed
        else _machines(experiment, _without(everything, pool.other_code if pool else ()), seen),
        unpaired=sum(line.unpaired for line in lines),
        owed=owed,
        imported=Imported.among(everything),
        looks=seen.everywhere(),
        is_narrowed=narrowed,
    )


class _Seen(NamedTuple):
    """The looks at what an experiment compares."""

    looked: Looked | None
    experiment: Experiment

    def at(self, finding: Finding) -> Looks:
        """At what a finding rests on."""
        return self._of(key for question in _asked(finding, self.experiment) for key in question.measures)

    def of(self, question: Question) -> Looks:
        """At a claim in one setting."""
        return self._of(question.measures)

    def fixed(self) -> frozenset[Key]:
        """The losses in settings of which, and of the baseline there, the number of seeds was planned."""
        baseline = self.experiment.baseline
        pairs = {key: (key, (*key[:2], baseline)) for key in _keys(self.experiment)}
        return frozenset(key for key, both in pairs.items() if self._of(both).standing == "planned")

    def everywhere(self) -> Looks:
        """At any of it."""
        return self._of(_keys(self.experiment))

    def _of(self, keys: Iterable[Key]) -> Looks:
        return self.looked.at(keys) if self.looked else NOT_KNOWN


def _keys(experiment: Experiment) -> list[Key]:
    return [(*setting, loss.label) for setting in _settings(experiment) for loss in experiment.losses]


def _without(rows: Iterable[Row], cells: Collection[str]) -> list[Row]:
    return [row for row in rows if row.get("cell_id") not in cells]


def _machines(experiment: Experiment, rows: Sequence[Row], seen: _Seen) -> Machines | None:
    """What several environments say of the claims about one setting each, every one by itself."""
    blocks = {block: _by_key(found) for block, found in by_block(rows).items()}
    asked = questions(experiment) if len(blocks) > 1 else ()
    found = (
        answer(
            *question,
            [_heard(block, _at_once(question, by_key, ())) for block, by_key in blocks.items()],
            seen.of(question).standing,
        )
        for question in asked
        if not question.claim.is_combined
    )
    return machines(compared(experiment), rows, [each for each in found if each])


def _heard(block: str, finding: Finding) -> Heard:
    return Heard(block, finding.difference, finding.alone)


def _by_key(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    found: defaultdict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["dataset"], row["backbone"], row["loss"]].append(row)
    return found


def _marked(finding: Finding, experiment: Experiment, contest: Audit | None) -> Finding:
    """The finding, with what the losses that it compares were not given equally."""
    if contest is None:
        return finding
    unequal: list[Inequality] = []
    for question in _asked(finding, experiment):
        here = contest.between(question.dataset, question.backbone, question.claim.challenger, question.claim.baseline)
        unequal += [each for each in here if each not in unequal]
    return replace(finding, unequal=tuple(unequal))


def _decide_by(experiment: Experiment) -> dict[str, DecideBy]:
    found: dict[str, DecideBy] = {choice.label: experiment.loss(choice.label).decide_by for choice in experiment.losses}
    for label in [label for label, by in found.items() if by == "raw"]:
        del found[label]
    return found


def _limited(finding: Finding, experiment: Experiment, by_key: Mapping[Key, Sequence[Row]]) -> Finding:
    """The finding, with the temperatures it rests on, or that its samples are too few."""
    asked = list(_asked(finding, experiment))
    return replace(finding, calibrated=calibrated(asked, by_key), too_few=too_few(asked, by_key))


def _asked(finding: Finding, experiment: Experiment) -> Iterator[Question]:
    """The questions that a finding answers."""
    for part in parts(finding.claim, experiment):
        first = part.questions[0]
        if finding.dataset in ("", first.dataset) and finding.backbone in ("", first.backbone):
            yield from part.questions


def _key(line: Line) -> Key:
    return line.dataset, line.backbone, line.loss


def _told(line: Line) -> dict[str, Any]:
    tests = None if line.tests is None else {name: tested._asdict() for name, tested in line.tests.items()}
    return {**vars(line), "tests": tests}


def _tests(
    experiment: Experiment,
    by_key: Mapping[Key, Sequence[Row]],
    fixed: Collection[Key],
    whole: Experiment,
    rng: np.random.Generator,
) -> dict[Key, dict[str, Tested]]:
    """Every test of every difference, by setting and loss; adjusted p only of those whose seeds were fixed."""
    keys = _challengers(experiment)
    if not keys:
        return {}
    differences = np.stack([_differences(key, experiment, by_key) for key in keys], axis=1)
    steps = np.array([[step(name, by_key.get(key, ())) for key in keys] for name in compared(experiment)])
    t = paired.paired_t_test(differences, steps)
    pairs = (~np.isnan(differences)).sum(axis=-1)
    is_whole = (pairs == len(experiment.seeds)) & np.array([key in fixed for key in keys])
    kept = np.where(is_whole, t, np.nan)  # or a star would flatter
    others = len(set(_challengers(whole)) - set(keys))
    holm, fdr = (_among(correct, kept, others) for correct in (multiplicity.holm, multiplicity.benjamini_hochberg))
    flipped = paired.sign_flip_test(differences, rng, DRAWS)
    low, high = paired.bca_interval(differences, rng, DRAWS)
    low, high = (np.where(pairs < ENOUGH_SEEDS, np.nan, bound) for bound in (low, high))
    effect = paired.effect_size(differences, steps)
    tally = paired.wins(differences)
    columns = (t, holm, fdr, flipped, low, high, effect, tally.win, tally.tie, tally.loss)
    values = [column.tolist() for column in columns]
    return {
        key: {name: Tested(*(column[m][k] for column in values)) for m, name in enumerate(compared(experiment))}
        for k, key in enumerate(keys)
    }


def _challengers(experiment: Experiment) -> list[Key]:
    """What is compared with the baseline."""
    return [key for key in _keys(experiment) if key[2] != experiment.baseline]


def _among(
    correct: Callable[[NDArray[np.float64]], NDArray[np.float64]], p: NDArray[np.float64], others: int
) -> NDArray[np.float64]:
    """Adjusted p (measures, keys) among those of as many more keys, which are left out of view."""
    return correct(np.pad(p, ((0, 0), (0, others)), constant_values=np.nan))[:, : p.shape[1]]


def _differences(key: Key, experiment: Experiment, by_key: Mapping[Key, Sequence[Row]]) -> NDArray[np.float64]:
    """Challenger - baseline of each tested measure, (measures, seeds); NaN where one of the two has none."""
    dataset, backbone, _ = key
    rows, others = met(by_key.get(key, ()), by_key.get((dataset, backbone, experiment.baseline), ()))
    measures = compared(experiment)
    found = np.full((len(measures), len(experiment.seeds)), np.nan)
    for m, name in enumerate(measures):
        mine = by_seed(rows, name)
        theirs = by_seed(others, name)
        for s, seed in enumerate(experiment.seeds):
            if seed in mine and seed in theirs:
                found[m, s] = mine[seed] - theirs[seed]
    return found


def _settings(experiment: Experiment) -> Iterator[tuple[str, str]]:
    for dataset in experiment.datasets:
        for backbone in experiment.backbones:
            yield dataset.label, backbone.label


def _planned(
    experiment: Experiment, by_key: Mapping[Key, Sequence[Row]], findings: Sequence[Finding]
) -> dict[Key, int]:
    """How many seeds each loss was asked for in each setting.

    Where claims decide that, seeds are asked for in their order, so all up to the highest that
    is there; and where a claim is undecided, all that either of its losses has, and the next pair.
    """
    keys = [(*setting, loss.label) for setting in _settings(experiment) for loss in experiment.losses]
    rule = experiment.sequence
    if rule is None:
        return dict.fromkeys(keys, len(experiment.seeds))
    reached = {key: 1 + max((row["seed"] for row in by_key.get(key, ())), default=-1) for key in keys}
    planned = {key: max(rule.min, reached[key]) for key in keys}
    for finding in findings:
        if finding.verdict == "undecided" and not finding.is_last:
            concerned = tuple(Question(finding.claim, finding.dataset, finding.backbone).measures)
            complete = min(reached[key] for key in concerned)
            most = min(rule.max, max(complete + 1, *(reached[key] for key in concerned)))
            planned |= {key: max(planned[key], most) for key in concerned}
    return planned


def _lines(experiment: Experiment, by_key: Mapping[Key, Sequence[Row]], planned: Mapping[Key, int]) -> Iterator[Line]:
    measures = compared(experiment)
    for dataset, backbone in _settings(experiment):
        for loss in experiment.losses:
            found = by_key.get((dataset, backbone, loss.label), [])
            others = by_key.get((dataset, backbone, experiment.baseline), [])
            rows = [row for row in found if is_cell(row)]
            (mine, theirs) = met(found, others)
            finished = sum(has_figures(row["state"]) for row in rows)
            differences = {
                name: paired_interval(by_seed(mine, name), by_seed(theirs, name), step=step(name, found))
                for name in measures
            }
            yield Line(
                dataset=dataset,
                backbone=backbone,
                loss=loss.label,
                planned=planned[dataset, backbone, loss.label],
                finished=finished,
                diverged=len(rows) - finished,
                collapsed=_in_state("collapsed", rows),
                means={name: _mean(rows, name) for name in measures},
                differences=None if loss.label == experiment.baseline else differences,
                unpaired=0 if loss.label == experiment.baseline else unpaired(found, others),
            )


def _mean(rows: Sequence[Row], metric: str) -> Interval:
    """The mean of an accuracy over seeds; where all have 0 or all 1, seeds tell no spread but the test set does."""
    values = list(by_seed(rows, metric).values())
    interval = mean_interval(values, step=step(metric, rows))
    if not values or set(values) not in ({0.0}, {1.0}):
        return interval
    samples = min(row.get("samples") or 0 for row in rows if has_figures(row["state"]))
    if not samples:
        return interval
    low, high = wilson(round(values[0] * samples), samples)
    return Interval(values[0], float(low), float(high), len(values))


def findings_of(
    experiment: Experiment,
    by_key: Mapping[Key, Sequence[Row]],
    whole: Experiment | None = None,
    looked: Looked | None = None,
) -> Iterator[Finding]:
    """Verdicts that stand although many were asked for, with the seeds that open ones still need, and their looks.

    Args:
        experiment: What is asked.
        by_key: The results, of replicas, too, by dataset, backbone and loss.
        whole: The experiment as its file has it, where flags leave something out.
        looked: Under which plans of seeds cells began; not known without it.
    """
    seen = _Seen(looked, experiment)
    for finding in _found(experiment, by_key, whole or experiment):
        yield replace(finding, looks=seen.at(finding))


def _found(experiment: Experiment, by_key: Mapping[Key, Sequence[Row]], whole: Experiment) -> Iterator[Finding]:
    if experiment.sequence:
        yield from _of_sequence(experiment, by_key, experiment.sequence, whole)
    else:
        found = [found for claim in experiment.claims for found in _of_claim(claim, experiment, by_key)]
        if leaves_out(whole, experiment):
            found = [_without_verdict(each, "narrowed") for each in found]
        yield from _corrected(found, whole)


def _without_verdict(finding: Finding, why: Withheld) -> Finding:
    """The difference alone."""
    none: dict[str, Any] = {"verdict": "undecided", "alone": "undecided", "withheld": why}
    return replace(finding, **none, p=math.nan, signs=math.nan, doubted=False)


def _of_sequence(
    experiment: Experiment, by_key: Mapping[Key, Sequence[Row]], rule: Sequential, whole: Experiment
) -> Iterator[Finding]:
    """Verdicts of claims that are looked at after every seed, and of the others once these ask for no more."""
    sizes = {family: max(verdicts(each, family) for each in (whole, experiment)) for family in FAMILIES}
    found: dict[str, list[Finding]] = {claim.id: [] for claim in experiment.claims}
    for question in followed(experiment):
        found[question.claim.id].append(_in_sequence(question, by_key, rule, sizes["primary"]))
    is_open = any(_may_ask(finding, by_key, rule) for findings in found.values() for finding in findings)
    others = [claim for claim in experiment.claims if not claim.is_followed]
    for family, claims in ((name, [each for each in others if each.family == name]) for name in FAMILIES):
        own = {claim.id: list(_of_claim(claim, experiment, by_key, rule)) for claim in claims}
        primary = [each for findings in found.values() for each in findings if each.claim.family == "primary"]
        decided_all = len(primary) >= sizes["primary"] and all(each.verdict != "undecided" for each in primary)
        is_shut = family == "secondary" and not decided_all
        for name, findings in own.items():
            found[name] = [_at_last(each, sizes[family], is_open=is_open, is_shut=is_shut) for each in findings]
    yield from (finding for claim in experiment.claims for finding in found[claim.id])


def _may_ask(finding: Finding, by_key: Mapping[Key, Sequence[Row]], rule: Sequential) -> bool:
    """Whether a claim that is followed may still ask for seeds."""
    if finding.verdict != "undecided":
        return False
    question = Question(finding.claim, finding.dataset, finding.backbone)
    first = set(range(rule.min))
    if any(first - {row["seed"] for row in by_key.get(key, ())} for key in question.measures):
        return True
    pairs = evidence(finding.claim, *partners(question, by_key), ())
    # where all of the first seeds are lost, later ones are not asked for
    return bool(pairs.complete) and len(pairs.challenger) < rule.max


def _at_last(finding: Finding, family: int, *, is_open: bool, is_shut: bool) -> Finding:
    """A finding of a claim that is decided once, with what stands among all of its family (Bonferroni)."""
    if is_open:
        return replace(_without_verdict(finding, "open"), is_last=True)
    p = min(1.0, finding.p * family)
    stands = finding.alone if p <= ALPHA and not is_shut else "undecided"
    return replace(finding, verdict=stands, p=p, waits=is_shut, is_last=True)


def _of_claim(
    claim: Claim, experiment: Experiment, by_key: Mapping[Key, Sequence[Row]], rule: Sequential | None = None
) -> Iterator[Finding]:
    """What the results say of a claim if it is the only question: in each setting, or once for all."""
    found = parts(claim, experiment)
    limits = rule and Rule(rule.min, rule.max)
    seeds = range(rule.min) if rule else experiment.seeds
    if not claim.is_combined:
        yield from (_at_once(part.questions[0], by_key, seeds, limits) for part in found)
    elif claim.over == "each":
        yield from (_together(claim, [part], by_key, seeds, limits) for part in found)
    elif found:
        yield _together(claim, found, by_key, seeds, limits)


def _together(
    claim: Claim,
    found: Sequence[Part],
    by_key: Mapping[Key, Sequence[Row]],
    seeds: Sequence[int],
    rule: Rule | None = None,
) -> Finding:
    """One verdict on several effects."""
    keys = {key for part in found for question in part.questions for key in question.measures}
    rows = [[row for row in by_key.get(key, ()) if is_cell(row)] for key in keys]
    together = combine(claim, found, lambda question: partners(question, by_key), seeds, rule)
    first = found[0].questions[0]
    is_one = claim.over == "each"
    along = claim.trend.axis if claim.trend else None
    return Finding(
        claim,
        dataset=first.dataset if is_one and along != "dataset" else "",
        backbone=first.backbone if is_one and along != "backbone" else "",
        **_judged(together.judgement),
        cells=sum(map(len, rows)),
        collapsed=_in_state("collapsed", *rows),
        diverged=_in_state("diverged", *rows),
        parts=len(found),
        decisive=together.decisive,
    )


def _judged(found: Judgement) -> dict[str, Any]:
    """What a finding has of a judgement if its question is the only one."""
    return {
        "difference": found.difference,
        "verdict": found.verdict,
        "alone": found.verdict,
        "p": found.p,
        "lost": found.lost,
        "at_worst": found.at_worst,
        "withheld": found.withheld,
        "signs": found.signs,
        "doubted": found.is_doubted,
    }


def _at_once(
    question: Question, by_key: Mapping[Key, Sequence[Row]], seeds: Sequence[int], rule: Rule | None = None
) -> Finding:
    """What the results say of a claim in one setting if it is the only question."""
    claim = question.claim
    challenger, baseline = partners(question, by_key)
    found = judge(evidence(claim, challenger, baseline, seeds), claim.direction, claim.tolerance, rule)
    return Finding(
        *question,
        **_judged(found),
        cells=len(challenger) + len(baseline),
        collapsed=_in_state("collapsed", challenger, baseline),
        diverged=_in_state("diverged", challenger, baseline),
    )


def _in_sequence(question: Question, by_key: Mapping[Key, Sequence[Row]], rule: Sequential, asked: int) -> Finding:
    """What the results say of a claim in one setting, looked at after every seed, among as many as are asked."""
    claim = question.claim
    challenger, baseline = partners(question, by_key)
    pairs = evidence(claim, challenger, baseline, ())
    found = judge(pairs, claim.direction, claim.tolerance)
    stands = decided(claim, challenger, baseline, rule, ALPHA / asked)
    # The last look has half of alpha, and no later one could come.
    advice = None if stands != "undecided" else power.advice(found.difference, claim.tolerance, ALPHA / asked / 2)
    return Finding(
        *question,
        difference=look(claim, challenger, baseline, rule),
        verdict=stands,
        alone=decided(claim, challenger, baseline, rule),
        p=math.nan,
        **_advised(advice),
        cells=len(challenger) + len(baseline),
        collapsed=_in_state("collapsed", challenger, baseline),
        diverged=_in_state("diverged", challenger, baseline),
        lost=found.lost,
        at_worst=found.at_worst,
        withheld=found.withheld if stands == "undecided" else None,
    )


def _in_state(state: Result, *rows: Sequence[Row]) -> int:
    return sum(row["state"] == state for each in rows for row in each)


def _corrected(findings: Sequence[Finding], whole: Experiment) -> Iterator[Finding]:
    """The findings in their order, with verdicts that stand among all of their family and after those before it."""
    found = {name: [finding.p for finding in findings if finding.claim.family == name] for name in FAMILIES}
    sizes = {name: max(verdicts(whole, name), len(found[name])) for name in FAMILIES}
    # what flags leave out is asked nevertheless
    padded = [[*found[name], *[math.nan] * (sizes[name] - len(found[name]))] for name in FAMILIES]
    adjusted = multiplicity.gated(padded)
    is_shut = bool((adjusted[0] > ALPHA).any() or np.isnan(adjusted[0]).any())
    ordered = dict(zip(FAMILIES, map(iter, adjusted), strict=True))
    for finding in findings:
        claim = finding.claim
        p = float(next(ordered[finding.claim.family]))
        stands = finding.alone if p <= ALPHA else "undecided"
        waits = claim.family == "secondary" and is_shut
        is_open = stands == "undecided" and finding.withheld is None and not waits and _is_one_interval(claim)
        alpha = ALPHA / sizes[claim.family]
        advice = power.advice(finding.difference, claim.tolerance, alpha) if is_open else None
        yield replace(finding, verdict=stands, p=p, waits=waits, **_advised(advice))


FAMILIES = ("primary", "secondary")


def _is_one_interval(claim: Claim) -> bool:
    """Whether the shown interval alone decides, and more seeds make it narrower."""
    return claim.over in {"each", "mean"} and not claim.population


def _advised(advice: power.Advice | None) -> dict[str, Any]:
    """How many seeds would decide, or that no practical number would."""
    if advice is None:
        return {}
    return {"seeds_needed": advice.seeds, "bound": advice.bound if advice.seeds is None else None}


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - the test for NaN
