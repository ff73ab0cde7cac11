"""A model in use: its file and certificate, and whether new lots keep what was promised."""

from __future__ import annotations

from pathlib import Path


def serve_source() -> str:
    """A Python program of thirty lines that serves a deployed model; it stands beside each."""
    return Path(__file__).with_name("serve.py").read_text("utf-8")
