"""What an experiment states before there are results: its claims, and the rule for its seeds, as hashes.

Each cell's provenance holds them as they stood when the cell began, so that a claim that was edited later can be told
from one that was there before. They are those of the experiment *file*: what flags add or leave out is no edit.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.claims import Claim
    from orchestrator.experiment import Experiment


def stated(experiment: Experiment) -> dict[str, Any]:
    """The statement of an experiment, as its file has it: its name, a hash per claim by id, one of the seed rule."""
    return {
        "experiment": experiment.name,
        "claims": {claim.id: claim_hash(claim) for claim in experiment.claims},
        "seeds": _sha256(experiment.model_dump(mode="json", include={"seeds"})["seeds"]),
    }


def claim_hash(claim: Claim) -> str:
    """SHA-256 of what a claim states, as 64 hexadecimal digits; its id is only its name.

    Fields at their defaults are left out, so that a field that claims get later changes no hash of today.
    """
    return _sha256(claim.model_dump(mode="json", exclude={"id"}, exclude_defaults=True))


def _sha256(content: object) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
