"""What may leave this program: texts without credentials, and without characters that a terminal would obey.

Texts that are not the program's own (errors, tracebacks, names of others) pass `public` at every door: the terminal,
the webhook, the registry, MLflow, the page and the export.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import unquote

HIDDEN = "***"

_USERS = re.compile(r"://[^\s/'\"]{0,200}(?:/[^\s@'\"]{0,200})?@")
_NAMED = re.compile(
    # Bounded on both sides, so that a long text without spaces takes no longer than another.
    r"""(?ix)
    ( (?<![\w.-]) [\w.-]{0,80}? (?: passw(?:or)?d | passphrase | \bpwd | _pwd | secret | token | credential | signature
      | api[_-]?key | access[_-]?key(?:[_-]?id)? | account[_-]?key | private[_-]?key | (?<=[?&]) (?:sig|sas) )
      [\w-]{0,40} ['"]? \s{0,9} [=:] \s{0,9} ['"]? )
    (?: (?:bearer|basic) \s+ )? ( [^\s&'",;<>()\[\]{}]+ )
    """
)
_SCHEMES = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_FORMATS = re.compile(
    r"\b(?:A(?:KIA|SIA|ROA|IDA)[A-Z0-9]{16}"  # Amazon
    r"|gh[opsur]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"  # GitHub, GitLab
    r"|hf_\w{20,}|sk-[\w-]{16,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{30,}"  # Hugging Face, OpenAI and others, Slack, Google
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"  # JSON web tokens
)
_HOOKS = re.compile(
    r"(https?://(?:hooks\.slack\.com|discord(?:app)?\.com/api/webhooks|[\w.]*webhook\.office\.com))/\S+"
)

_SECRET_NAME = re.compile(
    r"(?i)secret|token|passw|passphrase|credential|(api|access|account|private|encryption|signing)_?key|_key$|_pwd$|_pat$"
)
_HARMLESS_NAME = re.compile(r"(?i)_(path|file|dir|mode|uri|url|host|port|name|user|expir\w*|ttl|timeout)s?$")
SHORTEST = 6
"""Characters of the shortest value of a variable that is hidden: a shorter one is part of other words."""

_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line feed, and characters that change the direction of what follows."""

_hidden: set[str] = set()


def hide(secret: str) -> None:
    """Hide a text from now on wherever it appears."""
    if len(secret) >= SHORTEST:
        _hidden.add(secret)


def masked(text: str) -> str:
    """The text without what looks like a credential, and without the secrets of this process's environment."""
    for secret in sorted({*_hidden, *_of_environment()}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _USERS.sub(f"://{HIDDEN}@", text)
    text = _HOOKS.sub(rf"\1/{HIDDEN}", text)
    text = _NAMED.sub(rf"\g<1>{HIDDEN}", text)
    text = _SCHEMES.sub(rf"\1 {HIDDEN}", text)
    return _FORMATS.sub(HIDDEN, text)


def without_user(url: str) -> str:
    """A URL without user and password: the same in every process."""
    return _USERS.sub(f"://{HIDDEN}@", url)


def visible(text: str) -> str:
    r"""The text with characters that a terminal would obey written out, as in `\x1b`; tabs and line feeds stay."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def public(text: str) -> str:
    """The text as it may leave this program: `masked` and `visible`."""
    return visible(masked(text))


def is_secret(variable: str) -> bool:
    """Whether an environment variable of this name holds a secret."""
    return bool(_SECRET_NAME.search(variable)) and not _HARMLESS_NAME.search(variable)


def _of_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        yield from _of_variable(name, value)


@lru_cache(maxsize=1024)  # a launch asks for each of its sentences
def _of_variable(name: str, value: str) -> tuple[str, ...]:
    if is_secret(name):
        found = [value]
    else:
        found = [unquote(password) for password in re.findall(r"://[^\s/:@]*:([^\s/@]+)@", value)]
    return tuple(secret for secret in found if len(secret) >= SHORTEST)
