"""A comparison as a table: for the terminal, for Markdown, for JSON; `latex` has it for papers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.analysis.across_settings import ENOUGH_SEEDS, Overall, Standing, Standings
from orchestrator.analysis.comparison import ALPHA, Comparison, Finding, Line, Tested
from orchestrator.experiment.model import Claim, Threshold
from orchestrator.experiment.stated import When
from orchestrator.report.wording import assumption, difference, kinds, looked
from orchestrator.report.wording import doubts as sentences
from orchestrator.sentences import counted, filled
from orchestrator.statistics import power
from orchestrator.statistics.intervals import ENOUGH as ENOUGH_PAIRS
from orchestrator.statistics.intervals import Interval
from orchestrator.statistics.scopes import FEWEST_DATASETS
from orchestrator.units import amount

MEANS = {
    "sample_wise_accuracy": "sample-wise",
    "uniform_accuracy": "uniform",
    "accuracy_at_validation_threshold": "deployable",
    "accuracy_at_bias": "at the bias",
}

PROTOCOLS: Mapping[Threshold, str] = {
    "validation": "Threshold: chosen on held-out images (deployable). Uniform: the best on test images, optimistic.",
    "bias": "Threshold: the bias, learnt or fixed; – where none is. Uniform: the best on test images, optimistic.",
    "test": "Threshold: the best on test images (uniform), optimistic: nobody who deploys a model knows it.",
}

MARK = "†"
"""At a verdict about two losses that were not given the same."""

COLOURS = {"supported": "green", "refuted": "red", "equivalent": "cyan", "undecided": "yellow"}


def percent(interval: Interval, n: int | None = None) -> str:
    """`91.2 ± 0.4`, in percent; a lone value where the spread is unknown, and with its own n where that is not `n`."""
    return _with_spread(interval, "", n)


def points(interval: Interval | None, n: int | None = None) -> str:
    """`+1.2 ± 0.4`, in percentage points; with its own n where that is not `n`."""
    return "–" if interval is None else _with_spread(interval, "+", n)


def _with_spread(interval: Interval, sign: Literal["", "+"], n: int | None) -> str:
    if not interval.n:
        return "–"
    value = f"{100 * interval.estimate:{sign}.1f}"
    spread = "" if math.isnan(interval.low) else f" ± {50 * (interval.high - interval.low):.1f}"
    return f"{value}{spread}" if n in (None, interval.n) else f"{value}{spread} (n={interval.n})"


def headings(comparison: Comparison) -> list[str]:
    """The columns after the setting."""
    names = [MEANS[name] for name in comparison.measures]
    return ["loss", "n", *names, "pairs", *(f"Δ {name}" for name in names)]


def cells(line: Line) -> list[str]:
    """One row under `headings`. `n` shows what is missing, diverged or collapsed, too."""
    return [line.loss, _seeds(line), *_means(line), _pairs(line), *_differences(line)]


def _means(line: Line) -> list[str]:
    return [percent(interval, line.finished) for interval in line.means.values()]


def pairs(line: Line) -> int:
    """How many pairs of seeds the differences of a line rest on; one that rests on fewer shows its own number."""
    return max((interval.n for interval in (line.differences or {}).values()), default=0)


def _pairs(line: Line) -> str:
    return "–" if line.differences is None else str(pairs(line))


def _seeds(line: Line) -> str:
    n = str(line.finished) if line.finished == line.planned else f"{line.finished}/{line.planned}"
    counts = ((line.diverged, "diverged"), (line.collapsed, "collapsed"))
    named = ", ".join(f"{count} {state}" for count, state in counts if count)
    return f"{n} ({named})" if named else n


def _differences(line: Line) -> list[str]:
    return [_tested(line, name) for name in line.means]


def _tested(line: Line, name: str) -> str:
    """A difference, with a star where it stands after correction for all of the table."""
    found = points((line.differences or {}).get(name), pairs(line))
    return f"{found} *" if line.tests and line.tests[name].holm <= ALPHA else found


def caption(comparison: Comparison) -> str:
    """What the numbers are; it belongs under every table."""
    numbers = (
        f"Percent; mean ± half of the 95 % Student t interval over n seeds. Δ to {comparison.baseline}: paired by "
        "seed, in points; * differs from 0 after Holm's correction over all differences shown (paired t test, 5 %, "
        f"from {ENOUGH_PAIRS} pairs on, where no planned pair is missing or lost and seeds were fixed beforehand)."
    )
    return " ".join([numbers, *remarks(comparison)])


def remarks(comparison: Comparison) -> list[str]:
    """What a reader must know to believe the numbers no more than they deserve."""
    told = [text.format(**values) for text, values in looked(comparison)]
    if comparison.sequence:
        told.append("No stars: claims decide how many seeds there are, and a star holds at one look.")
    pairs = min((tested.win + tested.tie + tested.loss for tested in _all_tests(comparison)), default=0)
    if 1 < pairs < ENOUGH:
        p = power.smallest_p(pairs, "sign_flip")
        told.append(f"With {pairs} pairs of seeds no test free of assumptions can go below p = {p:.3g}.")
    if comparison.unpaired:
        one = comparison.unpaired == 1
        pairs = f"{comparison.unpaired} {'pair of a seed is' if one else 'pairs of a seed are'}"
        apart = f"{pairs} of two environments, or of one that is not pooled with that of most pairs,"
        again = f": launch trains {comparison.owed} {'replica' if comparison.owed == 1 else 'replicas'}"
        told.append(f"{apart} and in no difference{again if comparison.owed else ''}.")
    if comparison.missing:
        told.append(f"Planned cells without a result: {comparison.missing}.")
    if comparison.collapsed:
        told.append(f"{_cells(comparison.collapsed)} collapsed ({COLLAPSED}); the figures count as they are.")
    if comparison.diverged:
        told.append(f"{_cells(comparison.diverged)} diverged, in no mean.")
    return told


COLLAPSED = "no better than a guess on their own training images"


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"


def fairness(comparison: Comparison) -> list[str]:
    """How the threshold was chosen, what losses were given, whether cells may be pooled, and which were imported."""
    found = (comparison.audit, comparison.pool, comparison.data, comparison.machines, comparison.imported)
    parts = (part for part in found if part)
    kind = kinds(comparison)
    told = [filled(kind)] if kind else []
    return [PROTOCOLS[comparison.threshold], *told, *(line for part in parts for line in part.told())]


def robust(comparison: Comparison) -> list[str]:
    """How much of the tuning space the challenger of each claim wins: a line each."""
    return comparison.audit.robust() if comparison.audit else []


ENOUGH = 6
"""Pairs of seeds from which a sign-flip test can be significant at 5 %."""


def _all_tests(comparison: Comparison) -> Iterator[Tested]:
    for line in comparison.lines:
        yield from (tested for tested in (line.tests or {}).values() if tested.win + tested.tie + tested.loss)


def terminal(comparison: Comparison, overall: Overall | None = None) -> RenderableType:
    """The comparison for a terminal of 80 columns, and how the losses stand over all settings."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in ("loss", "n", *(MEANS[name] for name in comparison.measures)):
        table.add_column(heading, justify="left" if heading == "loss" else "right", no_wrap=heading != "loss")
    for setting, lines in by_setting(comparison):
        table.add_row(Text(f"\n{setting}", style="bold"))
        for line in lines:
            table.add_row(*map(Text, (line.loss, _seeds(line), *_means(line))))
            if line.differences is not None:
                table.add_row("  Δ, pairs:", _pairs(line), *_differences(line))
    parts: list[RenderableType] = [Text(comparison.question, style="italic")] if comparison.question else []
    parts += [table, Text(), *map(Text, fairness(comparison)), Text(caption(comparison), style="dim")]
    if overall and overall.standings:
        parts += [Text(f"\nAcross {overall.settings} settings\n", style="italic"), *_across(overall)]
    if overall and (told := across_caption(overall)):
        parts.append(Text(told, style="dim"))
    if comparison.published:
        parts += [Text("\nPublished, and in what ours differs\n", style="italic"), _published(comparison)]
    if comparison.findings:
        parts += [Text(f"\n{claims_heading(comparison)}\n", style="italic"), _claims(comparison)]
        parts += [Text(f"\n{told}", style="dim") for told in assumed(comparison)]
        parts += [Text(told, style="dim") for told in unproved(comparison)]
    if told := robust(comparison):
        parts += [Text(f"\n{ROBUST}\n", style="italic"), *map(Text, told)]
    return Group(*parts)


def published_rows(comparison: Comparison) -> list[list[str]]:
    """Published figures, in percent, with recipe and source, and in what our network and recipe are others."""
    return [
        [
            figure.dataset,
            figure.backbone,
            figure.loss,
            figure.metric,
            f"{100 * figure.value:.1f}",
            figure.recipe,
            figure.source,
            "; ".join(map(str, figure.differs)) or "–",
        ]
        for figure in comparison.published
    ]


def _published(comparison: Comparison) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for row in published_rows(comparison):
        table.add_row(*(Text(cell) for cell in row))
    return table


def across_heads(overall: Overall) -> list[str]:
    """The columns of `across_cells`."""
    of_others = ["p", "others like these", "worse/same/better"] if overall.says_of_others else []
    return ["loss", "rank", "these settings", *of_others, "IQM", "gap"]


def across_cells(standing: Standing, overall: Overall) -> list[str]:
    """One loss over all settings, under `across_heads`."""
    estimate, low, high = (100 * value for value in standing.middle)
    of_others = [
        "–" if math.isnan(standing.wilcoxon) else p_value(standing.wilcoxon),
        _effect(standing),
        " / ".join(f"{100 * share:.0f}" for share in standing.posterior) if standing.posterior else "–",
    ]
    return [
        standing.loss,
        f"{standing.rank:.2f}",
        points(standing.given),
        *(of_others if overall.says_of_others else []),
        f"{estimate:.1f}" if math.isnan(low) else f"{estimate:.1f} [{low:.1f}, {high:.1f}]",
        f"{100 * standing.gap:.1f}",
    ]


def _effect(standing: Standing) -> str:
    effect = standing.effect
    return "–" if effect is None else points(Interval(effect.estimate, effect.low, effect.high, effect.datasets))


def p_value(p: float) -> str:
    """To three decimals; below, that it is below."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"  # noqa: PLR2004 - what three decimals show


def across_heading(standings: Standings) -> str:
    """By what measure, and whether the losses differ at all over data sets like these, and how far ranks must."""
    found = standings.friedman
    if found is None:
        return MEANS[standings.metric]
    p = p_value(found.p).replace("<", "< ")
    return (
        f"{MEANS[standings.metric]}: Friedman {found.statistic:.2f}, p {p if '<' in p else f'= {p}'}"
        f" ({'exact' if found.exact else 'of drawn orders'}); {critical_difference(standings)}; "
        f"same: within ±{100 * standings.rope:g} points"
    )


def critical_difference(standings: Standings) -> str:
    """How far mean ranks must lie apart."""
    found = standings.critical_difference
    return f"critical difference {found:.2f}" if math.isfinite(found) else "no difference of ranks is rare enough"


def across_caption(overall: Overall) -> str:
    """What the numbers over all settings are, and which settings are in none; empty where there is one setting."""
    told: list[str] = []
    if overall.standings:
        seeds = overall.standings[0].seeds
        told.append(
            f"Rank: mean over {counted(overall.datasets, 'data set')}, backbones averaged; 1 is best. These settings: "
            f"mean difference to {overall.baseline} over the {overall.settings} settings as given, in points, "
            + (f"± half of the 95 % Student t interval over n = {seeds} seeds." if seeds > 1 else "of one seed.")
        )
        if overall.says_of_others:
            told.append(
                f"Of others like these, with a data set as the unit (n = {overall.datasets}): p: Wilcoxon against "
                f"{overall.baseline}, exact, Holm; mean difference by a mixed model, t with {overall.datasets - 1} "
                "degrees of freedom; worse/same/better: percent, Bayesian signed-rank."
            )
        else:
            told.append(
                f"Nothing is said of other data sets: that takes {FEWEST_DATASETS}; backbones on one data set share "
                "its images and seeds."
            )
        runs = f"{seeds * overall.settings} runs{_of_bootstrap(seeds)}"
        told.append(f"IQM: interquartile mean of {runs}; gap: mean shortfall from 100. Diverged: 0.")
        if overall.says_of_others and power.is_impossible(
            overall.datasets, len(overall.standings[0].losses) - 1, ALPHA, "wilcoxon"
        ):
            least = power.smallest_p(overall.datasets, "wilcoxon")
            told.append(f"With {overall.datasets} data sets no p of Wilcoxon's can be below {least:.3g} before Holm.")
    elif overall.left_out and overall.settings + len(overall.left_out) > 1:
        told.append("Nothing is said across settings: that takes two losses, and two settings without a missing cell.")
    if overall.lacking:
        told.append(
            f"Nothing {', '.join(MEANS[metric] for metric in overall.lacking)}: some loss has no such accuracy."
        )
    if told and overall.left_out:
        named = overall.left_out[:NAMED]
        more = len(overall.left_out) - NAMED
        others = f" and {more} more" if more > 0 else ""
        told.append(f"Left out for a missing cell or replica: {', '.join(named)}{others}.")
    return " ".join(told)


def _of_bootstrap(seeds: int) -> str:
    if seeds >= ENOUGH_SEEDS:
        return " with bootstrap interval"
    return f" (its bootstrap interval holds from {ENOUGH_SEEDS} seeds on)"


NAMED = 5
"""Settings named one by one."""


def _across(overall: Overall) -> Iterator[RenderableType]:
    for standings in overall.standings:
        table = Table(box=None, padding=(0, 1, 0, 0))
        for heading in across_heads(overall):
            table.add_column(heading.replace("/same", "/\nsame"), justify="left" if heading == "loss" else "right")
        for standing in standings.losses:
            table.add_row(*(Text(cell) for cell in across_cells(standing, overall)))
        yield from (Text(across_heading(standings), style="bold"), table, Text())


def by_setting(comparison: Comparison) -> Iterator[tuple[str, Iterator[Line]]]:
    """The lines of each setting, with its name."""
    return groupby(comparison.lines, key=lambda line: f"{line.backbone} on {line.dataset}")


def _claims(comparison: Comparison) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for claim, findings in groupby(comparison.findings, key=lambda finding: finding.claim):
        table.add_row(Text(statement(claim), style="bold") + Text(f" – {dated(comparison.when(claim))}", style="dim"))
        for finding in findings:
            colour = COLOURS[finding.verdict if finding.looks.standing == "planned" else "undecided"]
            verdict = Text(marked(finding), style=colour)
            line = Text(f"  {setting(finding)}: {filled(difference(finding))}  ") + verdict
            table.add_row(line + Text("".join(f"; {remark}" for remark in doubts(finding)), style="dim"))
    return table


ROBUST = "How much of the tuning space the challenger wins; a bin is won/tried"


def marked(finding: Finding) -> str:
    """The verdict, with a mark where it comes of an unequal contest."""
    return f"{finding.marked}{MARK}" if finding.unequal else finding.marked


def doubts(finding: Finding) -> list[str]:
    """What else is to be said of a verdict."""
    unequal = [f"{MARK} unequal contest: {'; '.join(map(str, finding.unequal))}"] if finding.unequal else []
    return unequal + [filled(sentence) for sentence in sentences(finding)]


def assumed(comparison: Comparison) -> list[str]:
    """What the verdicts assume, and how often they are wrong where it fails; nothing without a verdict."""
    found = assumption(comparison)
    return [found[0].format(**found[1])] if found else []


def claims_heading(comparison: Comparison) -> str:
    """When the claims were stated, how they were judged at once, and what looks make of that."""
    return f"{_judged_at_once(comparison)}{_looks(comparison)}"


def _looks(comparison: Comparison) -> str:
    found = [finding.looks for finding in comparison.findings]
    if several := [len(looks.plans) for looks in found if looks.standing == "exploratory"]:
        errors = [looks.error for looks in found if looks.standing == "exploratory"]
        known = [error for error in errors if error is not None]
        error = f"error up to {100 * max(known):.0f} %" if len(known) == len(errors) else "error not known"
        return f"; EXPLORATORY ({'up to ' if len(set(several)) > 1 else ''}{max(several)} looks, {error})"
    return "; looks: not known" if any(looks.standing == "unknown" for looks in found) else ""


def _judged_at_once(comparison: Comparison) -> str:
    words = {comparison.when(finding.claim).word for finding in comparison.findings}
    when = "SOME STATED AFTER RESULTS" if "after" in words and len(words) > 1 else STATED[comparison.when_all]
    count = len(comparison.findings)
    if comparison.sequence:
        at_once = f" for all {count} at once and" if count > 1 else ""
        return f"Claims, {when}; verdicts hold{at_once} at every look (Bonferroni)"
    if second := comparison.secondary:
        held = f"verdicts hold for all {count - second} primary at once, then for {second} secondary (Holm)"
        return f"Claims, {when}; {held}"
    return f"Claims, {when}; verdicts hold for all {count} at once (Holm)" if count > 1 else f"Claims, {when}"


STATED = {
    "before": "stated before these cells ran",
    "after": "STATED AFTER RESULTS",
    "unknown": "time of statement unknown",
}

NOT_PROVED = "'Stated before' rests on what the cells' files record, and is no proof: a cell can be rerun after its result was seen. `plan --register` prints a hash to publish beforehand."  # noqa: E501 - one key of words.json


def unproved(comparison: Comparison) -> list[str]:
    """What 'before' does not prove, where some claim was stated before."""
    return [NOT_PROVED] if any(comparison.when(each.claim).word == "before" for each in comparison.findings) else []


def dated(when: When) -> str:
    """When one claim was stated, with the cells that show it."""
    return f"{STATED[when.word]} (cells that carry it: {when.carried} of {when.cells})"


def statement(claim: Claim) -> str:
    """A claim in words."""
    told = f"{_relation(claim)}{_contrast(claim)}"
    return f"{claim.id}: {SCOPES[claim.over, claim.population].format(claim=told)}"


SCOPES: Mapping[tuple[str, bool], str] = {
    ("each", False): "{claim}",
    ("mean", False): "{claim}, on the mean of these settings",
    ("mean", True): "{claim}, on the mean of all data sets like these",
    ("all", False): "{claim}, in all settings",
    ("some", False): "{claim}, in at least one setting",
}


def _relation(claim: Claim) -> str:
    if claim.within is not None:
        return f"{claim.metric} of {claim.challenger} within {margin(claim)} of 0"
    other = f"{claim.baseline_metric} of " if claim.baseline_metric else ""
    if claim.than or claim.trend:
        return f"{claim.metric} of {claim.challenger} less {other}{claim.baseline}"
    relation = {"higher": "above", "lower": "below", "equal": "equal to"}[claim.direction]
    return f"{claim.metric} of {claim.challenger} {relation} {other}{claim.baseline} (margin {margin(claim)})"


def margin(claim: Claim) -> str:
    """The size of a difference that does not matter."""
    return filled(amount(claim.tolerance, claim.metrics))


def _contrast(claim: Claim) -> str:
    """With which other effect the claim's is compared, or along what it changes; empty where it stands alone."""
    changes = claim.than and ", ".join(f"{n} {label}" for n, label in claim.than.model_dump(exclude_none=True).items())
    if claim.trend:
        line = ", ".join(f"{label} at {position:g}" for label, position in claim.trend.positions.items())
        relation = (STEEPER if changes else RISES)[claim.direction].format(line=line, changes=changes)
        return f" {relation} (margin {margin(claim)} for each step of 1)"
    if claim.than:
        relation = {"higher": "larger than", "lower": "smaller than", "equal": "equal to"}[claim.direction]
        own = [*filter(None, (claim.where.backbone, claim.where.dataset))]
        here = f" with {', '.join(own)}" if own else ""
        return f"{here} {relation} with {changes} (margin {margin(claim)})"
    return ""


RISES = {"higher": "rises along {line}", "lower": "falls along {line}", "equal": "does not change along {line}"}
STEEPER = {
    "higher": "rises more along {line} than with {changes}",
    "lower": "rises less along {line} than with {changes}",
    "equal": "changes as much along {line} as with {changes}",
}


def setting(finding: Finding) -> str:
    """Where a finding holds."""
    text, values = scope(finding)
    return text.format(**values)


def scope(finding: Finding) -> tuple[str, dict[str, Any]]:
    """Where a finding holds: a text of `words`, and the values in its braces."""
    claim = finding.claim
    if claim.over == "each":
        if finding.dataset and finding.backbone:
            return "{backbone} on {dataset}", {"backbone": finding.backbone, "dataset": finding.dataset}
        return "{name}", {"name": finding.dataset or finding.backbone}
    if finding.parts == 1 and finding.decisive:
        return "{name}", {"name": finding.decisive}
    if claim.population:
        return "mean over {count} data sets, as a sample", {"count": finding.difference.n}
    if claim.over == "mean":
        return "mean over {count} settings as given", {"count": finding.parts}
    text = {
        "all": "all {count} settings; shown: the least favourable, {name}",
        "some": "some of {count} settings; shown: the most favourable, {name}",
    }[claim.over]
    return text, {"count": finding.parts, "name": finding.decisive}


def document(comparison: Comparison, overall: Overall) -> dict[str, Any]:
    """All of it for JSON, which knows no infinity either: what is not finite becomes None."""
    return _finite({**comparison.to_json(), "across": overall.to_json()})


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def text(comparison: Comparison, form: Literal["markdown", "latex"], overall: Overall | None = None) -> str:
    """The comparison as Markdown, or as LaTeX tables that a paper can take."""
    from orchestrator.report.paper.latex import latex

    return markdown(comparison, overall) if form == "markdown" else latex(comparison, overall)


PUBLISHED = ("dataset", "backbone", "loss", "measure", "published %", "recipe", "source", "ours differs in")
JUDGED = ("claim", "setting", "difference", "verdict")
"""The columns of `published_rows` and of `judged_rows`."""


def judged_rows(comparison: Comparison) -> list[list[str]]:
    """What each setting says of each claim."""
    return [
        [
            f"{statement(finding.claim)} – {dated(comparison.when(finding.claim))}",
            setting(finding),
            filled(difference(finding)),
            "; ".join([marked(finding), *doubts(finding)]),
        ]
        for finding in comparison.findings
    ]


def markdown(comparison: Comparison, overall: Overall | None = None) -> str:
    """The comparison in Markdown of GitHub's flavour."""
    from tabulate import tabulate

    def table(rows: list[list[str]], head: Sequence[str]) -> str:
        escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        return tabulate(escaped, head, tablefmt="github", disable_numparse=True)

    compared = [[line.dataset, line.backbone, *cells(line)] for line in comparison.lines]
    parts = [table(compared, ["dataset", "backbone", *headings(comparison)]), *fairness(comparison)]
    for standings in overall.standings if overall else ():
        rows = [across_cells(standing, overall) for standing in standings.losses] if overall else []
        parts += [
            f"Across settings, {across_heading(standings)}",
            table(rows, across_heads(overall) if overall else []),
        ]
    if overall and (told := across_caption(overall)):
        parts.append(told)
    if comparison.published:
        parts.append(table(published_rows(comparison), PUBLISHED))
    if comparison.findings:
        parts += [claims_heading(comparison), table(judged_rows(comparison), JUDGED), *assumed(comparison)]
        parts += unproved(comparison)
    if told := robust(comparison):
        parts += [f"{ROBUST}:", *told]
    return "\n\n".join([*parts, caption(comparison)])
