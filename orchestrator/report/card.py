"""The card of a deployed model: a README beside its file."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.deployment.certificate import CERTIFICATE, CHECKS, EXAMPLE, MODEL, PAGE, PICTURE, Certificate
from orchestrator.report.wording import deployment
from orchestrator.sentences import filled


def card(of: Certificate) -> str:
    """The card in Markdown."""
    return "\n".join(_lines(of)) + "\n"


def _lines(of: Certificate) -> Iterator[str]:
    yield f"# {of.experiment}: a deployed model"
    yield ""
    if of.question:
        yield of.question
        yield ""
    yield filled(deployment.model(of))
    yield f"`{MODEL}` takes images and gives scores, probabilities and decisions; `{EXAMPLE}` shows how."
    yield ""
    yield "| input | type | default |"
    yield "|---|---|---|"
    side = of.reading.size
    yield f"| `images` | uint8 (n, {of.reading.channels}, {side}, {side}); normalised inside | |"
    yield f"| `threshold` | float32 (1) | {of.threshold:.6g} |"
    yield f"| `temperature` | float32 (1) | {of.temperature:.6g} |"
    yield ""
    yield "| output | type | meaning |"
    yield "|---|---|---|"
    yield f"| `scores` | float32 (n, {len(of.classes)}) | what is compared with the threshold |"
    yield f"| `probabilities` | float32 (n, {len(of.classes)}) | softmax at the temperature |"
    yield "| `decision` | int64 (n) | the class whose score alone lies above the threshold; -1 if none or several do |"
    yield ""
    yield f"Classes, in order: {', '.join(of.classes)}."
    yield ""
    yield "## What is promised"
    yield ""
    yield filled(deployment.confidence(of))
    yield ""
    for promise, evidence in deployment.promises(of):
        yield f"- {filled(promise)} {' '.join(map(filled, evidence))}"
    yield f"- {filled(deployment.cost(of))}"
    yield ""
    yield from map(filled, deployment.evidence(of))
    yield ""
    yield "## For what, and until when"
    yield ""
    yield from map(filled, deployment.validity(of))
    yield ""
    yield "## Files"
    yield ""
    yield f"- `{PAGE}`: the certificate, to print; `{CERTIFICATE}`: the same for machines"
    yield f"- `{CHECKS}` and `{PICTURE}`: what `python -m orchestrator check` found on new lots"
