"""Dotted keys, against an independent reading of nested mappings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dotted import dotted, entries

NESTED = st.dictionaries(
    st.text("abc", min_size=1, max_size=2),
    st.recursive(
        st.integers() | st.lists(st.integers(), max_size=2),
        lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
    ),
    max_size=3,
)


def looked_up(node: Any, key: str) -> Any:
    for part in key.split("."):
        node = node[part]
    return node


def num_leaves(node: Any) -> int:
    return sum(map(num_leaves, node.values())) if isinstance(node, Mapping) else 1


@given(NESTED)
def test_every_leaf_is_found_under_its_key(node: dict[str, Any]) -> None:
    flat = dotted(node)
    assert {key: looked_up(node, key) for key in flat} == flat
    assert len(flat) == num_leaves(node)


def test_a_node_comes_before_what_is_below_it() -> None:
    node = {"a": {"b": {}, "c": [1]}, "d": None}
    assert [key for key, _ in entries(node)] == ["a", "a.b", "a.c", "d"]
    assert dotted(node) == {"a.c": [1], "d": None}


def test_items_of_lists_have_the_key_of_the_list() -> None:
    node = {"a": [1, {"b": (2, [3])}]}
    found = [(key, value) for key, value in entries(node, of_lists=True) if isinstance(value, int)]
    assert found == [("a", 1), ("a.b", 2), ("a.b", 3)]
    assert [key for key, _ in entries(node)] == ["a"]
