"""Sentences with placeholders, so that a page can translate them before the values are filled in."""

from __future__ import annotations

from typing import Any

Sentence = tuple[str, dict[str, Any]]
"""A text, and the values for its braces, which may be sentences or lists of sentences."""


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
    return text.format(**{name: _filled(value) for name, value in values.items()})


def _filled(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(map(filled, value))
    return filled(value) if isinstance(value, tuple) else value
