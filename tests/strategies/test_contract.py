"""What every strategy promises, whatever its method; a new conf/strategy/*.yaml is held to it at once.

The laws are those that ``check_strategy`` ships.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from orchestrator.schema import converted, hints_of
from orchestrator.search.budgets import independent_knob_of
from orchestrator.search.strategy import Budgeted, Whole, most_answers
from orchestrator.testing import STRATEGY_LAWS, Law, StrategyCase, World, hold, name_of, strategies
from tests.toy import STRATEGIES, TASK, knobs_of, load

pytestmark = pytest.mark.parametrize("name", STRATEGIES)

ARRIVAL_DEPENDENT = frozenset({"particle_cascade"})
"""Methods that never wait for a reply depend on the order of arrival by nature, and say so."""
INDEPENDENT = frozenset({"best_of_n", "self_consistency", "hex", "hex_weighted"})
"""Methods whose candidates are independent samples."""
AT_EVERY_BUDGET: list[Law[StrategyCase]] = [
    strategies.the_ledger_is_what_the_models_counted,
    strategies.an_odd_language_is_searched_too,
    strategies.nothing_is_asked_about_a_trajectory_that_has_ended,
    strategies.seeds_are_never_shared,
    strategies.with_a_stream_every_number_is_used_once,
]
SAMPLE_TOKENS = 2 * TASK["max_steps"]  # of a full-length sample, whether drawn at once or by steps


def case_of(name: str, budget: int = 4, **task: int) -> StrategyCase:
    """A strategy as its file composes it, with what it promises."""
    strategy = load(name, budget, task=task)
    return StrategyCase(
        strategy, budget, SAMPLE_TOKENS, draws=name != "greedy", keeps_order=name not in ARRIVAL_DEPENDENT
    )


@pytest.mark.parametrize("law", STRATEGY_LAWS, ids=name_of)
async def test_it_keeps_the_laws(name: str, law: Law[StrategyCase]) -> None:
    if law is not strategies.the_budget_is_kept:  # its own test is below
        await hold(law, case_of(name))


@pytest.mark.parametrize("budget", [1, *(pytest.param(n, marks=pytest.mark.heavy) for n in (2, 5, 8))])
@pytest.mark.parametrize("law", AT_EVERY_BUDGET, ids=name_of)
async def test_it_keeps_these_at_every_budget(name: str, law: Law[StrategyCase], budget: int) -> None:
    await hold(law, case_of(name, budget))


@pytest.mark.parametrize("budget", [1, 2, 5, 8])
async def test_budget(name: str, budget: int) -> None:
    """``budget=N`` is at most N full-length samples' worth of generation, and N=1 costs no more than one."""
    await hold(strategies.the_budget_is_kept, case_of(name, budget, max_tokens=SAMPLE_TOKENS))


async def test_it_says_whether_it_samples_whole_answers_alone(name: str) -> None:
    """An engine that cannot continue a text serves those that do, and refuses others."""
    strategy, world = load(name), World()
    await world.solve(strategy)
    asked = world.engine.requests
    assert asked
    says_so = isinstance(strategy, Whole) and strategy.whole_answers
    assert says_so == all(request.to_end and not request.token_ids for request in asked)


@pytest.mark.parametrize("budget", [1, 5])
async def test_it_says_how_many_answers_it_draws(name: str, budget: int) -> None:
    """A strategy that runs others divides its own budget by it."""
    strategy = load(name, budget)
    solution, most = await World().solve(strategy), most_answers(strategy)
    assert most is not None and most <= budget
    if name not in ARRIVAL_DEPENDENT:  # the number of a cascade's particles varies; its tokens are bounded
        assert sum(t.finished for t in solution.trajectories) <= most


def test_independent_samples_come_in_any_number(name: str) -> None:
    """An import, and a what-if of one, run the strategy on as many samples as a question has."""
    strategy: Any = load(name, 8)
    knob = independent_knob_of(strategy)
    for num in range(1, 13) if knob else ():
        assert most_answers(replace(strategy, **{str(knob): num})) == num


def test_two_of_one_configuration_are_equal(name: str) -> None:
    assert load(name) == load(name)
    assert hash(load(name)) == hash(load(name))


def test_its_knobs_have_plain_types(name: str) -> None:
    """Values from YAML are checked against the annotations before anything starts."""
    strategy: Any = load(name)
    hints = hints_of(type(strategy))
    for knob in fields(strategy):
        value = getattr(strategy, knob.name)
        assert converted(f"strategy.{knob.name}", value, hints[knob.name]) == value


def test_it_says_which_knob_the_budget_sets(name: str) -> None:
    """And its file sets that one alone, unless the budget is not read."""
    strategy = load(name)
    assert isinstance(strategy, Budgeted)
    assert [k for k, v in knobs_of(name).items() if v == "${budget}"] == [
        knob for knob in (strategy.budget_knob,) if knob is not None
    ]
    assert strategy.independent_samples == (name in INDEPENDENT)
