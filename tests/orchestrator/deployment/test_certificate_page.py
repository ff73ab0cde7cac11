"""The certificate in a browser: one printed sheet, in the reader's language."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.card import card
from orchestrator.report.web.certificate import render

from .conftest import Shop


@pytest.mark.parametrize(
    ("locale", "title"), [("en-US", "Certificate of a deployed model"), ("ja-JP", "運用モデルの証明書")]
)
def test_the_certificate_is_one_sheet_in_the_readers_language(
    shop: Shop, chromium: Any, tmp_path: Path, locale: str, title: str
) -> None:
    long = shop.certificate.model_copy(update={"experiment": "x" * 80, "question": "Is it? " * 40, "retrained": True})
    strange = "<script>document.title = 'a stranger was here'</script>"
    (tmp_path / "certificate.html").write_text(render(long).replace("</body>", f"{strange}</body>"), encoding="utf-8")
    context = chromium.new_context(locale=locale)
    page = context.new_page()
    page.goto((tmp_path / "certificate.html").as_uri())
    assert page.title().startswith("Certificate"), "only the page's own script runs"
    shown = page.inner_text("body")
    assert title in shown
    assert shop.certificate.digests["model.onnx"] in shown
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True))) == 1
    page.get_by_role("button", name="English").click()
    assert "What is promised" in page.inner_text("body")
    context.close()


def test_names_are_escaped_and_the_card_says_the_same(shop: Shop) -> None:
    odd = shop.certificate.model_copy(update={"question": "<script>alert(1)</script>"})
    assert "<script>alert" not in render(odd)
    for rate in shop.certificate.rates:
        assert f"At most {100 * rate.bound:.3g} %" in card(shop.certificate)
        assert f"At most {100 * rate.bound:.3g} %" in render(shop.certificate)
