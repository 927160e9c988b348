"""Nested mappings by dotted keys, as a command line and messages name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def entries(node: Any, prefix: str = "", *, of_lists: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield every dotted key below a node with its value; a node comes before what is below it.

    With ``of_lists`` the items of a list are included, each under the key of the list.
    """
    for name, value in _items(node, of_lists):
        key = f"{prefix}.{name}" if prefix and name else prefix or name
        yield key, value
        yield from entries(value, key, of_lists=of_lists)


def _items(node: Any, of_lists: bool) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        yield from ((str(name), value) for name, value in node.items())
    elif of_lists and isinstance(node, list | tuple):
        yield from (("", value) for value in node)


def dotted(node: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten ``{"a": {"b": 1}}`` to ``{"a.b": 1}``; a list is one value, and an empty mapping none."""
    return {key: value for key, value in entries(node) if not isinstance(value, Mapping)}
