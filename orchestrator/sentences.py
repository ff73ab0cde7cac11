"""Sentences with placeholders, so that a page can translate them before the values are filled in."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import groupby
from typing import Any

Sentence = tuple[str, dict[str, Any]]
"""A text, and the values for its braces, which may be sentences or lists of sentences."""

_OF_SYSTEMS = ContextVar("of_systems", default=False)

_SYSTEMS = (
    ("losses", "systems"),
    ("Losses", "Systems"),
    ("loss", "system"),
    ("Loss", "System"),
    ("cells", "runs"),
    ("Cells", "Runs"),
    ("cell", "run"),
    ("Cell", "Run"),
)
"""What scores from elsewhere are of."""

_IN_JAPANESE = (("損失", "システム"), ("セル", "実行"))


@contextmanager
def of_systems() -> Generator[None]:
    """Texts in the block are about scores from elsewhere: of systems and their runs instead of losses and cells."""
    before = _OF_SYSTEMS.set(True)
    try:
        yield
    finally:
        _OF_SYSTEMS.reset(before)


def worded(text: str) -> str:
    """A text as it is said here, before values are filled in, whose names are never changed."""
    if not _OF_SYSTEMS.get():
        return text
    for word, instead in _SYSTEMS:
        text = re.sub(rf"(?<![\w{{]){word}(?![\w}}])", instead, text)
    for word, instead in _IN_JAPANESE:
        text = text.replace(word, instead)
    return text


MOST = 8
"""Things that one sentence names one by one."""


def together(text: str, values: Mapping[str, Any], each: Sequence[Sentence]) -> Sentence:
    """One sentence in place of several of one cause, which a page lists below it."""
    return text, {**values, "each": list(each)}


def listed(sentence: Sentence) -> list[Sentence]:
    """The sentences in whose place one stands; none if it stands for itself alone."""
    return sentence[1].get("each", [])


def gathered(sentences: Iterable[Sentence], texts: Mapping[str, tuple[str, str]]) -> Iterator[Sentence]:
    """Sentences, those of one text together where there are several.

    Args:
        sentences: In any order; the first of a text gives the place of all.
        texts: By the text of a sentence, the text for several of them, with `{names}`, and the value that names each.
    """
    known = list(sentences)
    order = list(dict.fromkeys(text for text, _ in known))
    for text, group in groupby(sorted(known, key=lambda each: order.index(each[0])), key=lambda each: each[0]):
        found = list(group)
        if text not in texts or len(found) == 1:
            yield from found
            continue
        several, name = texts[text]
        names = list(dict.fromkeys(values[name] for _, values in found))
        yield together(several, {"names": some([("{name}", {"name": each}) for each in names])}, found)


def some(names: Sequence[Sentence]) -> list[Sentence]:
    """The first of many, and how many more there are."""
    more = len(names) - MOST
    return [*names[:MOST], ("{count} more", {"count": more})] if more > 1 else list(names)


def counted(number: float, noun: str) -> str:
    """`1 cell`, `2 cells`, `0.5 GPUs`."""
    text = f"{number:g}" if isinstance(number, float) else str(number)
    return f"{text} {noun}" if number == 1 else f"{text} {noun}s"


def setting_name(dataset: str, backbone: str) -> Sentence:
    """`resnet8 on digits`; the setting of a score file has a name and no backbone."""
    if backbone:
        return "{backbone} on {dataset}", {"backbone": backbone, "dataset": dataset}
    return "{name}", {"name": dataset}


def filled(sentence: Sentence) -> str:
    """The sentence in English."""
    text, values = sentence
    return worded(text).format(**{name: _filled(value) for name, value in values.items()})


def _filled(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(map(filled, value))
    return filled(value) if isinstance(value, tuple) else value
