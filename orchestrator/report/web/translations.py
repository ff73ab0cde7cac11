"""What a page says in English and in Japanese. Keys are the English texts; names of data stay as they are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from orchestrator.report.wording.names import LossName, MeasureName, SameMeasure
from orchestrator.sentences import Sentence, worded

FOLDER = Path(__file__).parent


@cache
def words() -> dict[str, str]:
    """Japanese by English."""
    return json.loads((FOLDER / "words.json").read_text(encoding="utf-8"))


@cache
def measures() -> dict[str, Said]:
    """What people call the measures of the results table, by their names there."""
    known = json.loads((FOLDER / "measures.json").read_text(encoding="utf-8"))
    return {name: Said(*map(escape, texts)) for name, texts in known.items()}


class Said(NamedTuple):
    """One text in both languages, safe to stand in HTML; the page shows the one of its own language."""

    en: Markup
    ja: Markup

    def __html__(self) -> Markup:
        """Both, each in an element of its language."""
        return Markup('<span lang="en">{}</span><span lang="ja">{}</span>').format(self.en, self.ja)


def say(text: str, **values: Any) -> Said:
    """A text of `words` with values in its braces; values are escaped, or `Said` themselves.

    Raises:
        KeyError: The text has no translation.
    """
    texts = zip(("en", "ja"), (text, words()[text]), strict=True)
    return Said(*(escape(worded(form)).format(**_in(language, values)) for language, form in texts))


def tied(text: Said) -> Said:
    """The same without a line break before a percent sign or within `n = 3`."""
    return Said(*(form.replace(" %", "\u00a0%").replace("n = ", "n\u00a0=\u00a0") for form in text))


def joined(texts: Iterable[Said], between: str = "; ") -> Said:
    """Several texts as one."""
    known = list(texts)
    return Said(*(escape(between).join(getattr(said, language) for said in known) for language in ("en", "ja")))


def measure(name: str) -> Said:
    """What people call a measure; one unknown here goes by its own name."""
    plain = escape(name.replace("_", " "))
    return measures().get(name, Said(plain, plain))


def said(sentence: Sentence) -> Said:
    """A sentence of `wording`, whose values may be sentences, too."""
    text, values = sentence
    return say(text, **{name: _part(value) for name, value in values.items()})


def _part(value: Any) -> Any:
    match value:
        case MeasureName():
            return measure(value)
        case SameMeasure():
            return Said(escape(str(value)), measure(value.name).ja)
        case LossName():
            return Markup("<b>{}</b>").format(str(value))
        case list():
            return joined(map(said, value), ", ")
        case tuple():
            return said(value)
        case _:
            return value


def _in(language: str, values: dict[str, Any]) -> dict[str, Any]:
    return {name: getattr(value, language) if isinstance(value, Said) else value for name, value in values.items()}
