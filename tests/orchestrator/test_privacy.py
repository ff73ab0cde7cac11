"""What leaves the program has no credentials, and nothing that a terminal would obey."""

from __future__ import annotations

import time

import pytest
from rich.text import Text

from orchestrator.outcome import Attempt, Failed, Lost
from orchestrator.privacy import hide, is_secret, masked, public, visible
from orchestrator.report.terminal.console import console, say

SECRETS = {
    "a URL's password": ("cannot reach postgresql://ann:pa55w0rd!@db.example:5432/x", "pa55w0rd!"),
    "a password with an at": ("postgresql://ann:p@55w0rd@db.example/x", "55w0rd"),
    "a password with a slash": ("postgresql://ann:p4/55w0rd@db.example/x", "55w0rd"),
    "a token in a query": ("GET https://x.example/a?b=1&token=abc123def&c=2 failed", "abc123def"),
    "a signature": ("https://b.s3.amazonaws.com/k?X-Amz-Signature=0f1e2d3c&X-Amz-Date=1", "0f1e2d3c"),
    "Azure's signature": ("https://a.blob.core.windows.net/c?sv=1&sig=Zm9vYmFy", "Zm9vYmFy"),
    "a key by name": ("api_key=abcdef0123456789 is refused", "abcdef0123456789"),
    "a key in JSON": ('{"api_key": "abcdef0123456789", "n": 1}', "abcdef0123456789"),
    "a key in a mapping": ("{'aws_secret_access_key': 'wJalrXUtnFEMI/K7MDENG'}", "wJalrXUtnFEMI"),
    "a header": ("Authorization: Bearer abcdef.0123456789", "abcdef.0123456789"),
    "a header in a mapping": ("{'Authorization': 'Basic YW5uOnBhNTV3MHJk'}", "YW5uOnBhNTV3MHJk"),
    "an AWS key's id": ("The key AKIAIOSFODNN7EXAMPLE is unknown", "AKIAIOSFODNN7EXAMPLE"),
    "a GitHub token": ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_16C7e42F"),
    "a Hugging Face token": ("hf_abcdefghijklmnopqrstuvwxyz", "hf_abc"),
    "a JSON web token": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "c2lnbmF0dXJl"),
    "a chat's hook": ("https://hooks.slack.com/services/T000/B000/XXXXXXXX refused", "XXXXXXXX"),
}


@pytest.mark.parametrize(("text", "secret"), SECRETS.values(), ids=SECRETS)
def test_what_looks_like_a_credential_is_hidden(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in masked(text)
    assert "***" in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "softmax/resnet8/digits/s0 failed: ValueError: 3 images",
        "https://x.example/a?page=2&sort=key",
        "a user@host.example wrote",
        "tokens: 12",
        "the basic idea",
        "sqlite:////tmp/a b/registry.db",
    ],
)
def test_what_is_no_credential_stays(text: str) -> None:
    expected = text.replace("tokens: 12", "tokens: ***")  # rather one word too many
    assert masked(text) == expected


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "PGPASSWORD", "HF_TOKEN", "OPENAI_API_KEY", "DB_PWD"]
)
def test_the_values_of_secret_variables_are_hidden_wherever_they_are(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "correct horse")
    assert is_secret(name)
    assert masked("it said: correct horse battery") == "it said: *** battery"


def test_passwords_of_urls_in_variables_are_hidden_alone_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_REGISTRY", "postgresql://ann:correct%20horse@db/x")
    assert masked("no such password as correct horse") == "no such password as ***"


@pytest.mark.parametrize("name", ["PWD", "OLDPWD", "RAY_AUTH_TOKEN_PATH", "HOME", "KEYBOARD", "RAY_AUTH_MODE"])
def test_the_values_of_other_variables_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/a/folder")
    assert masked("in /a/folder") == "in /a/folder"


@pytest.mark.parametrize("part", ["a", "token", "://", "eyJa", "a.", "token=", "'"])
def test_a_long_text_without_spaces_takes_time_in_proportion_to_its_length(part: str) -> None:
    def seconds(length: int) -> float:
        before = time.process_time()
        masked(part * (length // len(part)))
        return time.process_time() - before

    short = min(seconds(12_500) for _ in range(3))
    assert min(seconds(100_000) for _ in range(3)) < 24 * short, "8 times in proportion, 64 times with the square"


def test_a_text_can_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.privacy._hidden", set())
    hide("https://x.example/secret/path")
    assert masked("<urlopen https://x.example/secret/path>") == "<urlopen ***>"
    hide("abc")  # a part of other words
    assert masked("abc") == "abc"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("50 %\r100 %", r"50 %\r100 %"),
        ("a\x9b31mb\x7f", r"a\x9b31mb\x7f"),
        ("user\u202etxt.exe\u2066", r"user\u202etxt.exe\u2066"),
        ("β-CE\tgrün\nline", "β-CE\tgrün\nline"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_what_ended_an_attempt_is_public_from_the_start(a_cell: object) -> None:
    said = "OSError: postgresql://ann:pa55w0rd!@db\x1b[2J"
    ends = [
        Failed(a_cell(), Attempt("n", 0.0, 1.0), said, f"Traceback\n{said}"),  # pyright: ignore[reportCallIssue]
        Lost(a_cell(), Attempt("n", 0.0, 1.0), "storage", said, f"Traceback\n{said}"),  # pyright: ignore[reportCallIssue]
    ]
    for end in ends:
        assert end.error == public(said) == r"OSError: postgresql://***@db\x1b[2J"
        assert end.traceback == f"Traceback\n{public(said)}"


def test_the_console_shows_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    people = console()
    people.print(Text("label \x1b[2J\u202e"), Text("β"))
    say(people, "token=abcdef012345 \x1b]0;title\x07")
    assert capsys.readouterr().out == "label \\x1b[2J\\u202e β\ntoken=*** \\x1b]0;title\\x07\n"
