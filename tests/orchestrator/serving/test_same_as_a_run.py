"""Through the endpoint as in a run: for the same seed and problem id, the same texts and the same usage.

The models are the shipped ones, on ``cluster=inprocess``; requests arrive one by one, and 16 at once. The
particle cascade is left out: its answers depend on the order in which its own particles arrive, by design.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.config.build import build_node
from orchestrator.config.compose import only_composed
from orchestrator.config.plan import Plan, plan_of
from orchestrator.config.spelling import quote
from orchestrator.prompts.template import Template
from orchestrator.protocols import Engine, Verifier
from orchestrator.runs.execution import Status
from orchestrator.runs.main import process_as_it_was
from orchestrator.runs.models import Models
from orchestrator.runs.point import run_point
from orchestrator.search.controller import Controller
from orchestrator.serving.composing import composed
from orchestrator.serving.offers import Offer, Offers
from orchestrator.serving.service import Served
from orchestrator.storage.result_lines import result_line
from orchestrator.storage.results import read_results
from orchestrator.testing.fakes import FakeTask
from orchestrator.types import Problem, Sampling
from orchestrator.verifiers.constraints import ConstraintsVerifier, ConstraintsVerifierConfig
from tests.orchestrator.serving.fitted import write_calibration, write_plan, write_votes
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


def planned(name: str, *arguments: str) -> Plan:
    """The plan of a run with a strategy, whichever the arguments choose for the server."""
    others = [a for a in arguments if not a.startswith("strategy=")]
    return only_composed(["cluster=inprocess", "tracker=none", *others, f"strategy={name}"], plan_of)


def in_a_run(
    folder: Path, name: str, num_problems: int, budget: int, *arguments: str
) -> dict[str, dict[str, Any]]:
    """The lines of a run's results.jsonl by problem."""
    own = (f"budget={budget}", f"seed={SEED}", f"task.limit={num_problems}", f"run_dir={quote(str(folder))}")
    with process_as_it_was(), closing(Models()) as models:
        assert run_point(planned(name, *arguments, *own), models, {}) is Status.FINISHED
    return {line["problem_id"]: line for line in read_results(folder)}


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


def check_same(reply: Any, line: Mapping[str, Any]) -> None:
    search = reply.model_extra["search"]
    assert search["answer"] == line["answer"]
    assert reply.choices[0].message.content == line["candidates"][0]["text"]
    for each in ("text", "reward"):
        assert [c[each] for c in search["candidates"]] == [c[each] for c in line["candidates"]]
    assert {k: search["usage"][k] for k in EXACT} == {k: line["usage"][k] for k in EXACT}
    assert reply.usage.completion_tokens == line["usage"]["generated_tokens"]


def check_strategies(
    folder: Path, names: Sequence[str], num_problems: int, budget: int, *arguments: str
) -> None:
    served, plan = shipped(*arguments, f"budget={budget}")
    assert set(names) <= served.offers.all.keys()
    problems = list(plan.task.problems(0, num_problems))
    expected = {name: in_a_run(folder / name, name, num_problems, budget, *arguments) for name in names}
    with running(served, plan=plan) as server:
        for name in names:
            for at_once in (1, 16):
                replies = asyncio.run(through_the_endpoint(server, name, problems, budget, at_once))
                for problem in problems:
                    check_same(replies[problem.id], expected[name][problem.id])


@pytest.mark.slow
def test_a_few_strategies(tmp_path: Path) -> None:
    """One of steps and one of whole answers; the slow tests hold each strategy to it."""
    check_strategies(tmp_path, ("particle_filter", "self_consistency"), 2, 2)


@pytest.mark.slow
def test_calibrated_rewards(tmp_path: Path) -> None:
    file = write_calibration(tmp_path / "map.json", planned("best_of_n"))
    check_strategies(tmp_path, ("best_of_n", "particle_filter"), 2, 4, f"verifier.calibration={file}")


@pytest.mark.slow
def test_a_plan(tmp_path: Path) -> None:
    chosen = ("strategy=compute_optimal", f"plan={write_plan(tmp_path / 'plan.json', 4)}")
    check_strategies(tmp_path, ("compute_optimal",), 2, 4, *chosen)


@pytest.mark.slow
def test_votes_by_the_text(tmp_path: Path) -> None:
    votes = f"plan={write_votes(tmp_path / 'votes.json')}"
    chosen = ("strategy=self_consistency", "strategy.weight=features", votes)
    check_strategies(tmp_path, ("self_consistency",), 2, 4, *chosen)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CHAIN)
def test_more_problems(name: str, tmp_path: Path) -> None:
    check_strategies(tmp_path, (name,), NUM_MORE, 4)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", HEX)
def test_more_problems_of_diffusion(name: str, tmp_path: Path) -> None:
    check_strategies(tmp_path, (name,), NUM_MORE, 4, *DIFFUSION)


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
            check_same(replies[problem.id], result_line(result))


def test_every_strategy_is_in_the_table() -> None:
    served, _ = shipped()
    assert set(served.offers.all) == {*CHAIN, BY_ORDER}
    diffusion, _ = shipped(*DIFFUSION)
    assert set(diffusion.offers.all) == set(HEX)
