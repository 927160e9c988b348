"""The page at ``/``: one file that asks a question and draws its search while it runs."""

from __future__ import annotations

from orchestrator.serving.service import Served

POLICY = "default-src 'none'"


def render_page(served: Served, *, has_keys: bool) -> str:
    """Return the page."""
    return "<!doctype html><title>Murmuration</title>"
