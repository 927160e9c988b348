"""What a server's entry of a model says about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO_LIMIT = 2**31
"""The context of a model whose server names none."""


def root_of(served: Mapping[str, Any]) -> str | None:
    """Return the model's folder or name on the hub, where the server reports it."""
    root = served.get("root")
    return root if isinstance(root, str) and root.isprintable() else None


def longest_context(served: Mapping[str, Any]) -> int:
    """Return the most tokens of a text, where the server reports it."""
    longest = served.get("max_model_len")
    return longest if type(longest) is int and 1 < longest < NO_LIMIT else NO_LIMIT
