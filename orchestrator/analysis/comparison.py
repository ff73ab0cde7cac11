"""The comparison: every loss against the baseline, per setting, paired by seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.adaptive.seeds import Row
from orchestrator.analysis.added import Added
from orchestrator.analysis.fairness import Audit, Inequality, audit
from orchestrator.analysis.findings import Finding, SeenLooks, at_once, findings_of, questions_of
from orchestrator.analysis.imported import ImportedCells
from orchestrator.analysis.limits import calibrated, too_few
from orchestrator.analysis.lines import Line, lines_of, planned_seeds, tests_of
from orchestrator.analysis.machines import Heard, Machines, answer, by_block, machines
from orchestrator.analysis.published import Published, beside
from orchestrator.analysis.scored import Scored
from orchestrator.analysis.settings import rows_by_key
from orchestrator.experiment.claims import Claim
from orchestrator.experiment.looks import NOT_KNOWN, Looked, Looks, leaves_out
from orchestrator.experiment.model import Experiment, Threshold
from orchestrator.experiment.questions import Key, questions
from orchestrator.experiment.seed_rule import Sequential
from orchestrator.experiment.stated import Dated, When
from orchestrator.records.files.earlier import NOTHING, Data
from orchestrator.reproduction.pooling import Pool
from orchestrator.sentences import counted
from orchestrator.statistics.intervals import Interval

if TYPE_CHECKING:
    from orchestrator.adaptive.trials import Tuned
    from trainers.evaluation import DecideBy


@dataclass(frozen=True, repr=False)
class Comparison:
    """Everything a reader needs to judge."""

    experiment: str
    question: str
    baseline: str
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
    owed: int = 0
    """Replicas that a launch on this machine would train to bring unpaired cells together."""
    imported: ImportedCells | None = None
    """What cells were trained elsewhere; None where none was."""
    looks: Looks = NOT_KNOWN
    """Under how many plans of seeds any of its cells began."""
    added: Added | None = None
    """What was added to the file, and what was taken back; None where nothing was."""
    narrowed: str = ""
    """What options leave out of this view, of all that stays asked: `losses a, b; seeds 3, 4`."""
    scored: Scored | None = None
    """What is known of scores that come from elsewhere; None where the cells were trained here."""
    is_narrowed: bool = False
    """Whether flags leave out planned seeds: then there is no verdict."""

    def __repr__(self) -> str:
        verdicts = Counter(finding.verdict for finding in self.findings)
        told = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
        return f"<Comparison of '{self.experiment}': {counted(len(self.lines), 'line')}; {told or 'no claim'}>"

    @property
    def missing(self) -> int:
        """Cells that were asked for without a result."""
        return sum(line.planned - line.finished - line.diverged for line in self.lines)

    @property
    def diverged(self) -> int:
        """Cells that diverged."""
        return sum(line.diverged for line in self.lines)

    @property
    def collapsed(self) -> int:
        """Cells that collapsed."""
        return sum(line.collapsed for line in self.lines)

    @property
    def unpaired(self) -> int:
        """Pairs of a seed that are done, but not in one environment, and so in no difference."""
        return sum(line.unpaired for line in self.lines)

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
        about += ("unpaired", "owed", "narrowed")
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
                "additions": self.added and self.added.to_json(),
                **({"scored": self.scored.to_json()} if self.scored else {}),
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
    added: Added | None = None,
    left_out: str = "",
    scored: Scored | None = None,
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
        whole: The experiment whose questions are judged together, where options change it: what they leave out counts
            nevertheless, and without seeds that are planned there is no verdict.
        added: What was added to the file.
        left_out: What options leave out, as `experiment.additions.left_out` writes it.
        scored: What is known of scores that come from elsewhere: nothing, of the conditions.
    """
    everything = (*rows, *replicas)
    left = pool.left_out if pool else ()
    rows = _without(rows, left)
    by_key = rows_by_key(_without(everything, left))
    whole = whole or experiment
    seen = SeenLooks(looked, experiment)
    narrowed = leaves_out(whole, experiment)
    contest = None if scored else audit(experiment, rows, tuned, trial_rows)
    findings = tuple(
        _limited(_marked(finding, experiment, contest), experiment, by_key)
        for finding in findings_of(experiment, by_key, whole, looked)
    )
    planned = planned_seeds(experiment, rows_by_key(everything), findings)
    fixed = frozenset() if narrowed or experiment.sequence else seen.fixed()
    of_this_code = _without(everything, pool.other_code if pool else ())
    return Comparison(
        experiment=experiment.name,
        question=experiment.question,
        baseline=experiment.baseline,
        lines=_tested_lines(experiment, by_key, planned, fixed, whole),
        findings=findings,
        published=tuple(beside(experiment)),
        stated=stated or {},
        sequence=experiment.sequence,
        pool=pool,
        threshold=experiment.threshold,
        decide_by=_decide_by(experiment),
        audit=contest,
        data=data or NOTHING,
        machines=None if narrowed else _machines(experiment, of_this_code, seen),
        owed=owed,
        imported=ImportedCells.among(everything),
        looks=seen.everywhere(),
        added=added,
        narrowed=left_out,
        scored=scored,
        is_narrowed=narrowed,
    )


def _tested_lines(
    experiment: Experiment,
    by_key: Mapping[Key, Sequence[Row]],
    planned: Mapping[Key, int],
    fixed: Collection[Key],
    whole: Experiment,
) -> tuple[Line, ...]:
    """The lines, with what tests say of their differences to the baseline.

    Args:
        experiment: What was asked.
        by_key: The rows of its cells.
        planned: How many seeds each line should have.
        fixed: Lines whose number of seeds was fixed beforehand.
        whole: The experiment whose differences are tested together.
    """
    tests = tests_of(experiment, by_key, fixed, whole, np.random.default_rng(0))
    lines: list[Line] = []
    for line in lines_of(experiment, by_key, planned):
        key = line.dataset, line.backbone, line.loss
        lines.append(replace(line, tests=tests.get(key), is_fixed=key in fixed))
    return tuple(lines)


def _without(rows: Iterable[Row], cells: Collection[str]) -> list[Row]:
    return [row for row in rows if row.get("cell_id") not in cells]


def _machines(experiment: Experiment, rows: Sequence[Row], seen: SeenLooks) -> Machines | None:
    """What several environments say of the claims about one setting each, every one by itself."""
    blocks = {block: rows_by_key(found) for block, found in by_block(rows).items()}
    asked = questions(experiment) if len(blocks) > 1 else ()
    found = (
        answer(
            *question,
            [_heard(block, at_once(question, by_key, ())) for block, by_key in blocks.items()],
            seen.of(question).standing,
        )
        for question in asked
        if not question.claim.is_combined
    )
    return machines(experiment.shown, rows, [each for each in found if each])


def _heard(block: str, finding: Finding) -> Heard:
    return Heard(block, finding.difference, finding.alone)


def _marked(finding: Finding, experiment: Experiment, contest: Audit | None) -> Finding:
    """The finding, with what the losses that it compares were not given equally."""
    if contest is None:
        return finding
    unequal: list[Inequality] = []
    for question in questions_of(finding, experiment):
        here = contest.between(question.dataset, question.backbone, question.claim.challenger, question.claim.baseline)
        unequal += [each for each in here if each not in unequal]
    return replace(finding, unequal=tuple(unequal))


def _decide_by(experiment: Experiment) -> dict[str, DecideBy]:
    found: dict[str, DecideBy] = {}
    for choice in experiment.losses:
        by = experiment.loss(choice.label).decide_by
        if by != "raw":
            found[choice.label] = by
    return found


def _limited(finding: Finding, experiment: Experiment, by_key: Mapping[Key, Sequence[Row]]) -> Finding:
    """The finding, with the temperatures it rests on, or that its samples are too few."""
    asked = list(questions_of(finding, experiment))
    return replace(finding, calibrated=calibrated(asked, by_key), too_few=too_few(asked, by_key))


def _told(line: Line) -> dict[str, Any]:
    tests = None if line.tests is None else {name: tested._asdict() for name, tested in line.tests.items()}
    return {**vars(line), "tests": tests}


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - the test for NaN
