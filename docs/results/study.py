"""The page of the study: what the committed results say of each hypothesis, in English and Japanese.

A verdict counts for or against a hypothesis as `hypotheses.yaml` says. Every number, count and order follows from the
verdicts, so that the page changes with them and with nothing else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from html import unescape
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

import forest
import yaml
from kept import ROOT, Kept

from orchestrator.analysis.findings import Finding
from orchestrator.experiment.reading import load
from orchestrator.experiment.stated import Dated, register
from orchestrator.report.rows import setting
from orchestrator.report.web.translations import said, words
from orchestrator.report.wording import verdicts
from orchestrator.sentences import filled
from orchestrator.statistics.verdicts import Verdict

HERE = Path(__file__).parent
FILES = {"en": ROOT / "docs" / "study.md", "ja": ROOT / "docs" / "study.ja.md"}
EFFECTS = ROOT / "docs" / "images" / "study-effects.svg"
RULES = ROOT / "docs" / "images" / "study-rules.svg"

NEEDED = ("frozen", "quickstart")
"""The results that its pictures show, without which there is no page."""

FEW = 4
"""Settings that the summary names."""

Language = Literal["en", "ja"]
Outcome = Literal["holds", "fails", "depends", "open"]
Side = Literal["for", "against", "open"]


@dataclass(frozen=True)
class Hypothesis:
    """A sentence of the papers or against them, and the claims that speak of it."""

    id: str
    says: Mapping[Language, str]
    claims: Mapping[str, Sequence[str]]
    """Ids of claims by the experiment that states them."""
    follows: Mapping[tuple[Outcome, Language], str]
    """What it means for somebody who must choose a loss."""
    speaks: frozenset[Verdict]
    """The verdicts that speak for it; any other that is decided speaks against it."""
    less: bool
    """Whether a refuted equality speaks for it where the difference lies below 0: what is less is no gain either."""

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Hypothesis:
        """The hypothesis of an entry of `hypotheses.yaml`."""
        usual: list[Verdict] = ["refuted", "equivalent"] if entry.get("inverse") else ["supported"]
        return cls(
            entry["id"],
            {"en": entry["says"], "ja": entry["ja"]},
            entry["claims"],
            {
                ("holds", "en"): entry["holds"],
                ("holds", "ja"): entry["holds_ja"],
                ("fails", "en"): entry["fails"],
                ("fails", "ja"): entry["fails_ja"],
            },
            frozenset(usual),
            entry.get("less", False),
        )

    @property
    def contradicts(self) -> Outcome:
        """The outcome that contradicts the papers."""
        return "fails" if self.id.startswith("P") else "holds"


class Evidence(NamedTuple):
    """A verdict that speaks of a hypothesis, and the results that it comes from."""

    kept: Kept
    finding: Finding
    side: Side


@dataclass(frozen=True)
class Answer:
    """What all results together say of a hypothesis."""

    hypothesis: Hypothesis
    evidence: Sequence[Evidence]
    missing: Sequence[str]
    """Experiments that speak of it and have no results."""

    @cached_property
    def counts(self) -> Counter[Side]:
        """How many verdicts there are on each side."""
        return Counter(each.side for each in self.evidence)

    @property
    def outcome(self) -> Outcome:
        """It holds or fails where every decided verdict agrees."""
        if self.counts["for"] and self.counts["against"]:
            return "depends"
        return "holds" if self.counts["for"] else "fails" if self.counts["against"] else "open"

    @property
    def place(self) -> int:
        """Contradictions to the papers come first, then what depends, what agrees, and what is open."""
        if self.outcome == self.hypothesis.contradicts:
            return 0
        return {"depends": 1, "open": 3}.get(self.outcome, 2)


def hypotheses() -> list[Hypothesis]:
    """All of them, in the order of the file."""
    entries = yaml.safe_load((HERE / "hypotheses.yaml").read_text(encoding="utf-8"))
    return [Hypothesis.of(entry) for entry in entries]


def answers(kept: Mapping[str, Kept]) -> list[Answer]:
    """What the results say of each hypothesis, contradictions to the papers first."""
    found = [_answer(each, kept) for each in hypotheses()]
    return sorted(found, key=lambda answer: answer.place)


def _answer(hypothesis: Hypothesis, kept: Mapping[str, Kept]) -> Answer:
    evidence = [
        Evidence(kept[name], finding, _side(finding, hypothesis, kept[name].comparison.when(finding.claim).word))
        for name, claims in hypothesis.claims.items()
        if name in kept
        for finding in kept[name].comparison.findings
        if finding.claim.id in claims
    ]
    return Answer(hypothesis, evidence, [name for name in hypothesis.claims if name not in kept])


def _side(finding: Finding, hypothesis: Hypothesis, stated: Dated) -> Side:
    """The side that a verdict speaks for; one that was not planned and stated before its cells decides nothing."""
    if finding.verdict == "undecided" or finding.looks.standing != "planned" or stated != "before":
        return "open"
    is_less = hypothesis.less and finding.verdict == "refuted" and finding.difference.high < 0
    return "for" if is_less or finding.verdict in hypothesis.speaks else "against"


def pages(kept: Mapping[str, Kept]) -> dict[Path, str]:
    """What each file of the study would hold, by its path."""
    found = answers(kept)
    texts = {FILES[language]: "\n\n".join(_page(found, kept, language)) + "\n" for language in FILES}
    return {**texts, EFFECTS: _effects(found), RULES: _rules(kept["frozen"])}


def headline(kept: Mapping[str, Kept]) -> str:
    """What the first screen of the README says of the study."""
    found = answers(kept)
    first = next(answer for answer in found if answer.hypothesis.id == "P1")
    says = f"The papers say: {first.hypothesis.says['en']} In [our study](docs/study.md), {_tally(first)}."
    caption = _t("rules", "en", n=_per_loss(kept["frozen"]))
    picture = f"[![{caption}](docs/images/{RULES.name})](docs/study.md)"
    return "\n\n".join([f"{says} {_counts(found, 'en')}", picture, f"*{caption}*"])


def _tally(answer: Answer) -> str:
    counts = answer.counts
    agree = f"{counts['for']} of {counts.total()} verdicts agree"
    return f"**{agree}** (against it: {counts['against']}, undecided: {counts['open']})"


@cache
def _texts() -> Mapping[str, Mapping[str, str]]:
    return yaml.safe_load((HERE / "study_texts.yaml").read_text(encoding="utf-8"))


def _t(name: str, language: Language, **values: Any) -> str:
    return _texts()[name][language].format(**values)


def _page(found: Sequence[Answer], kept: Mapping[str, Kept], language: Language) -> Iterator[str]:
    yield f"# {_t('title', language)}"
    yield _t("intro", language)
    yield f"**{_counts(found, language)}**"
    yield _table(_t("heads", language), [_summary(answer, language) for answer in found])
    yield _t("counted", language)
    yield f"![{_t('effects', language)}](images/{EFFECTS.name})"
    yield f"*{_t('effects', language)}*"
    yield f"![{_t('rules', language, n=_per_loss(kept['frozen']))}](images/{RULES.name})"
    yield f"*{_t('rules', language, n=_per_loss(kept['frozen']))}*"
    for answer in found:
        yield from _section(answer, language)
    yield f"## {_t('list', language)}"
    yield _table(_t("listed", language), [_checked(kept[name], language) for name in _used(found)])
    yield _t("notes", language)
    yield f"## {_t('data', language)}"
    yield "\n".join(f"- {line}" for line in _sources(language))


def _counts(found: Sequence[Answer], language: Language) -> str:
    counts = Counter(answer.outcome for answer in found)
    outcomes: tuple[Outcome, ...] = ("holds", "fails", "depends", "open")
    return _t("count", language, all=len(found), **{name: counts[name] for name in outcomes})


def _summary(answer: Answer, language: Language) -> list[str]:
    hypothesis = answer.hypothesis
    sides: tuple[Side, ...] = ("for", "against", "open")
    follows = {"depends": _depends(answer, language), "open": _t("wait", language)}.get(answer.outcome)
    return [
        f"**{hypothesis.id}** {hypothesis.says[language]}",
        _outcome(answer, language),
        *(str(answer.counts[side]) for side in sides),
        follows or hypothesis.follows[answer.outcome, language],
    ]


def _depends(answer: Answer, language: Language) -> str:
    """The settings that say otherwise than most, if they are few; with their claims, if there are several."""
    fewer: Side = "for" if answer.counts["for"] < answer.counts["against"] else "against"
    others = [each for each in answer.evidence if each.side == fewer]
    several = len({each.finding.claim.id for each in answer.evidence if each.side != "open"}) > 1
    few = dict.fromkeys(_place(each, several=several) for each in others)
    if len(few) > FEW:
        return _t("see", language)
    many = answer.counts.total() - answer.counts["open"] - len(others)
    return _t(f"few_{fewer}", language, few=", ".join(few), many=many)


def _place(each: Evidence, *, several: bool) -> str:
    claim = f" {each.finding.claim.id}" if several else ""
    return f"{setting(each.finding)} ({each.kept.name}{claim})"


def _outcome(answer: Answer, language: Language) -> str:
    word = _t(answer.outcome, language)
    if answer.place:
        return word
    return f"**{word}** ({_t('contradiction' if answer.outcome == 'fails' else 'limit', language)})"


def _section(answer: Answer, language: Language) -> Iterator[str]:
    hypothesis = answer.hypothesis
    yield f"## {hypothesis.id}: {hypothesis.says[language]}"
    if answer.evidence:
        yield _table(_t("columns", language), [_row(each, language) for each in answer.evidence])
    if answer.missing:
        names = ", ".join(f"`experiments/{name}.yaml`" for name in answer.missing)
        yield _t("missing", language, names=names)


def _row(each: Evidence, language: Language) -> list[str]:
    kept, finding, side = each
    shown = verdicts.difference(finding)
    difference = filled(shown) if language == "en" else unescape(str(said(shown).ja))
    verdict = finding.marked if language == "en" else words()[finding.marked]
    link = "../README.md" if kept.name == "quickstart" else f"results/{kept.name}.md"
    where = setting(finding)
    return [
        f"[{kept.name}]({link})",
        finding.claim.id,
        where,
        difference,
        verdict,
        _t(side, language),
        _price(each, language),
    ]


def _price(each: Evidence, language: Language) -> str:
    """The seeds and core hours that would decide an open verdict."""
    if each.side != "open":
        return "–"
    if each.finding.seeds_needed is None:
        return _t("never", language)
    more = max(each.finding.seeds_needed - each.finding.difference.n, 0)
    tenths = math.ceil(more * _seconds(each) / 360)  # up, since no seed is free
    return _t("seeds", language, seeds=each.finding.seeds_needed, hours=tenths / 10)


def _seconds(each: Evidence) -> float:
    """Core seconds that a further seed of a claim costs."""
    finding = each.finding
    losses = {finding.claim.challenger, finding.claim.baseline}
    groups: dict[tuple[str, str, str], list[float]] = {}
    for row in each.kept.of("cell"):
        is_there = finding.dataset in {"", row["dataset"]} and finding.backbone in {"", row["backbone"]}
        if is_there and row["loss"] in losses:
            groups.setdefault((row["dataset"], row["backbone"], row["loss"]), []).append(row["seconds"])
    return sum(fmean(seconds) for seconds in groups.values())


def _used(found: Sequence[Answer]) -> list[str]:
    return sorted({each.kept.name for answer in found for each in answer.evidence})


def _checked(kept: Kept, language: Language) -> list[str]:
    """What a careful reader asks of an experiment."""
    cells = kept.of("cell")
    states = Counter(row["state"] for row in cells)
    comparison = kept.comparison
    claims = {finding.claim.id: finding.claim for finding in comparison.findings}
    before = sum(comparison.when(claim).word == "before" for claim in claims.values())
    trials = len(kept.of("trial"))
    return [
        kept.name,
        str(len({row["seed"] for row in cells})),
        str(len(cells)),
        str(states["diverged"]),
        str(states["collapsed"]),
        str(len(comparison.findings)),
        f"{before} / {len(claims)}",
        _t("tuned", language, trials=trials) if trials else _t("equal", language),
        f"{kept.hours:.2f}",
        f"`{register(load(ROOT / 'experiments' / f'{kept.name}.yaml'))[:12]}`",
    ]


def _sources(language: Language) -> Iterator[str]:
    for entry in yaml.safe_load((HERE / "sources.yaml").read_text(encoding="utf-8")):
        yield entry[language]


def _table(heads: str, rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {heads} |", "|---" * len(heads.split("|")) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _effects(found: Sequence[Answer]) -> str:
    answer = next(each for each in found if each.hypothesis.id == "P1")
    bars = [
        forest.Bar(f"{kept.name} {finding.claim.id}", setting(finding), finding.difference, side)
        for kept, finding, side in answer.evidence
    ]
    return forest.effects(bars)


RULE_MEASURES = {
    "one threshold": "uniform_accuracy",
    "one threshold on calibrated probabilities": "uniform_accuracy_calibrated",
    "a threshold per class": "class_wise_accuracy",
    "a threshold per sample": "sample_wise_accuracy",
}


def _rules(kept: Kept) -> str:
    cells = kept.of("cell")
    losses = list(dict.fromkeys(row["loss"] for row in cells))
    means = {
        loss: {rule: fmean(row[name] for row in cells if row["loss"] == loss) for rule, name in RULE_MEASURES.items()}
        for loss in losses
    }
    return forest.rules(means)


def _per_loss(kept: Kept) -> int:
    cells = kept.of("cell")
    return len(cells) // len({row["loss"] for row in cells})
