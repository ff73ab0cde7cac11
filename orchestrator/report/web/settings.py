"""Settings as a page names them."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.report.web.translations import Said, said
from orchestrator.sentences import setting_name


class Setting(NamedTuple):
    """A dataset and a backbone."""

    dataset: str
    backbone: str

    @property
    def name(self) -> Said:
        """As people read it."""
        return said(setting_name(self.dataset, self.backbone))
