"""Which points a command line stands for."""

import pytest
from hydra.errors import HydraException
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.runs.points import expand, shared

VALUES = st.lists(st.integers(-99, 99), min_size=1, max_size=4, unique=True)


@given(st.dictionaries(st.sampled_from("abcdef"), VALUES, min_size=1))
def test_every_combination_once_and_the_last_key_fastest(values: dict[str, list[int]]) -> None:
    points = expand([f"{key}={','.join(map(str, numbers))}" for key, numbers in values.items()])
    rows = [tuple(int(o.partition("=")[2]) for o in point.overrides) for point in points]
    by_place = [
        tuple(numbers.index(n) for numbers, n in zip(values.values(), row, strict=True)) for row in rows
    ]
    assert by_place == sorted(set(by_place))
    assert [point.number for point in points] == list(range(len(rows)))
    varied = [key for key, numbers in values.items() if len(numbers) > 1]
    assert {tuple(o.partition("=")[0] for o in point.varied) for point in points} == {tuple(varied)}


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("budget=range(4,17,4)", ["4", "8", "12", "16"]),
        ("seed=choice(0,3)", ["0", "3"]),
        ("seed=sort(3,1,2)", ["1", "2", "3"]),
        ("task.limit=null,5", ["null", "5"]),
        ("run_dir='a,b'", ["'a,b'"]),
        ("strategy.sampling={temperature:1,top_p:1}", ["{temperature:1,top_p:1}"]),
        ("+x=[1,2],[3]", ["[1,2]", "[3]"]),
    ],
)
def test_the_grammar_of_values_is_hydras(override: str, values: list[str]) -> None:
    assert [p.overrides[0].partition("=")[2] for p in expand([override])] == values


def test_a_key_that_is_given_again_counts_once() -> None:
    assert [p.overrides for p in expand(["budget=1,2", "seed=1", "budget=4"])] == [("budget=4", "seed=1")]


def test_what_cannot_be_listed_or_read_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"seed=interval\(0,1\): cannot be listed"):
        expand(["seed=interval(0,1)"])
    with pytest.raises(HydraException):
        expand(["budget=(1"])


def test_what_a_sweep_has_in_common() -> None:
    command = [
        "strategy=a,b",
        "strategy.num_goals=2",
        "task=chain",
        "seed=1",
        "hydra.verbose=true",
        "+limits.x=1",
    ]
    assert shared(command) == ["task=chain", "seed=1", "hydra.verbose=true"]
