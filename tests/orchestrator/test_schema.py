"""One schema: a field's annotation decides, whether a YAML file or a constructor gives the value."""

import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.build import build
from orchestrator.errors import ConfigError
from orchestrator.schema import NotEmpty, Positive, Probability, Rule, Words, checked

Even = Annotated[int, Rule(lambda value: value % 2 == 0, "must be even")]


@dataclass(frozen=True, slots=True)
class Inner:
    """Checked where it is the value of a checked field, and not before."""

    top_p: Annotated[float, Gt(0), Le(1)] = 1.0


@dataclass(frozen=True, slots=True)
@checked("group")
class Schema:
    """Every kind of annotation."""

    count: Annotated[int, Ge(1)] = 1
    maybe: Annotated[int | None, Ge(0)] = None
    few: Annotated[int, Ge(2), Le(26)] = 2
    rate: Positive = 1.0
    share: Probability = 0.5
    epsilon: Annotated[float, Ge(0), Lt(0.5)] = 0.0
    even: Even = 2
    name: NotEmpty = "x"
    code: Annotated[str, MinLen(2), Words("must have two letters")] = "xx"
    mode: Literal["argmax", "majority"] = "argmax"
    is_on: bool = False
    lengths: Sequence[Annotated[int, Ge(1)]] = (1,)
    inner: Inner = Inner()

    def __post_init__(self) -> None:
        if self.count == self.few:
            raise ConfigError("group.count", self.count, "must differ from few")


BAD: list[tuple[str, Any, str]] = [
    ("count", 0, "group.count=0: must be a whole number of 1 or more"),
    ("count", True, "group.count=True: must be a whole number of 1 or more"),
    ("count", "1", "group.count=1: must be a whole number of 1 or more"),
    ("count", 1.0, "group.count=1.0: must be a whole number of 1 or more"),
    ("count", None, "group.count=null: must be a whole number of 1 or more"),
    ("maybe", -1, "group.maybe=-1: must be a whole number of 0 or more, or null"),
    ("few", 27, "group.few=27: must be 2..26"),
    ("rate", 0, "group.rate=0: must be above 0 and finite"),
    ("rate", math.inf, "group.rate=inf: must be above 0 and finite"),
    ("rate", math.nan, "group.rate=nan: must be above 0 and finite"),
    ("rate", True, "group.rate=True: must be above 0 and finite"),
    ("rate", "1e3", "group.rate=1e3: must be above 0 and finite"),
    ("share", 1.5, "group.share=1.5: must be in [0, 1]"),
    ("epsilon", 0.5, "group.epsilon=0.5: must be in [0, 0.5)"),
    ("even", 3, "group.even=3: must be even"),
    ("name", "", "group.name=: must not be empty"),
    ("code", "x", "group.code=x: must have two letters"),
    ("mode", "argmx", "group.mode=argmx: must be one of argmax, majority; did you mean 'argmax'?"),
    ("is_on", "true", "group.is_on=true: must be a valid boolean"),
    ("is_on", 1, "group.is_on=1: must be a valid boolean"),
    ("lengths", [1, True], "group.lengths=[1, True]: must be a valid integer"),
    ("count", 2, "group.count=2: must differ from few"),
]


@pytest.mark.parametrize(("name", "value", "line"), BAD)
def test_both_ways_refuse_it_in_the_same_words(name: str, value: Any, line: str) -> None:
    for make in (lambda knobs: Schema(**knobs), lambda knobs: build(Schema, knobs, "group")):
        with pytest.raises(ConfigError) as caught:
            make({name: value})
        assert str(caught.value) == line


def test_a_value_within_a_value_has_its_own_key() -> None:
    line = r"^group\.inner\.top_p=2: must be in \(0, 1\]$"
    with pytest.raises(ConfigError, match=line):
        Schema(inner=Inner(top_p=2))
    with pytest.raises(ConfigError, match=line):
        build(Schema, {"inner": {"top_p": 2}}, "group")
    with pytest.raises(ConfigError, match=r"^group\.inner=.*: must be a valid Inner|must be .*Inner"):
        Schema(inner=Schema())  # type: ignore[arg-type]


def test_a_checked_value_is_a_frozen_dataclass_as_before() -> None:
    value = Schema(count=3)
    assert replace(value, count=4) == Schema(count=4)
    assert pickle.loads(pickle.dumps(value)) == value
    assert not hasattr(value, "__dict__")
    with pytest.raises(ConfigError, match=r"group\.count=0"):
        replace(value, count=0)


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3),
    st.sampled_from(["1", "1e3", "nan", 10**400, -(10**400), np.int64(3), np.float32(2), np.bool_(True)]),
)  # fmt: skip


@given(anything)
def test_only_whole_numbers_are_whole_numbers(value: Any) -> None:
    _same_verdict("count", value, type(value) is int and value >= 1 and value != 2)


@given(anything)
def test_only_finite_numbers_are_numbers(value: Any) -> None:
    is_number = isinstance(value, int | float | np.floating) and not isinstance(value, bool)
    fits = is_number and 0 <= value <= 1
    _same_verdict("share", value, fits)


def _same_verdict(name: str, value: Any, is_good: bool) -> None:
    """Both ways take it, or both refuse it with the same words."""
    said = []
    for make in (lambda: Schema(**{name: value}), lambda: build(Schema, {name: value}, "group")):
        try:
            said.append(str(getattr(make(), name) == value))
        except ConfigError as error:
            said.append(str(error))
    assert said[0] == said[1]
    assert (said[0] == "True") == bool(is_good)
