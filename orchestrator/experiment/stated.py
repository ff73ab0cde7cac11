"""What an experiment states before there are results: its claims, and the rule for its seeds, as hashes.

Each cell's provenance records them as they were when the cell began, so that claims edited later can be distinguished
from claims stated before. They come from the experiment *file*: changes by flags are no edits.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from orchestrator.experiment import operation
from orchestrator.experiment.own_measures import is_own
from orchestrator.experiment.questions import Key, parts
from orchestrator.provenance.fingerprints import of_measure

if TYPE_CHECKING:
    from orchestrator.experiment.claims import Claim
    from orchestrator.experiment.model import Experiment


def stated(experiment: Experiment) -> dict[str, Any]:
    """The statement of an experiment in its file: its name, a hash of each claim by id, and a hash of the seed rule."""
    return {
        "experiment": experiment.name,
        "claims": {claim.id: claim_hash(claim, experiment) for claim in experiment.claims},
        "seeds": _sha256(experiment.model_dump(mode="json", include={"seeds"})["seeds"]),
    }


def claim_hash(claim: Claim, experiment: Experiment | None = None) -> str:
    """SHA-256 of what a claim states, as 64 hexadecimal digits; its id is only a name and does not count.

    Fields at their defaults are left out, so that a future field changes no hash of today; so are expectations. A
    combined claim includes its settings, a claim about a user-defined measure includes the code of its function, and
    one about a measure of the operation includes the operation.

    Args:
        claim: The claim.
        experiment: The experiment with the settings of a combined claim.
    """
    content = claim.model_dump(mode="json", exclude={"id", "expect"}, exclude_defaults=True)
    if experiment and claim.is_combined:
        asked = [question for part in parts(claim, experiment) for question in part.questions]
        content["settings"] = sorted({(question.dataset, question.backbone) for question in asked})
    if own := sorted(filter(is_own, claim.metrics)):
        content["code"] = {metric: of_measure(metric).sha256 for metric in own}
    if experiment and experiment.operation and any(metric in operation.MEASURES for metric in claim.metrics):
        content["operation"] = experiment.operation.model_dump(mode="json", exclude_defaults=True)
    return _sha256(content)


Dated = Literal["before", "after", "unknown"]
"""Whether something was stated before results."""


class When(NamedTuple):
    """Counts of a claim's cells by whether the claim, in its present form, had been stated when they began."""

    carried: int
    """Cells that began when the experiment stated exactly this claim."""
    without: int
    """Cells that began when the experiment did not state the claim, or stated it differently."""
    unknown: int
    """Cells without a record, or trained for another experiment."""

    @property
    def cells(self) -> int:
        """All cells of the claim."""
        return sum(self)

    @property
    def word(self) -> Dated:
        """Whether it was stated before the cells ran; 'before' only if every cell shows it."""
        if self.without:
            return "after"
        return "before" if self.carried and not self.unknown else "unknown"


def when(
    claim: Claim, now: Mapping[str, Any], recorded: Iterable[Mapping[str, Any] | None], *, sequential: bool = False
) -> When:
    """When a claim was stated.

    Args:
        claim: The claim in the experiment's file.
        now: What the file states (`stated`).
        recorded: The statement recorded with each cell of the claim; None if there is none.
        sequential: Whether verdicts decide how many seeds run: the rule for that is then part of the claim.
    """
    found = Counter(_told(claim.id, now, record, sequential=sequential) for record in recorded)
    return When(found["carried"], found["without"], found["unknown"])


def dated(
    experiment: Experiment,
    now: Mapping[str, Any],
    records: Iterable[tuple[Key, Mapping[str, Any] | None]],
) -> dict[str, When]:
    """When each claim was stated, by its id.

    Args:
        experiment: The experiment with the claims.
        now: What its file states (`stated`).
        records: The dataset, backbone and loss of each cell, and the statement recorded with it; None if there is none.
    """
    by_key: defaultdict[Key, list[Mapping[str, Any] | None]] = defaultdict(list)
    for key, record in records:
        by_key[key].append(record)
    found: dict[str, When] = {}
    for claim in experiment.claims:
        keys = {key for part in parts(claim, experiment) for question in part.questions for key in question.measures}
        recorded = (record for key in keys for record in by_key[key])
        found[claim.id] = when(claim, now, recorded, sequential=experiment.sequence is not None)
    return found


def _told(claim: str, now: Mapping[str, Any], record: Mapping[str, Any] | None, *, sequential: bool) -> str:
    if record is None or record["experiment"] != now["experiment"]:
        return "unknown"
    same_rule = not sequential or record["seeds"] == now["seeds"]
    return "carried" if same_rule and record["claims"].get(claim) == now["claims"].get(claim) else "without"


def register(experiment: Experiment) -> str:
    """A hash of the whole statement, to be published before anything runs: 64 hexadecimal digits."""
    return _sha256(stated(experiment))


def _sha256(content: object) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
