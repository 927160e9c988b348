"""Through the endpoint as in a run: for the same seed and problem id, the same texts and the same usage.

The models are the shipped ones, on ``cluster=inprocess``; requests arrive one by one, and 16 at once. The
particle cascade is left out: its answers depend on the order in which its own particles arrive, by design.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from orchestrator.config.build import build_node
from orchestrator.config.plan import Plan
from orchestrator.outcome import ProblemResult
from orchestrator.prompts.template import Template
from orchestrator.protocols import Engine, Verifier
from orchestrator.search.controller import Controller
from orchestrator.serving.composing import composed
from orchestrator.serving.offers import Offer, Offers
from orchestrator.serving.service import Served
from orchestrator.testing.fakes import FakeTask
from orchestrator.types import Problem, Sampling
from orchestrator.verifiers.constraints import ConstraintsVerifier, ConstraintsVerifierConfig
from tests.orchestrator.serving.served import ANSWERS, Server, fake_served, running
from tests.scripted import ScriptedEngine

assert torch
CHAIN = (
    "astar", "beam_search", "best_of_n", "compute_optimal", "dvts", "entropic_particle_filter", "greedy",
    "parallel_tempering", "particle_filter", "particle_gibbs", "rebase", "self_consistency",
    "tree_of_thoughts",
)  # fmt: skip
HEX = ("hex", "hex_weighted")
DIFFUSION = ("engine=embedded_diffusion", "verifier=none", "task=twoway", "strategy=hex")
BY_ORDER = "particle_cascade"
# Of the usage, what does not depend on what happened to be in a cache.
EXACT = ("generated_tokens", "prompt_tokens", "reward_calls", "denoising_passes")
SEED = 3
NUM_MORE = 20


def shipped(*arguments: str) -> tuple[Served, Plan]:
    """What a server serves on the shipped models."""
    return composed(["cluster=inprocess", *arguments])


async def in_a_run(
    served: Served, plan: Plan, names: Sequence[str], problems: Sequence[Problem], budget: int
) -> dict[str, dict[str, ProblemResult]]:
    """What a run finds, by strategy and problem, on models of its own."""
    backend = await plan.cluster.start(plan.policies, plan.verifier.of_replicas)
    found: dict[str, dict[str, ProblemResult]] = {}
    try:
        for name in names:
            controller = Controller(
                build_node(served.offers.all[name].node(budget), "strategy"),
                backend.engine,
                plan.verifier.open(backend, plan.task, {}),
                plan.task,
                seed=SEED,
            )
            results: dict[str, ProblemResult] = {}
            await controller.run(problems, lambda result, to=results: to.update({result.problem.id: result}))  # type: ignore[misc]
            found[name] = results
    finally:
        await backend.close()
    return found


async def through_the_endpoint(
    server: Server, name: str, problems: Sequence[Problem], budget: int, at_once: int
) -> dict[str, Any]:
    """The replies by problem, with at most ``at_once`` requests in flight."""
    places = asyncio.Semaphore(at_once)

    async def one(problem: Problem) -> Any:
        async with places:
            return await client.chat.completions.create(
                model=f"murmuration/{name}",
                messages=[{"role": "user", "content": problem.question}],
                seed=SEED,
                extra_body={"search": {"budget": budget, "problem_id": problem.id}},
            )

    async with server.async_openai() as client:
        replies = await asyncio.gather(*map(one, problems))
    return {problem.id: reply for problem, reply in zip(problems, replies, strict=True)}


def check_same(reply: Any, result: ProblemResult) -> None:
    search = reply.model_extra["search"]
    assert reply.choices[0].message.content == (result.candidates[0].trajectory.text)
    assert [c["text"] for c in search["candidates"]] == [c.trajectory.text for c in result.candidates]
    rewards = [c.trajectory.reward for c in result.candidates]
    assert [c["reward"] for c in search["candidates"]] == [r and r.value for r in rewards]
    assert {k: search["usage"][k] for k in EXACT} == {k: getattr(result.usage, k) for k in EXACT}
    assert reply.usage.completion_tokens == result.usage.generated_tokens


def check_strategies(names: Sequence[str], num_problems: int, budget: int, *arguments: str) -> None:
    served, plan = shipped(*arguments)
    assert set(names) <= served.offers.all.keys()
    problems = list(plan.task.problems(0, num_problems))
    expected = asyncio.run(in_a_run(served, plan, names, problems, budget))
    with running(
        served, start=lambda: plan.cluster.start(plan.policies, plan.verifier.of_replicas)
    ) as server:
        for name in names:
            for at_once in (1, 16):
                replies = asyncio.run(through_the_endpoint(server, name, problems, budget, at_once))
                for problem in problems:
                    check_same(replies[problem.id], expected[name][problem.id])


@pytest.mark.slow
def test_a_few_strategies() -> None:
    """One of steps and one of whole answers; the slow tests hold each strategy to it."""
    check_strategies(("particle_filter", "self_consistency"), 2, 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CHAIN)
def test_more_problems(name: str) -> None:
    check_strategies((name,), NUM_MORE, 4)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", HEX)
def test_more_problems_of_diffusion(name: str) -> None:
    check_strategies((name,), NUM_MORE, 4, *DIFFUSION)


def test_a_verifier_that_samples() -> None:
    """It draws the same for equal problem ids and seeds, whatever else is served."""
    problem, sampling, task = Problem("p1", "abca", ""), Sampling(max_tokens=24), FakeTask()
    node = {"_target_": "strategies.BestOfN", "num_samples": 4, "sampling": ANSWERS}
    config = ConstraintsVerifierConfig(Template("List: {question}"), Template("{question}{answer}"), sampling)

    def models() -> tuple[Engine, Verifier]:
        engine = ScriptedEngine(lambda asked, _: f"={asked.seed % 9}\nScore: {asked.seed % 201 - 100}")
        return engine, ConstraintsVerifier(config, engine, task)

    engine, verifier = models()
    controller = Controller(build_node(node, "strategy"), engine, verifier, task, seed=SEED)
    result = asyncio.run(controller.solve(problem))
    engine, verifier = models()
    served = fake_served(offers=Offers({"best_of_n": Offer("best_of_n", lambda _: node)}, "best_of_n", {}))
    with running(served, engine=engine, verifier=verifier) as server:
        for _ in range(3):
            replies = asyncio.run(through_the_endpoint(server, "best_of_n", [problem], 4, 1))
            check_same(replies[problem.id], result)


def test_every_strategy_is_in_the_table() -> None:
    served, _ = shipped()
    assert set(served.offers.all) == {*CHAIN, BY_ORDER}
    diffusion, _ = shipped(*DIFFUSION)
    assert set(diffusion.offers.all) == set(HEX)
