"""A comparison for machines, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.analysis.across_settings import Overall
from orchestrator.analysis.comparison import Comparison


def document(comparison: Comparison, overall: Overall) -> dict[str, Any]:
    """All of it for JSON, which knows no infinity either: what is not finite becomes None."""
    return _finite({**comparison.to_json(), "across": overall.to_json()})


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
