"""The report: one HTML page that holds all it needs, for a browser without a network."""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.analysis import across_settings, sample_noise
from orchestrator.analysis.comparison import Comparison, Finding, Line
from orchestrator.analysis.threshold_curves import GRID, Curve, gather
from orchestrator.errors import DamagedFileError
from orchestrator.experiment.claims import Claim, Than
from orchestrator.experiment.model import Experiment
from orchestrator.experiment.plan import SHOWN, Cell, Plan
from orchestrator.experiment.stated import When
from orchestrator.outcome import has_figures
from orchestrator.pairing.evidence import step
from orchestrator.records.files.evaluations import Account, Evaluations
from orchestrator.records.files.summaries import Summaries
from orchestrator.report.styles import COLOURS, Look, look
from orchestrator.report.terminal import tables
from orchestrator.report.web import figures
from orchestrator.report.web.contest import Contest, Setting, told_of
from orchestrator.report.web.translations import Said, joined, measure, say, words
from orchestrator.report.wording import assumption, kinds, looked
from orchestrator.report.wording import difference as found
from orchestrator.report.wording import doubts as sentences
from orchestrator.sentences import Sentence
from orchestrator.statistics import power
from orchestrator.statistics.intervals import Interval, mean_interval
from orchestrator.statistics.scopes import FEWEST_DATASETS
from orchestrator.units import amount

Row = Mapping[str, Any]

ASSETS = Path(__file__).with_name("html")

HEAT = ("uniform_accuracy", "sample_wise_accuracy")
FEATURES = ("compactness", "distinctiveness", "uniformity", "nc1", "nc2", "nc3", "means_from_simplex")
KINDS = (
    "uniform_accuracy",
    "uniform_accuracy_sigmoid",
    "uniform_accuracy_probability",
    "uniform_accuracy_calibrated",
    "temperature",
    "temperature_at_edge",
    "open_auroc_calibrated",
    "uniform_accuracy_centred",
)
"""Uniform accuracy by what is compared with the threshold; beside calibrated ones, what they rest on."""
PROBABILITIES = (
    "calibration_error",
    "calibration_error_sigmoid",
    "negative_log_likelihood",
    "negative_log_likelihood_sigmoid",
    "brier_score",
    "brier_score_sigmoid",
)
BY_CLASS = ("training_accuracy", "macro_accuracy", "head_accuracy", "medium_accuracy", "tail_accuracy")
MORE = (
    (
        "Probabilities",
        "What losses claim as probabilities: softmax at T = 1 of all losses, and the sigmoid of score less bias of those trained for it. Mean ± half of the 95 % interval over seeds; lower is better. Likelihoods in nats; those of sigmoids are of K answers a sample.",  # noqa: E501 - one key of words.json
        PROBABILITIES,
    ),
    (
        "Training images and rare classes",
        "Sample-wise accuracy on training images, not augmented and with the labels trained on, and on test images as a mean over classes: all, and those of more than 100, of 20 to 100 and of fewer than 20 training images. Mean ± half of the 95 % interval over seeds.",  # noqa: E501 - one key of words.json
        BY_CLASS,
    ),
)
"""Tables of measures, each with its title and caption."""
THRESHOLDS = ("unified_threshold", "threshold_spread", "learned_bias", "bias_gap", "accuracy_at_bias")
VERDICTS = {"supported": "✓", "refuted": "✗", "equivalent": "≈", "undecided": "?"}
"""With their icons, in the order of counting."""


UNPAIRED = "Pairs of a seed that are of two environments, or of one that is not pooled with that of most pairs, in no difference: {count}."  # noqa: E501 - one key of words.json
REPLICAS = "Replicas that launch trains: {owed}."


class Judged(NamedTuple):
    """A claim, what it says, and what each setting says of it."""

    id: str
    sentence: Said
    stated: Said
    """When it was stated."""
    counts: Mapping[tuple[str, str], int]
    """How many findings have each verdict, by itself and with what looks make of it."""
    findings: Sequence[Finding]


class Coverage(NamedTuple):
    """Cells of one loss in one setting."""

    planned: int
    finished: int
    """With figures, those that collapsed among them."""
    diverged: int
    collapsed: int

    @property
    def missing(self) -> int:
        """Planned, and without a result."""
        return self.planned - self.finished - self.diverged


class Fact(NamedTuple):
    """One value that cells recorded of where they ran, and how many did."""

    name: str
    value: str
    cells: int
    differs: bool


class Beside(NamedTuple):
    """A published figure and ours for the same dataset, backbone and loss, in percent."""

    dataset: str
    backbone: str
    loss: str
    metric: str
    published: str
    ours: str
    recipe: str
    source: str
    differs: Said


def render(
    comparison: Comparison,
    rows: Sequence[Row],
    evaluations: Evaluations,
    plan: Plan,
    replicas: Sequence[Row] = (),
) -> str:
    """The report of an experiment, as the text of one page.

    Args:
        comparison: What the experiment's results say.
        rows: The results table, one mapping a cell.
        evaluations: The cells' files.
        plan: The experiment and its cells.
        replicas: The table of cells that were trained again.
    """
    left = comparison.left_out
    rows, replicas = ([row for row in table if row["cell_id"] not in left] for table in (rows, replicas))
    found, unreadable = gather(plan, rows, evaluations)
    accounts = tuple(_accounts(plan, rows, evaluations))
    sampled = sample_noise.within(plan, evaluations, left)
    view = _View(plan, comparison, rows, replicas, found, unreadable, accounts, sampled)
    return _environment().get_template("page.html.j2").render(view=view, drawn=_drawn(view))


def _accounts(plan: Plan, rows: Sequence[Row], evaluations: Evaluations) -> Iterator[Account]:
    done = {row["cell_id"] for row in rows}
    summaries = Summaries.of_cells(evaluations, plan.cells)
    for cell in plan.cells:
        if cell.id in done:
            try:
                yield summaries.account(cell)
            except (FileNotFoundError, DamagedFileError):  # `gather` says so
                continue


@dataclass(frozen=True)
class _View:
    """What the template reads, section by section."""

    plan: Plan
    comparison: Comparison
    rows: Sequence[Row]
    replicas: Sequence[Row]
    curves: Sequence[Curve]
    unreadable: Sequence[str]
    accounts: Sequence[Account]
    sampled: Sequence[sample_noise.Sampled]

    @property
    def experiment(self) -> Experiment:
        return self.plan.experiment

    @property
    def losses(self) -> list[str]:
        return [choice.label for choice in self.experiment.losses]

    @property
    def styles(self) -> Look:
        return look(self.losses)

    @property
    def settings(self) -> list[Setting]:
        pairs = itertools.product(self.experiment.datasets, self.experiment.backbones)
        return [Setting(dataset.label, backbone.label) for dataset, backbone in pairs]

    @cached_property
    def overall(self) -> across_settings.Overall:
        """How the losses stand over all settings."""
        return across_settings.overall(self.experiment, (*self.rows, *self.replicas))

    @property
    def finished(self) -> list[Row]:
        return [row for row in self.rows if has_figures(row["state"])]

    @property
    def cells(self) -> int:
        """Cells that were asked for, as far as the results tell."""
        return sum(line.planned for line in self.comparison.lines)

    @property
    def seeds(self) -> str:
        """How many seeds there are, or may be."""
        rule = self.experiment.sequence
        return f"{rule.min}–{rule.max}" if rule else str(len(self.experiment.seeds))

    def held(self) -> Said | None:
        """What the verdicts hold against; None of one alone."""
        count = len(self.comparison.findings)
        if self.comparison.sequence:
            return say("The verdicts hold for all {count} at once, and at every look (Bonferroni).", count=count)
        if second := self.comparison.secondary:
            text = (
                "The verdicts hold for all {count} primary claims at once, then for the {second} secondary ones (Holm)."
            )
            return say(text, count=count - second, second=second)
        return say("The verdicts hold for all {count} at once (Holm).", count=count) if count > 1 else None

    @property
    def period(self) -> tuple[str, str] | None:
        """When the first cell started and the last ended."""
        if not self.accounts:
            return None
        ends = min(a.started for a in self.accounts), max(a.started + a.seconds for a in self.accounts)
        first, last = (f"{datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M}" for end in ends)
        return first, last

    def lines(self, setting: Setting) -> list[Line]:
        """The comparison's lines of a setting."""
        return [line for line in self.comparison.lines if (line.dataset, line.backbone) == setting]

    def claims(self) -> Iterator[Judged]:
        """The experiment's claims in their order, each with its findings."""
        for claim in self.experiment.claims:
            findings = [finding for finding in self.comparison.findings if finding.claim.id == claim.id]
            counts = Counter((finding.verdict, finding.marked) for finding in findings)
            ordered = {found: counts[found] for found in sorted(counts, key=lambda each: [*VERDICTS].index(each[0]))}
            yield Judged(claim.id, statement(claim), dated(self.comparison.when(claim)), ordered, findings)

    def kinds(self) -> Said | None:
        """By what losses decide, where some do not by raw scores."""
        told = kinds(self.comparison)
        return _said(told) if told else None

    def stated_after(self) -> bool:
        """Whether some claim was stated after results."""
        return any(self.comparison.when(claim).word == "after" for claim in self.experiment.claims)

    def by_claim(self) -> Iterator[tuple[Claim, list[sample_noise.Sampled]]]:
        """What the test samples say of each claim."""
        for claim, group in itertools.groupby(self.sampled, lambda found: found.claim):
            yield claim, list(group)

    def pooled(self) -> list[Said]:
        """Which environments the cells come from, and whether they may be pooled; nothing where it is one."""
        pool = self.comparison.pool
        return [_said(sentence) for sentence in pool.sentences()] if pool else []

    def data(self) -> list[Said]:
        """What there is to know of the data: where they are not here, and cells of other states of them."""
        return [_said(sentence) for sentence in self.comparison.data.sentences()]

    def machines(self) -> list[Said]:
        """What several environments say, each by itself, and how many pairs are in none."""
        told = self.comparison.machines
        said = [_said(sentence) for sentence in told.sentences()] if told else []
        if self.comparison.owed:
            said.insert(0, say(REPLICAS, owed=self.comparison.owed))
        if self.comparison.unpaired:
            said.insert(0, say(UNPAIRED, count=self.comparison.unpaired))
        return said

    def imported(self) -> list[Said]:
        """How many cells were trained elsewhere, and what of theirs is as stated; nothing where none was."""
        found = self.comparison.imported
        return [say(text, **values) for text, values in found.sentences()] if found else []

    def looked(self) -> list[Said]:
        """What a reader must know of the number of seeds, where it was not simply planned."""
        return [say(text, **values) for text, values in looked(self.comparison)]

    def too_few(self) -> Said | None:
        """That the fewest pairs of seeds cannot show anything without assumptions, where that is so."""
        tests = [tested for line in self.comparison.lines for tested in (line.tests or {}).values()]
        pairs = min((each for each in (test.win + test.tie + test.loss for test in tests) if each), default=0)
        if not 1 < pairs < tables.ENOUGH:
            return None
        p = power.smallest_p(pairs, "sign_flip")
        text = "With {pairs} pairs of seeds no test free of assumptions can go below p = {p}."
        return say(text, pairs=pairs, p=f"{p:.3g}")

    def coverage(self, setting: Setting) -> dict[str, Coverage]:
        """How far each loss is in a setting."""
        return {
            line.loss: Coverage(line.planned, line.finished, line.diverged, line.collapsed)
            for line in self.lines(setting)
        }

    def heat(self, line: Line, metric: str) -> int | None:
        """Where a mean lies between the lowest and the highest of the grid, in percent; None where there is none."""
        means = [each.means[metric].estimate for each in self.comparison.lines if each.means[metric].n]
        if not line.means[metric].n:
            return None
        low = min(means)
        high = max(means)
        return round(100 * (line.means[metric].estimate - low) / (high - low)) if high > low else 50

    def compared_heads(self) -> list[Any]:
        """The columns of `compared`."""
        names = [say(tables.MEANS[name]) for name in self.comparison.measures]
        return ["n", *names, say("pairs"), *(say("Δ {measure}", measure=name) for name in names)]

    @property
    def contest(self) -> Contest | None:
        """What each loss was given; None where there is one alone."""
        return self.comparison.audit and Contest(self.comparison.audit, self.settings)

    def compared(self) -> list[dict[str, list[str]]]:
        """The comparison's numbers for each loss, setting by setting."""
        return [{line.loss: tables.cells(line)[1:] for line in self.lines(setting)} for setting in self.settings]

    def measured(self, metrics: Sequence[str]) -> list[dict[str, list[str]]]:
        """Means of measures over seeds for each loss, setting by setting."""
        return [
            {loss: [_spread(self._interval((*setting, loss), metric)) for metric in metrics] for loss in self.losses}
            for setting in self.settings
        ]

    def _interval(self, key: tuple[str, ...], metric: str) -> Interval:
        rows = self._by_key[key]
        return mean_interval([row[metric] for row in rows if row[metric] is not None], step=step(metric, rows))

    @cached_property
    def _by_key(self) -> defaultdict[tuple[str, ...], list[Row]]:
        """The finished cells of each dataset, backbone and loss."""
        found: defaultdict[tuple[str, ...], list[Row]] = defaultdict(list)
        for row in self.finished:
            found[row["dataset"], row["backbone"], row["loss"]].append(row)
        return found

    def recorded(self, metrics: Sequence[str]) -> list[str]:
        """Those measures that some finished cell has."""
        return [metric for metric in metrics if any(row[metric] is not None for row in self.finished)]

    def costs(self) -> list[dict[str, list[str]]]:
        """Cells, mean seconds, training seconds, images per second and parameters of each loss, setting by setting."""
        cells = {cell.id: (cell.dataset, cell.backbone, cell.loss) for cell in self.plan.cells}
        spent: defaultdict[tuple[str, ...], list[Account]] = defaultdict(list)
        for account in self.accounts:
            if has_figures(account.state):
                spent[cells[account.cell_id]].append(account)
        names = ("seconds", "train_seconds", "images_per_second", "parameters")
        return [
            {
                loss: [
                    f"{len(spent[*setting, loss])}",
                    *(_mean(getattr(account, name) for account in spent[*setting, loss]) for name in names),
                ]
                for loss in self.losses
            }
            for setting in self.settings
        ]

    def hours(self) -> float:
        """Worker-hours of all cells that are done."""
        return math.fsum(account.seconds for account in self.accounts) / 3600

    def facts(self) -> list[Fact]:
        """What cells recorded of where they come from; several values of one name where they differ."""
        datasets = {cell.id: cell.dataset for cell in self.plan.cells}
        values: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for account in self.accounts:
            for name, value in {**account.provenance, "protocol": account.protocol}.items():
                if name == "stated":  # of the claims, and not of where the cell ran
                    continue
                # Datasets differ from each other by their nature.
                own = f"{name} ({datasets[account.cell_id]})" if name.startswith("data_") else name
                values[own][_shortened(value)] += 1
        return [
            Fact(name, value, cells, len(counts) > 1)
            for name, counts in values.items()
            for value, cells in counts.most_common()
        ]

    def beside(self) -> Iterator[Beside]:
        """Published figures with ours."""
        for figure in self.comparison.published:
            yield Beside(
                figure.dataset,
                figure.backbone,
                figure.loss,
                figure.metric,
                f"{100 * figure.value:.1f}",
                ", ".join(self._ours(figure.dataset, figure.backbone, figure.loss, figure.metric)) or "–",
                figure.recipe or "–",
                figure.source,
                joined(say(each.text, **each.values) for each in figure.differs),
            )

    def _ours(self, *wanted: str) -> Iterator[str]:
        """Our means under the catalogue's names, which labels may differ from."""
        *keys, metric = wanted
        axes = (self.experiment.datasets, self.experiment.backbones, self.experiment.losses)
        for labels in itertools.product(
            *(
                [choice.label for choice in axis if choice.plugin.key == key]
                for axis, key in zip(axes, keys, strict=True)
            )
        ):
            mean = self._interval(labels, metric)
            if mean.n:
                own = f"{tables.percent(mean)} (n={mean.n})"
                yield own if labels[2] == keys[2] else f"{labels[2]}: {own}"

    def absent(self) -> list[Said]:
        """Seeds without a result, a sentence for each loss and setting."""
        done = {row["cell_id"] for row in self.rows}
        seeds = self.experiment.seeds
        asked = {
            (line.dataset, line.backbone, line.loss, seed)
            for line in self.comparison.lines
            for seed in seeds[: line.planned]
        }

        def lacks(cell: Cell) -> bool:
            return cell.id not in done and (cell.dataset, cell.backbone, cell.loss, cell.seed) in asked

        return self._seeds("{name}: no result for seeds {seeds}", lacks)

    def diverged(self) -> list[Said]:
        """Seeds that diverged, a sentence for each loss and setting."""
        lost = {row["cell_id"] for row in self.rows if row["state"] == "diverged"}
        return self._seeds("{name}: diverged with seeds {seeds}", lambda cell: cell.id in lost)

    def collapsed(self) -> list[Said]:
        """Seeds that collapsed, a sentence for each loss and setting."""
        lost = {row["cell_id"] for row in self.rows if row["state"] == "collapsed"}
        return self._seeds("{name}: collapsed with seeds {seeds}", lambda cell: cell.id in lost)

    def _seeds(self, text: str, wanted: Callable[[Cell], bool]) -> list[Said]:
        found: defaultdict[str, list[int]] = defaultdict(list)
        for cell in self.plan.cells:
            if wanted(cell):
                found[f"{cell.loss}/{cell.backbone}/{cell.dataset}"].append(cell.seed)
        return [say(text, name=name, seeds=", ".join(map(str, seeds))) for name, seeds in found.items()]


def _said(sentence: Sentence) -> Said:
    """A sentence whose values may be sentences, too."""
    text, values = sentence
    return say(text, **{name: _part(value) for name, value in values.items()})


def _part(value: Any) -> Any:
    if isinstance(value, list):
        return joined(map(_said, value), ", ")
    return _said(value) if isinstance(value, tuple) else value


def statement(claim: Claim) -> Said:
    """A claim as a sentence."""
    told = _contrast(claim) if claim.than or claim.trend else _relation(claim)
    return told if claim.over == "each" else say(tables.SCOPES[claim.over, claim.population], claim=told)


def _relation(claim: Claim) -> Said:
    challenger, baseline = (Markup("<b>{}</b>").format(loss) for loss in (claim.challenger, claim.baseline))
    metric = measure(claim.metric)
    if claim.within is not None:
        text = "{metric} of {challenger} is within {margin} of 0"
        return say(text, metric=metric, challenger=challenger, margin=_margin(claim))
    other = measure(claim.baseline_metric) if claim.baseline_metric else Said(Markup("that"), metric.ja)
    text = {
        "higher": "{metric} of {challenger} is above {other} of {baseline}",
        "lower": "{metric} of {challenger} is below {other} of {baseline}",
        "equal": "{metric} of {challenger} equals {other} of {baseline} to within {margin}",
    }[claim.direction]
    if claim.margin and claim.direction != "equal":
        text += " by more than {margin}"
    return say(text, metric=metric, challenger=challenger, other=other, baseline=baseline, margin=_margin(claim))


def _margin(claim: Claim) -> Said:
    return _said(amount(claim.tolerance, claim.metrics))


def difference(finding: Finding) -> Said:
    """What was found, with its interval and n."""
    return _said(found(finding))


def dated(when: When) -> Said:
    """When a claim was stated, with the cells that show it."""
    text = {
        "before": "Stated before these cells ran ({carried} of {cells} cells carry it).",
        "after": "Stated after results ({carried} of {cells} cells carry it).",
        "unknown": "Not known when it was stated ({carried} of {cells} cells carry it).",
    }[when.word]
    return say(text, carried=when.carried, cells=when.cells)


def _contrast(claim: Claim) -> Said:
    """A claim about the difference of two effects, or about their trend."""
    challenger, baseline = (Markup("<b>{}</b>").format(loss) for loss in (claim.challenger, claim.baseline))
    metric = measure(claim.metric)
    other = measure(claim.baseline_metric) if claim.baseline_metric else Said(Markup("that"), metric.ja)
    effect = say(
        "{metric} of {challenger} less {other} of {baseline}",
        metric=metric,
        challenger=challenger,
        other=other,
        baseline=baseline,
    )
    changes = ", ".join((claim.than or Than(metric=claim.metric)).model_dump(exclude_none=True).values())
    if claim.trend:
        line = ", ".join(f"{label}: {position:g}" for label, position in claim.trend.positions.items())
        values = {"effect": effect, "line": line, "margin": _margin(claim)}
        if claim.than:
            return say(STEEPER[claim.direction], changes=changes, **values)
        return say(TRENDS[claim.direction], **values)
    own = [label for label in (claim.where.backbone, claim.where.dataset) if label]
    here = f" ({', '.join(own)})" if own else ""
    return say(CONTRASTS[claim.direction], effect=effect, here=here, changes=changes, margin=_margin(claim))


CONTRASTS = {
    "higher": "{effect}{here} is larger than with {changes} (margin {margin})",
    "lower": "{effect}{here} is smaller than with {changes} (margin {margin})",
    "equal": "{effect}{here} is as large as with {changes} (margin {margin})",
}
TRENDS = {
    "higher": "{effect} rises along {line} (margin {margin} for each step of 1)",
    "lower": "{effect} falls along {line} (margin {margin} for each step of 1)",
    "equal": "{effect} does not change along {line} (margin {margin} for each step of 1)",
}
STEEPER = {
    "higher": "{effect} rises more along {line} than with {changes} (margin {margin} for each step of 1)",
    "lower": "{effect} rises less along {line} than with {changes} (margin {margin} for each step of 1)",
    "equal": "{effect} changes as much along {line} as with {changes} (margin {margin} for each step of 1)",
}


def place(finding: Finding) -> Said:
    """Where a finding holds."""
    text, values = tables.scope(finding)
    return say(text, **values)


def doubts(finding: Finding) -> list[Said]:
    """What else is to be said of a verdict."""
    told: list[Said] = []
    if finding.unequal:
        told.append(
            say("unequal contest: {reasons}", reasons=joined(told_of(each.sentence) for each in finding.unequal))
        )
    return told + [
        _said((text, {name: (value, {}) if name == "verdict" else value for name, value in values.items()}))
        for text, values in sentences(finding)
    ]


def unproved(comparison: Comparison) -> list[Said]:
    """What 'before' does not prove, where some claim was stated before."""
    return [say(text) for text in tables.unproved(comparison)]


def assumed(comparison: Comparison) -> Said | None:
    """What the verdicts assume, and how often they are wrong where it fails; None without a verdict."""
    found = assumption(comparison)
    return say(found[0], **found[1]) if found else None


def advice(found: sample_noise.Sampled) -> list[Said]:
    """Which noise is the greatest in a setting."""
    return [_said(sentence) for sentence in sample_noise.advice(found)]


def across_heading(standings: across_settings.Standings) -> Said:
    """By what measure, and whether the losses differ at all over data sets like these, and how far ranks must."""
    name = measure(standings.metric)
    found = standings.friedman
    if found is None:
        return name
    p = tables.p_value(found.p)
    exact = say("exact") if found.exact else say("of drawn orders")
    enough = math.isfinite(standings.critical_difference)
    text = "critical difference {cd}" if enough else "no difference of ranks is rare enough"
    return say(
        "{measure}: Friedman {statistic}, p {p} ({exact}); {ranks}; same: within ±{rope} points",
        measure=name,
        statistic=f"{found.statistic:.2f}",
        p=p if p.startswith("<") else f"= {p}",
        exact=exact,
        ranks=say(text, cd=f"{standings.critical_difference:.2f}") if enough else say(text),
        rope=f"{100 * standings.rope:g}",
    )


def across_caption(overall: across_settings.Overall) -> list[Said]:
    """What the numbers over all settings are."""
    seeds = overall.standings[0].seeds
    runs = seeds * overall.settings
    told = [
        say(
            "Rank: mean over data sets ({datasets}), backbones averaged; 1 is best. These settings: mean difference to {baseline} over the {settings} settings as given, in points, ± half of the 95 % Student t interval over seeds (n = {seeds}; one has no interval).",  # noqa: E501 - one key of words.json
            datasets=overall.datasets,
            baseline=overall.baseline,
            settings=overall.settings,
            seeds=seeds,
        )
    ]
    if overall.says_of_others:
        told.append(
            say(
                "Of others like these, with a data set as the unit (n = {datasets}): p: Wilcoxon's signed-rank test against {baseline}, exact, Holm; mean difference by a mixed model, t with {freedom} degrees of freedom; worse, same, better: percent, by the Bayesian signed-rank test.",  # noqa: E501 - one key of words.json
                datasets=overall.datasets,
                baseline=overall.baseline,
                freedom=overall.datasets - 1,
            )
        )
    else:
        text = "Nothing is said of other data sets: that takes {fewest}; backbones on one data set share its images and seeds."  # noqa: E501 - one key of words.json
        told.append(say(text, fewest=FEWEST_DATASETS))
    if seeds >= across_settings.ENOUGH_SEEDS:
        told.append(
            say("Interquartile mean: of all runs of a loss (n = {runs}), with a bootstrap interval.", runs=runs)
        )
    else:
        text = "Interquartile mean: of all runs of a loss (n = {runs}); its bootstrap interval holds from {seeds} seeds on."  # noqa: E501 - one key of words.json
        told.append(say(text, runs=runs, seeds=across_settings.ENOUGH_SEEDS))
    told.append(say("Gap: mean shortfall from 100. Cells that diverged count as 0."))
    return told


def _drawn(view: _View) -> dict[str, Any]:
    """What the scripts read: figures by name, one for each setting or one alone, and the explorer's curves."""
    styles = view.styles
    by_setting = [
        [curve for curve in view.curves if (curve.dataset, curve.backbone) == setting] for setting in view.settings
    ]
    several = {
        "forest": [_figure(figures.forest, _compared(view.lines(setting))) for setting in view.settings],
        "threshold-curves": [_figure(figures.threshold_curves, own, styles) for own in by_setting],
        "histograms": [_figure(figures.histograms, own, styles) for own in by_setting],
        "training": [_figure(figures.training, _histories(view, setting), styles) for setting in view.settings],
    }
    if contest := view.contest:
        several["budget"] = [_figure(figures.budget, own, contest.metric, styles) for own in contest.budgets()]
        several["sensitivity"] = [_figure(figures.sensitivity, own) for own in contest.sensitivity()]
    ranking = across_settings.ranking(view.experiment, (*view.rows, *view.replicas), "uniform_accuracy")
    scores, profiles = across_settings.profiles(view.experiment, view.rows, "uniform_accuracy")
    biased = [curve for curve in view.curves if any(bias is not None for bias in curve.biases)]
    single = {
        "critical-difference": [_figure(figures.critical_difference, ranking)],
        "performance-profile": [_figure(figures.performance_profile, profiles, scores, styles)],
        "bias-scatter": [_figure(figures.bias_scatter, biased, styles)],
    }
    return {
        "ranking": ranking,
        "figures": {name: drawn for name, drawn in (several | single).items() if any(drawn)},
        "curves": [[curve.to_json() for curve in own] for own in by_setting],
    }


def _figure(draw: Callable[..., Any], subject: Any, *rest: Any) -> dict[str, Any] | None:
    """A figure as plain data; None where there is nothing to draw."""
    if not subject:
        return None
    drawn = draw(subject, *rest).to_plotly_json()
    del drawn["layout"]["template"]
    return drawn


def _compared(lines: Sequence[Line]) -> Sequence[Line]:
    """The lines, if any of them has a difference."""
    known = any(interval.n for line in lines for interval in (line.differences or {}).values())
    return lines if known else ()


def _histories(view: _View, setting: Setting) -> dict[str, list[list[dict[str, float]]]]:
    losses = {cell.id: cell.loss for cell in view.plan.cells if (cell.dataset, cell.backbone) == setting}
    found = dict[str, list[list[dict[str, float]]]]()
    for loss in view.losses:
        runs = [account.history for account in view.accounts if losses.get(account.cell_id) == loss and account.history]
        if runs:
            found[loss] = runs
    return found


def _mean(values: Iterator[float | None]) -> str:
    """Of those that exist, with decimals where it is small."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = math.fsum(known) / len(known)
    return f"{mean:,.0f}" if mean >= 100 else f"{mean:.2f}"  # noqa: PLR2004 - three digits tell enough


def _shortened(value: object) -> str:
    text = "–" if value is None else str(value)
    return text[:SHOWN] if len(text) in {40, 64} and set(text) <= set("0123456789abcdef") else text


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("orchestrator.report.web", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    filters: dict[str, Any] = environment.filters
    filters |= {"percent": tables.percent, "measure": measure}
    scripts = (_plotly(), *(_asset(name) for name in ("page.js", "explorer.js")))
    known: dict[str, Any] = environment.globals
    known |= {
        "say": say,
        "words": words(),
        "difference": difference,
        "doubts": doubts,
        "place": place,
        "told_of": told_of,
        "mark": tables.MARK,
        "protocols": tables.PROTOCOLS,
        "statement": statement,
        "advice": advice,
        "explanation": sample_noise.EXPLANATION,
        "sampled_heads": sample_noise.HEADS,
        "sampled_cells": sample_noise.cells,
        "across_caption": across_caption,
        "assumed": assumed,
        "unproved": unproved,
        "across_heading": across_heading,
        "across_cells": tables.across_cells,
        "across_heads": [
            "Rank",
            "These settings",
            "p value",
            "Others like these",
            "Worse / same / better",
            "Interquartile mean",
            "Gap",
        ],
        "icons": VERDICTS,
        "palette": COLOURS,
        "colours": COLOURS
        | {
            figures.INK: figures.INK_ON_DARK,
            figures.PAPER: figures.PAPER_ON_DARK,
            figures.AHEAD: figures.AHEAD_ON_DARK,
            figures.BEHIND: figures.BEHIND_ON_DARK,
        },
        "style": Markup(_asset("page.css")),  # noqa: S704 - a file of ours
        "scripts": [Markup(script) for script in scripts],  # noqa: S704 - files of ours, and Plotly's
        "hashes": [_hash(script) for script in scripts],
        "heat_metrics": HEAT,
        "feature_metrics": FEATURES,
        "threshold_metrics": THRESHOLDS,
        "kind_metrics": KINDS,
        "more_metrics": MORE,
        "grid": GRID,
    }
    return environment


def _spread(interval: Interval) -> str:
    """`1.234 ± 0.056 (n=5)`, in the unit of the measure."""
    if not interval.n:
        return "–"
    half = "" if math.isnan(interval.low) else f" ± {(interval.high - interval.low) / 2:.3f}"
    return f"{interval.estimate:.3f}{half} (n={interval.n})"


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def _hash(script: str) -> str:
    """A script's name in the page's policy: nothing else may run there."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"
