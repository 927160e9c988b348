"""What a continuation may change, and how it is said."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.storage.run_directory import FREE_KEYS, differing_keys, open_run_dir


def test_what_may_change_is_named_in_full(tmp_path: Path) -> None:
    open_run_dir(tmp_path, {"seed": 0}, [], resume=False)
    open_run_dir(tmp_path, {"seed": 0, **{key: {"x": 1} for key in FREE_KEYS}}, [], resume=True)
    with pytest.raises(ConfigError) as caught:
        open_run_dir(tmp_path, {"seed": 1}, [], resume=True)
    _, _, named = str(caught.value).partition("; only ")
    assert named.removesuffix(" may").replace(" and ", ", ").split(", ") == list(FREE_KEYS)


def test_a_node_in_place_of_a_value_differs() -> None:
    assert differing_keys({"a": {"b": 1}}, {"a": 2}) == ["a.b", "a"]
    assert differing_keys({"a": {}}, {"a": {"b": 1}}) == ["a.b"]
    assert differing_keys({"a": None}, {}) == []


def test_differing_keys_leaves_the_free_ones_out() -> None:
    a: dict[str, Any] = {"seed": 0, "cluster": {"engine_replicas": 1}, "task": {"limit": 5, "split": "test"}}
    b: dict[str, Any] = {
        "seed": 1,
        "cluster": {"engine_replicas": 2},
        "task": {"limit": 6, "split": "test"},
        "new": 1,
    }
    assert differing_keys(a, b) == ["seed", "task.limit", "new"]


@given(
    st.dictionaries(
        st.text("abc", min_size=1),
        st.recursive(
            st.integers(), lambda inner: st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
        ),
        max_size=3,
    )
)
def test_a_configuration_does_not_differ_from_itself(config: dict[str, Any]) -> None:
    assert differing_keys(config, config) == []
