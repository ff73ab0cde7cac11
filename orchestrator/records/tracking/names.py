"""Names as MLflow takes them: of limited length, and keys of letters, digits and a few signs."""

from __future__ import annotations

import hashlib
import re

LONGEST = 250
"""Characters of a run's name or of a key, at most; SQLite would take more, other databases do not."""

_FOREIGN = re.compile(r"[^\w\-. :]")


def fitted(name: str) -> str:
    """A name with `/` between its parts, no longer than MLflow takes: long parts lose their middle.

    Examples:
        >>> from orchestrator.records.tracking.names import fitted
        >>> fitted("bce/resnet8/digits/s0")
        'bce/resnet8/digits/s0'
        >>> len(fitted("/".join(["l" * 100, "b" * 100, "d" * 100, "s0"])))
        188
    """
    if len(name) <= LONGEST:
        return name
    parts = name.split("/")
    most = (LONGEST + 1) // len(parts) - 1
    return "/".join(_shortened(part, most) for part in parts)


def _shortened(part: str, most: int) -> str:
    end = most // 3
    return part if len(part) <= most else f"{part[: most - end - 1]}…{part[-end:]}"


def key(*parts: str) -> str:
    """The key of a tag; where MLflow does not take the parts as they are, a few digits keep keys apart.

    Examples:
        >>> from orchestrator.records.tracking.names import key
        >>> key("uniform", "resnet8", "digits")
        'uniform/resnet8/digits'
        >>> key("uniform", "resnet8+", "digits"), key("uniform", "resnet8*", "digits")
        ('uniform/resnet8_/digits d3269c', 'uniform/resnet8_/digits 7860e1')
    """
    asked = "/".join(parts)
    taken = "/".join("_" * len(part) if set(part) == {"."} else _FOREIGN.sub("_", part) for part in parts)
    if taken == asked and len(asked) <= LONGEST:
        return asked
    digits = hashlib.sha256(asked.encode()).hexdigest()[:6]
    return f"{taken[: LONGEST - len(digits) - 1]} {digits}"
