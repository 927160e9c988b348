"""Every mistake in a configuration is one line that names the key, the value and what is allowed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hydra.errors import HydraException

from orchestrator.config.build import (
    build,
    build_node,
    build_task,
    read_limits,
    read_range,
    read_settings,
)
from orchestrator.config.explain import explain
from orchestrator.errors import ConfigError
from orchestrator.search.account import Limits
from orchestrator.tasks.chain import ChainTask
from orchestrator.types import Sampling

SETTINGS = {
    "budget": 8, "seed": 0, "concurrency": 4, "run_dir": "out", "resume": False, "keep_journal": False,
    "dry_run": False,
}  # fmt: skip


@dataclass(frozen=True)
class Knobs:
    """A group's schema with every kind of knob."""

    count: int = 1
    rate: float = 0.5
    mode: Literal["a", "b"] = "a"
    lengths: Sequence[int] = (1,)
    maybe: int | None = None
    sampling: Sampling = Sampling()


@dataclass(frozen=True)
class OwnLengths:
    """A task that reads one of the lengths."""

    max_tokens: int


def test_settings() -> None:
    assert read_settings(SETTINGS).budget == 8


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("budget", -1, "budget=-1: must be greater than or equal to 1"),
        ("budget", "x", "budget=x: must be a valid integer"),
        ("budget", 2.5, "budget=2.5: must be a valid integer"),
        ("budget", None, "budget=null: must be a valid integer"),
        ("concurrency", 0, "concurrency=0: must be greater than or equal to 1"),
        ("resume", "maybe", "resume=maybe: must be a valid boolean"),
    ],
)
def test_bad_settings(key: str, value: object, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings({**SETTINGS, key: value})
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("task", "line"),
    [
        ({"offset": 0, "limit": "abc"}, "task.limit=abc: must be a valid integer"),
        ({"offset": 0, "limit": 0}, "task.limit=0: must be greater than or equal to 1"),
        ({"offset": 10, "limit": 1}, "task.offset=10: must be below 10, the number of problems"),
        ({"offset": -1, "limit": 1}, "task.offset=-1: must be greater than or equal to 0"),
    ],
)
def test_bad_range(task: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_range(task, 10)
    assert str(caught.value) == line


def test_range() -> None:
    assert read_range({"offset": 3, "limit": None}, 10).limit is None


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"count": "x"}, "group.count=x: must be a valid integer"),
        ({"count": 1.5}, "group.count=1.5: must be a valid integer"),
        ({"rate": "hot"}, "group.rate=hot: must be a valid number"),
        ({"mode": "c"}, "group.mode=c: must be one of a, b"),
        ({"maybe": "x"}, "group.maybe=x: must be a valid integer"),
        ({"cuont": 1}, "group.cuont=1: unknown key; did you mean 'count'?"),
        (
            {"sampling": {"temprature": 1.0}},
            "group.sampling.temprature=1.0: unknown key; did you mean 'temperature'?",
        ),
        ({"sampling": {"temperature": "x"}}, "group.sampling.temperature=x: must be a number of 0 or more"),
        ({"sampling": "x"}, "group.sampling=x: must be keys below it, such as group.sampling.temperature"),
        ({"lengths": 8}, "group.lengths=8: must be a list: 'group.lengths=[8]'"),
    ],
)
def test_bad_knobs(knobs: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Knobs, knobs, "group")
    assert str(caught.value) == line


def test_knobs_are_converted_once() -> None:
    built = build(Knobs, {"rate": 1, "lengths": [8, 16], "sampling": {"temperature": 0.0}}, "group")
    assert built == Knobs(rate=1.0, lengths=[8, 16], sampling=Sampling(temperature=0.0))
    assert isinstance(built.rate, float)


CHAIN = {"_target_": "orchestrator.ChainTask", "offset": 0, "limit": 3, "max_steps": 10}


def test_a_tasks_node_may_hold_what_others_read() -> None:
    assert build_task(CHAIN | {"split": "dev", "block_lengths": [2, 4]}) == ChainTask("dev")


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"max_steps": 0}, "task.max_steps=0: must be a whole number above 0"),
        ({"max_tokens": "many"}, "task.max_tokens=many: must be a whole number above 0"),
        ({"temperature": -1}, "task.temperature=-1: must be a number of 0 or more, or null"),
        ({"max_step": 1}, "task.max_step=1: unknown key; did you mean 'max_steps'?"),
        ({"split": "tset"}, "task.split=tset: must be one of train, dev, test; did you mean 'test'?"),
    ],
)
def test_what_a_task_suggests_is_checked(keys: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_task(CHAIN | keys)
    assert str(caught.value) == line


def test_a_class_that_takes_a_length_itself_gets_it() -> None:
    node = {"_target_": f"{__name__}.OwnLengths", "offset": 0, "limit": None, "max_tokens": 7, "max_steps": 2}
    assert build_task(node) == OwnLengths(7)


def test_a_nested_target_is_built() -> None:
    node = {
        "_target_": f"{__name__}.Knobs",
        "sampling": {"_target_": "orchestrator.Sampling", "top_p": 0.5},
    }
    assert build_node(node, "group") == Knobs(sampling=Sampling(top_p=0.5))


def test_a_target_that_is_not_there() -> None:
    with pytest.raises(
        ConfigError, match=r"^strategy\._target_=strategies\.nothing\.Nothing: cannot be imported"
    ):
        build_node({"_target_": "strategies.nothing.Nothing"}, "strategy")


@pytest.mark.parametrize("key", ["generated_tokens", "reward_calls", "seconds"])
def test_limits(key: str) -> None:
    assert read_limits({"limits": {key: None}}) == Limits()
    with pytest.raises(ConfigError, match=rf"^limits\.{key}=0(.0)?: must be above 0"):
        read_limits({"limits": {key: 0}})


@pytest.mark.parametrize(
    ("text", "overrides", "line"),
    [
        (
            "Could not override 'stratgy'.\nTo append, use +stratgy=x\nKey 'stratgy' is not in struct",
            ["stratgy=x"],
            "stratgy=x: unknown key; did you mean 'strategy'?",
        ),
        (
            "In 'config': Could not find 'strategy/gredy'\n\nAvailable options:\n\tgreedy\n\tastar\nConfig",
            ["strategy=gredy"],
            "strategy=gredy: must be one of greedy, astar; did you mean 'greedy'?",
        ),
        (
            "Could not append to config. An item is already at 'task.limit'.",
            ["+task.limit=3"],
            "task.limit=3: is there already: leave out the +",
        ),
        ("Key 'engine' is not in struct", ["~engine"], "engine: a run needs one; choose it with engine=NAME"),
        ("first line\nsecond line", [], "first line"),
    ],
)
def test_composition_errors_are_one_line(text: str, overrides: list[str], line: str) -> None:
    assert explain(HydraException(text), ["strategy", "seed", "budget"], overrides) == line
