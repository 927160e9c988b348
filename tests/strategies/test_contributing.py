"""The worked example of CONTRIBUTING.md: its files are written, composed and tested as they are written."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import strategies
from orchestrator.config.compose import only_composed
from orchestrator.config.plan import plan_of
from orchestrator.search.strategy import Budgeted
from tests.guide import blocks, run_tests
from tests.laws import assert_sound
from tests.toy import CONF, World

TITLE = "How to add a strategy"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example's class under its public name, and the folder of its configuration."""
    method, _ = blocks("python", TITLE)
    (tmp_path / "shortest_vote.py").write_text(method)
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(tmp_path)])
    module = importlib.import_module("strategies.shortest_vote")
    monkeypatch.setattr(strategies, "ShortestVote", module.ShortestVote, raising=False)
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy" / "shortest_vote.yaml").write_text(blocks("yaml", TITLE)[0])
    yield tmp_path
    del sys.modules["strategies.shortest_vote"]


def test_its_configuration_makes_a_plan_that_solves(example: Path) -> None:
    arguments = ["--config-dir", str(example), "strategy=shortest_vote", "budget=5", "run_dir=outputs/none"]
    strategy: Any = only_composed(arguments, plan_of).strategy
    assert isinstance(strategy, Budgeted)
    assert (strategy.num_samples, strategy.num_voters, strategy.readouts) == (5, 3, ())
    assert strategy.sampling.max_tokens == only_composed([], plan_of).plain["task"]["max_tokens"]
    assert_sound(asyncio.run(World().solve(strategy)))


def test_its_own_tests_pass(example: Path) -> None:
    _, tests = blocks("python", TITLE)
    run_tests(tests)


def test_every_strategy_has_a_public_name() -> None:
    """The files name classes by it, and nothing else is public."""
    named = {
        target
        for path in (*CONF.glob("*.yaml"), *(CONF.parent / "selection").glob("*.yaml"))
        for target in re.findall(r"_target_: (strategies\.\S+)", path.read_text())
    }
    assert named == {f"strategies.{name}" for name in strategies.__all__}
    assert strategies.__all__ == sorted(strategies.__all__)
    assert all(isinstance(getattr(strategies, name), type) for name in strategies.__all__)


async def test_the_function_of_the_documentation_is_a_resampler() -> None:
    page = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = {}
    exec(compile(code, "docs/strategies.md", "exec"), found)
    solution = await World().solve(found["strategy"])
    assert_sound(solution)
    assert all(len(set(record.ancestors)) == 4 for record in solution.history[:-1])
