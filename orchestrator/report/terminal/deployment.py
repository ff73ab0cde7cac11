"""A deployed model, and checks of new lots, for a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.deployment.certificate import PAGE, Certificate
from orchestrator.deployment.check import Checked
from orchestrator.report.wording import deployment
from orchestrator.sentences import filled

STYLES = {"kept": "bold green", "broken": "bold red", "undecided": "bold yellow"}


def deployed(of: Certificate, folder: Path) -> RenderableType:
    """What was written, and what is promised."""
    lines = [Text(f"Deployed in {folder}: {filled(deployment.model(of))}", style="bold")]
    lines.append(Text(filled(deployment.confidence(of))))
    for promise, evidence in deployment.promises(of):
        lines.append(Text(f"- {filled(promise)} {' '.join(map(filled, evidence))}"))
    lines.append(Text(" ".join(map(filled, deployment.evidence(of))), style="dim"))
    lines.append(Text(f"Certificate: {folder / PAGE}. Is it kept? python -m orchestrator check {folder} NEW"))
    return Group(*lines)


def checked(found: Checked, by_class: bool) -> RenderableType:
    """What a lot says; `by_class` where classes are good or defects."""
    lines = [Text(filled(deployment.answer(found)), style=STYLES[found.verdict])]
    lines += [Text(f"- {' '.join(map(filled, deployment.tested(rate, by_class)))}") for rate in found.rates]
    if not found.is_labelled:
        lines += [Text(f"- {filled(deployment.compared(shape))}") for shape in found.shapes]
    lines.append(Text(" ".join(map(filled, deployment.cautions(found))), style="dim"))
    return Group(*lines)
