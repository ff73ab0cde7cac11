"""The decision for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.decision.decide import Decision
from orchestrator.report.wording.decision import costs, grounds, guideline, headline, rates, threshold_advice
from orchestrator.sentences import filled


def text(found: Decision) -> RenderableType:
    """What to deploy, what is promised, and on what grounds."""
    lines = [Text(filled(headline(found)), style="bold"), Text(" ".join(map(filled, costs(found))))]
    lines += [Text(f"- {filled(seen)} {filled(promise)}") for seen, promise in rates(found)]
    lines += [Text(filled(sentence)) for sentence in (*threshold_advice(found), *guideline(found))]
    lines.append(Text(" ".join(map(filled, grounds(found))), style="dim"))
    return Group(*lines, *(Text(sentence, style="dim") for sentence in found.left_out))
