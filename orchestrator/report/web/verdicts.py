"""The section of verdicts: each claim, what it says, and what each setting says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.findings import Finding
from orchestrator.experiment.claims import Claim
from orchestrator.report.web.translations import Said, said
from orchestrator.report.wording import claims, comparison, verdicts
from orchestrator.sentences import Sentence, listed

VERDICTS = {"supported": "✓", "refuted": "✗", "equivalent": "≈", "undecided": "?"}
"""With their icons, in the order of counting."""


class Judged(NamedTuple):
    """A claim, what it says, and what each setting says of it."""

    id: str
    sentence: Said
    stated: Said
    """When it was stated."""
    counts: Mapping[tuple[str, str], int]
    """How many findings have each verdict, by itself and with what looks make of it."""
    findings: Sequence[Finding]


class Told(NamedTuple):
    """A sentence, and those in whose place it stands."""

    text: Said
    each: list[Said]


class Verdicts(NamedTuple):
    """What the section shows of a comparison."""

    comparison: Comparison
    asked: Sequence[Claim]

    def claims(self) -> Iterator[Judged]:
        """The experiment's claims in their order, each with its findings."""
        for claim in self.asked:
            findings = [finding for finding in self.comparison.findings if finding.claim.id == claim.id]
            counts = Counter((finding.verdict, finding.marked) for finding in findings)
            ordered = {key: counts[key] for key in sorted(counts, key=lambda each: [*VERDICTS].index(each[0]))}
            when = claims.stated(self.comparison.when(claim))
            yield Judged(claim.id, said(claims.statement(claim)), said(when), ordered, findings)

    def stated_after(self) -> bool:
        """Whether some claim was stated after results."""
        return any(self.comparison.when(claim).word == "after" for claim in self.asked)

    def held(self) -> list[Said]:
        """What the verdicts hold against, what 'before' does not prove, and what they assume."""
        of = self.comparison
        return _all((*verdicts.held(of), *claims.unproved(of), *verdicts.assumed(of)))

    def looked(self) -> list[Said]:
        """That the number of seeds was changed after results, or that this is not known."""
        return _all(comparison.planned(self.comparison))

    def added(self) -> list[Said]:
        """What was added to the experiment file, and what was taken back."""
        return _all(comparison.added(self.comparison))

    def limits(self) -> list[Said]:
        """What else limits the figures: too few pairs, pairs of two environments, and stars that are not given."""
        return _all(comparison.limits(self.comparison))

    def pooled(self) -> list[Told]:
        """Which environments the cells come from, and whether they may be pooled; nothing where it is one."""
        return _told(self.comparison.pool.sentences()) if self.comparison.pool else []

    def data(self) -> list[Told]:
        """What there is to know of the data: where they are not here, and cells of other states of them."""
        return _told(self.comparison.data.sentences())

    def machines(self) -> list[Said]:
        """What several environments say, each by itself."""
        return _all(self.comparison.machines.sentences()) if self.comparison.machines else []

    def imported(self) -> list[Said]:
        """How many cells were trained elsewhere, and what of theirs is as stated; nothing where none was."""
        return _all(self.comparison.imported.sentences()) if self.comparison.imported else []


def place(finding: Finding) -> Said:
    """Where a finding holds."""
    return said(claims.scope(finding))


def difference(finding: Finding) -> Said:
    """What was found, with its interval and n."""
    return said(verdicts.difference(finding))


def doubts(finding: Finding) -> list[Said]:
    """What else is to be said of a verdict."""
    return _all(verdicts.doubts(finding))


def _told(sentences: Iterable[Sentence]) -> list[Told]:
    return [Told(said(sentence), _all(listed(sentence))) for sentence in sentences]


def _all(sentences: Iterable[Sentence]) -> list[Said]:
    return [said(sentence) for sentence in sentences]
