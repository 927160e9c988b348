"""What cuts independent samples, in a strategy and in its configuration: they are not quoted then."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from orchestrator.allocation.rounds import Rounds
from orchestrator.outcome import ProblemResult
from orchestrator.search.budgets import cut_by, independent_knob_of, stops
from orchestrator.search.controller import Controller
from orchestrator.search.strategy import Strategy
from orchestrator.storage.quoted import Quoted
from orchestrator.storage.result_lines import result_line
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Sampling
from strategies import BestOfN, SelfConsistency
from strategies.parts.stopping import Stop

TEXTS = Sampling(max_tokens=64)

CASES = [
    (BestOfN(4, TEXTS), None),
    (BestOfN(4, TEXTS, prune={1: 2}), "strategy.prune"),
    (BestOfN(4, TEXTS, stop=Stop("threshold", 0.3)), "strategy.stop"),
    (BestOfN(4, TEXTS, stop=Stop("threshold", 1.5)), None),  # no reward is above 1
    (BestOfN(4, TEXTS, stop=Stop("beta")), "strategy.stop"),
    (BestOfN(4, TEXTS, wave_size=2), None),  # all waves are drawn
    (SelfConsistency(4, TEXTS), None),
    (SelfConsistency(4, TEXTS, wave_size=2), "strategy.stop"),
    (SelfConsistency(4, TEXTS, wave_size=2, stop=Stop("none")), None),
]


@pytest.mark.parametrize(("strategy", "key"), CASES)
async def test_samples_that_a_search_cuts_are_not_quoted(strategy: Strategy, key: str | None) -> None:
    knobs: Any = strategy
    assert cut_by({"strategy": asdict(knobs)}) == cut_by({"strategy": strategy}) == key
    assert stops(strategy) == (key == "strategy.stop")
    assert bool(await quoted(strategy)) == (key is None)


async def test_granted_samples_are_not_quoted() -> None:
    assert await quoted(BestOfN(2, TEXTS), rounds=Rounds(), budget=2) == {}
    for name, key in (("Rounds", "allocator"), ("Uniform", None)):
        allocator = {"_target_": f"orchestrator.{name}"}
        assert cut_by({"strategy": asdict(BestOfN(2, TEXTS)), "allocator": allocator}) == key


def test_a_rule_that_stops_leaves_the_first_samples_of_the_list() -> None:
    """So that a run that stops can be extended; one that prunes cannot."""
    assert independent_knob_of(BestOfN(4, TEXTS, stop=Stop("beta"))) == "num_samples"
    assert independent_knob_of(BestOfN(4, TEXTS, prune={1: 2})) is None


async def quoted(strategy: Strategy, **how: Any) -> dict[str, Any]:
    """The figures of samples of a run."""
    task, figures = FakeTask(), Quoted()

    def add(result: ProblemResult) -> None:
        assert result.error is None
        figures.add(result_line(result))

    await Controller(strategy, FakeEngine(), FakeVerifier(), task, **how).run(task.problems(0, 3), add)
    return figures.summary()
