"""What stays warm between the points of a sweep: kept for equal keys, closed before another is made."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backend import DirectBackend
from orchestrator.config.plan import Plan
from orchestrator.runs.main import process_as_it_was
from orchestrator.runs.models import Models
from orchestrator.testing import FakeEngine, FakeTask
from strategies.greedy import Greedy
from tests.fake_plans import fake_plan


class LoggedEngine(FakeEngine):
    """Notes when it is closed."""

    def __init__(self, name: str, log: list[str]) -> None:
        super().__init__()
        self.name, self.log = name, log

    async def close(self) -> None:
        self.log.append(f"close {self.name}")


@dataclass
class LoggedCluster:
    """Notes in order what was made, and when it was stopped."""

    log: list[str]
    name: str = "a"
    grace_s: float = 0.0
    fails: bool = False

    def start(self, policies: Any, verifier: Any) -> Coroutine[Any, Any, DirectBackend]:
        self.log.append(f"start {self.name}")
        return self._load()

    async def _load(self) -> DirectBackend:
        if self.fails:
            raise ZeroDivisionError
        return DirectBackend(LoggedEngine(self.name, self.log))

    def survey(self, policies: Any, verifier: Any) -> str:
        return ""

    def stop(self) -> None:
        self.log.append(f"stop {self.name}")


@dataclass
class OtherCluster(LoggedCluster):
    """Of another kind: what was started for the first is of no use to it."""


@dataclass
class Made:
    models: Models = field(default_factory=Models)
    log: list[str] = field(default_factory=list)

    def plan(self, name: str, kind: type[LoggedCluster] = LoggedCluster, **how: Any) -> Plan:
        groups: Mapping[str, Any] = {"engine": {"model": name}, "verifier": {"model": name}, "cluster": name}
        plan = fake_plan(Path(), FakeTask(), Greedy(16), cluster=kind(self.log, name, **how))
        return replace(plan, plain={**plan.plain, **groups})

    def of(self, name: str, kind: type[LoggedCluster] = LoggedCluster, **how: Any) -> Any:
        return self.models.of(self.plan(name, kind, **how)).engine


@pytest.fixture
def made() -> Iterator[Made]:
    with process_as_it_was():
        made = Made()
        with closing(made.models):
            yield made


def test_equal_keys_share_what_there_is(made: Made) -> None:
    assert len({id(made.of("a")) for _ in range(3)}) == 1
    assert made.log == ["start a"]


def test_another_key_is_made_anew_after_the_old_was_closed(made: Made) -> None:
    """What the cluster itself needs stays for another of its kind."""
    assert [made.of(name).name for name in "aba"] == ["a", "b", "a"]
    assert made.log == ["start a", "close a", "start b", "close b", "start a"]
    made.of("c", OtherCluster)
    assert made.log[5:] == ["close a", "stop a", "start c"]


def test_it_is_closed_once(made: Made) -> None:
    made.of("a")
    made.models.drop()
    made.models.drop()
    made.models.close()
    assert made.log == ["start a", "close a", "stop a"]


def test_what_could_not_be_made_leaves_nothing_behind(made: Made) -> None:
    made.of("a")
    with pytest.raises(ZeroDivisionError):
        made.of("b", fails=True)
    made.of("a")
    assert made.log == ["start a", "close a", "start b", "stop b", "start a"]
