"""The certificate of a deployed model as a page: one printed sheet, in English or Japanese."""

from __future__ import annotations

from orchestrator.deployment.certificate import Certificate
from orchestrator.report.web.templates import templates
from orchestrator.report.wording import deployment


def render(of: Certificate) -> str:
    """The text of the page; it loads nothing."""
    return templates(deployment=deployment).get_template("certificate.html.j2").render(of=of)
