"""What a strategy that runs others declares: all that they do, however deep, so that nothing is hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import pytest

import strategies
from orchestrator.config.compatibility import check_params, check_prompts
from orchestrator.config.naming import named_policies
from orchestrator.errors import ConfigError
from orchestrator.prompts.template import Template
from orchestrator.schema import hints_of
from orchestrator.search.strategy import Strategy, Whole, in_chat, knows_answers, parts_of, prompts
from orchestrator.types import Sampling
from strategies import (
    BestOfN,
    ComputeOptimal,
    Greedy,
    Hex,
    Mixture,
    MixtureArm,
    Pipeline,
    Refine,
    TreeOfThoughts,
)
from strategies.parts.checklist import Checklist
from strategies.parts.plan import Plan
from strategies.refine import RefineStop

AGAIN = Template("{question}\n{attempts}")
CHECKLIST = Checklist(Template("{question}\nlist"), Template("{answers}\n{notes}\npick"), policy="engine")

WRAPPERS: dict[str, Callable[[Strategy], Strategy]] = {
    "an arm of a mixture": lambda inner: Mixture({"a": MixtureArm(Greedy()), "b": MixtureArm(inner)}),
    "without a plan": lambda inner: ComputeOptimal(Sampling(), inner),
    "a setting of a plan": lambda inner: ComputeOptimal(
        Sampling(), Greedy(), Plan((0.5,), (0, 1), (Greedy(), inner), 4.0)
    ),
    "two deep": lambda inner: Mixture({"a": MixtureArm(ComputeOptimal(Sampling(), inner))}),
}
INNER: dict[str, Strategy] = {
    "plain": Greedy(),
    "by steps": TreeOfThoughts(),
    "an oracle stops it": Refine(4, prompt=AGAIN, stop=RefineStop("oracle")),
    "a chat": Refine(4, prompt=Template("again"), carry="conversation"),
    "a checklist chooses": BestOfN(4, selection=CHECKLIST),
    "one read-out": BestOfN(4, aggregation="model"),
    "another policy": Pipeline(2, layers=[[{"generate": {"policies": ["other"]}}], [{"select": {}}]]),
}


def declared(strategy: Strategy) -> dict[str, bool]:
    return {
        "by steps": not (isinstance(strategy, Whole) and strategy.whole_answers),
        "in chat": in_chat(strategy),
        "knows answers": knows_answers(strategy),
        "prompts": prompts(strategy),
        "asks another": "other" in dict(map(reversed, named_policies(strategy, "strategy"))),
        "needs rewards": bool(strategy.readouts),
        "whole alone": strategy.readouts == ("whole",),
    }


@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_it_declares_what_the_strategies_that_it_runs_do(
    wrap: Callable[[Strategy], Strategy], inner: Strategy
) -> None:
    own, nested, outer = declared(wrap(Greedy())), declared(inner), declared(wrap(inner))
    assert outer == {name: own[name] or value for name, value in nested.items()}


def test_each_declaration_is_made_by_some_strategy_here() -> None:
    """Else the law above says nothing of it."""
    made = [declared(inner) for inner in INNER.values()]
    assert all({each[name] for each in made} == {True, False} for name in made[0])


def test_the_law_holds_every_strategy_that_runs_others() -> None:
    public = [getattr(strategies, name) for name in strategies.__all__]
    nesting = {kind for kind in public if hasattr(kind, "solve") and any(_held(kind))}
    assert nesting == {type(wrap(Greedy())) for wrap in WRAPPERS.values()}


def _held(kind: Any) -> Iterator[bool]:
    """Yield whether each type that the knobs of a class have, at any depth, is that of a strategy."""
    if kind is Strategy:
        yield True
    elif is_dataclass(kind) and kind.__module__.startswith("strategies."):
        hints = hints_of(kind)  # type: ignore[arg-type]
        yield from (each for knob in fields(kind) for each in _held(hints[knob.name]))
    else:
        yield from (each for part in get_args(kind) for each in _held(part))


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_nested_checklist_is_refused_where_the_policy_reads_no_words(
    wrap: Callable[[Strategy], Strategy],
) -> None:
    class OfOneTask:
        knows_task = "chain"

    names = {"strategy": "own", "engine": "embedded", "verifier": "none"}
    check_prompts(names, wrap(BestOfN()), OfOneTask())
    with pytest.raises(ConfigError, match=r"^strategy=own: prompts the policy in words"):
        check_prompts(names, wrap(BestOfN(selection=CHECKLIST)), OfOneTask())


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_nested_strategy_of_another_kind_of_model_is_refused(wrap: Callable[[Strategy], Strategy]) -> None:
    names = {"strategy": "own", "engine": "vllm"}
    check_params(names, wrap(BestOfN()), Sampling)
    with pytest.raises(
        ConfigError, match=r"^engine=vllm: takes Sampling, and strategy=own asks for Denoising"
    ):
        check_params(names, wrap(Hex()), Sampling)


def test_a_part_that_prompts_is_found_at_any_depth() -> None:
    """Also where what holds it declares nothing."""
    assert prompts({"a": [BestOfN(selection=CHECKLIST)]})
    assert not prompts({"a": [BestOfN()]})


def test_the_prompts_of_a_server_are_no_prompts_in_words() -> None:
    """An engine's knob of the same name, which a verifier that holds it has, says how it is asked."""
    from actors import OpenAIEngineConfig

    assert dict(parts_of(OpenAIEngineConfig("m", "http://x")))["prompts"] in ("text", "tokens")
    assert not prompts([OpenAIEngineConfig("m", "http://x")])
