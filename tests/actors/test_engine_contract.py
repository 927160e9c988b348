"""What every engine and every verifier promises; a new one joins by one more entry in CASES."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio

from actors.pool.inprocess import InProcessCluster
from actors.pool.placement import ClusterConfig
from actors.pool.pool import Pool
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from orchestrator.protocols import (
    Completion,
    Engine,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    ScoreReply,
    ScoreRequest,
    Verifier,
)
from orchestrator.testing import FakeEngine, FakeVerifier
from orchestrator.types import Finish, Reward, Sampling
from tests.fake_plans import FakeEngineConfig, FakeVerifierConfig


@dataclass(frozen=True)
class Case:
    """An engine and a verifier with a question that they know, and the first steps of a solution."""

    engine: Callable[[], Engine]
    verifier: Callable[[], Verifier]
    question: str
    steps: tuple[str, ...]
    marker: str
    pooled: bool = False
    threads: bool = False  # of this process, two for the engine
    shared: tuple[str, str] | None = None  # the fixtures that hold both, where all tests share them
    beside: str = ""  # the fixture of another case that may start meanwhile


FAKE = Case(FakeEngine, FakeVerifier, "abca", ("a\n", "b\n", "c\n"), "=")
CHAIN = Case(
    TransformersEngineConfig("embedded:chain-policy", template="{question}\n").build,
    TransformersVerifierConfig("embedded:chain-verifier").build,
    "94 a/2 b-36 c*2 d-20 e-1 f+70 g+8 h+15",
    ("a94/2=47\n", "b47-36=11\n", "c11*2=23\n"),
    "#",
)
CASES = {
    "fake": FAKE,
    "transformers": CHAIN,
    "pooled": replace(FAKE, pooled=True),
    "threads": replace(FAKE, threads=True),
    "transformers in threads": replace(CHAIN, threads=True),
    "vllm": replace(CHAIN, shared=("vllm_policy", "vllm_verifier"), beside="openai_server"),
    "openai": replace(CHAIN, shared=("openai_policy", "vllm_verifier")),
}


@dataclass(frozen=True)
class Parts:
    case: Case
    engine: Engine
    verifier: Verifier

    def request(self, seed: int, **changes: Any) -> GenerateRequest:
        request = GenerateRequest(
            home="p",
            question=self.case.question,
            instruction="",
            token_ids=(),
            params=Sampling(temperature=1.0, max_tokens=40),
            seed=seed,
            delimiter="\n",
            answer_marker=self.case.marker,
        )
        return replace(request, **changes)

    async def complete(self, *requests: GenerateRequest) -> list[Completion]:
        replies = await self.engine.generate(requests)
        assert len(replies) == len(requests)
        assert all(isinstance(r, Completion) for r in replies)
        return replies  # type: ignore[return-value]

    async def score(self, *requests: ScoreRequest) -> list[ScoreReply]:
        replies = await self.verifier.score(requests)
        assert len(replies) == len(requests)
        assert all(isinstance(r, ScoreReply) for r in replies)
        return replies  # type: ignore[return-value]

    def score_request(self, num_steps: int, num_locked: int = 0) -> ScoreRequest:
        return ScoreRequest("p", self.case.question, self.case.steps[:num_steps], num_locked)


QUICK = ("fake", "threads")  # the others start a Ray or load torch


def with_marks(name: str) -> object:
    return name if name in QUICK else pytest.param(name, marks=pytest.mark.heavy)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=map(with_marks, CASES))
async def parts(request: pytest.FixtureRequest) -> AsyncIterator[Parts]:
    case = CASES[request.param]
    if case.pooled:
        request.getfixturevalue("local_ray")
        config = ClusterConfig(engine_replicas=2)
        async with await Pool.start(config, case.engine, case.verifier) as pool:
            assert pool.verifier is not None
            yield Parts(case, pool.engine, pool.verifier)
        return
    if case.threads:
        policies = {"engine": FakeEngineConfig(case.engine)}
        backend = await InProcessCluster(engine_replicas=2).start(policies, FakeVerifierConfig(case.verifier))
        assert backend.verifier is not None
        yield Parts(case, backend.engine, backend.verifier)
        await backend.close()
        return
    if case.beside:
        request.getfixturevalue(case.beside)
    if case.shared:
        yield Parts(case, *(request.getfixturevalue(name) for name in case.shared))
        return
    engine, verifier = case.engine(), case.verifier()
    yield Parts(case, engine, verifier)
    await engine.close()
    await verifier.close()


# The first test of a case waits for its engines to start.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]


def choices(completions: list[Completion]) -> list[tuple[object, ...]]:
    """What was said, not what a cache had of it, nor how likely it was: that may differ by a rounding."""
    return [tuple(replace(s, logprob=None) for s in c.steps) for c in completions]


def logprobs(completions: list[Completion]) -> list[float | None]:
    return [s.logprob for c in completions for s in c.steps]


def same(parts: Parts, values: Sequence[float | None]) -> Any:
    """Equal bit by bit where the engine promises that, else up to rounding."""
    return list(values) if parts.engine.info.batch_invariant else pytest.approx(list(values), abs=1e-3)


def same_rewards(parts: Parts, rewards: Sequence[Reward]) -> Any:
    values = [r.log_odds for r in rewards]
    return values if parts.verifier.info.batch_invariant else pytest.approx(values, abs=1e-3)


def log_odds(rewards: Sequence[Reward]) -> list[float]:
    return [r.log_odds for r in rewards]


async def test_a_reply_depends_on_its_request_alone(parts: Parts) -> None:
    """Bit by bit where the engine says so; elsewhere the tokens agree (in float32, on a model this small)."""
    assert parts.engine.info.batch_invariant == (parts.case.shared is None)
    requests = [parts.request(seed, home=f"p{seed % 3}") for seed in range(12)]
    together = await parts.complete(*requests)
    assert len(set(choices(together))) > 1
    reverse = (await parts.complete(*reversed(requests)))[::-1]
    alone = [(await parts.complete(request))[0] for request in requests]
    apart = [c[0] for c in await asyncio.gather(*(parts.complete(r) for r in requests))]
    for others in (reverse, alone, apart):
        assert choices(others) == choices(together)
        assert logprobs(others) == same(parts, logprobs(together))


async def test_a_step_says_how_it_ended(parts: Parts) -> None:
    for completion in await parts.complete(*(parts.request(seed) for seed in range(24))):
        (step,) = completion.steps
        assert step.text.endswith("\n") == (step.finish is Finish.STEP)
        assert step.text.count("\n") <= 1
        assert step.reward is None
        assert completion.usage.generated_tokens == len(step.token_ids) <= 40


async def test_a_limit_is_kept_and_said(parts: Parts) -> None:
    for to_end in (False, True):
        short = parts.request(0, params=Sampling(temperature=0.0, max_tokens=1), to_end=to_end)
        (completion,) = await parts.complete(short)
        assert [len(s.token_ids) for s in completion.steps] == [1]
        assert completion.steps[-1].finish is Finish.LENGTH


async def test_to_the_end_stops_at_the_answer(parts: Parts) -> None:
    params = Sampling(temperature=1.0, max_tokens=200)
    requests = [parts.request(seed, params=params, to_end=True) for seed in range(12)]
    for request, completion in zip(requests, await parts.complete(*requests), strict=True):
        *before, last = completion.steps
        assert all(s.finish is Finish.STEP and s.text.endswith("\n") for s in before)
        assert not any(request.answered_by(s.text) for s in before)
        assert request.answered_by(last.text) or last.finish in (Finish.EOS, Finish.LENGTH)
        assert completion.usage.generated_tokens == sum(len(s.token_ids) for s in completion.steps)


async def test_going_on_from_a_step_is_going_on_from_its_tokens(parts: Parts) -> None:
    """Greedy: step by step and in one go are the same text."""
    params = Sampling(temperature=0.0, max_tokens=200)
    (whole,) = await parts.complete(parts.request(0, params=params, to_end=True))
    token_ids: tuple[int, ...] = ()
    for expected in whole.steps:
        (one,) = await parts.complete(parts.request(1, params=params, token_ids=token_ids))
        assert (one.steps[0].text, one.steps[0].token_ids) == (expected.text, expected.token_ids)
        assert 0 <= one.usage.cached_tokens <= one.usage.prompt_tokens
        assert one.usage.prompt_tokens >= len(token_ids)
        token_ids += expected.token_ids


async def test_temperature_0_has_no_use_for_a_seed(parts: Parts) -> None:
    params = Sampling(temperature=0.0, max_tokens=40)
    assert len(set(choices(await parts.complete(*(parts.request(s, params=params) for s in range(4)))))) == 1


async def test_likelihoods_agree_with_what_was_sampled(parts: Parts) -> None:
    params = Sampling(temperature=1.0, max_tokens=200)
    completions = await parts.complete(*(parts.request(s, params=params, to_end=True) for s in range(4)))
    requests = [
        LoglikRequest("p", parts.case.question, "", (), tuple(s.token_ids for s in c.steps))
        for c in completions
    ]
    replies = await parts.engine.loglik(requests)
    for completion, reply in zip(completions, replies, strict=True):
        assert isinstance(reply, Loglik)
        assert list(reply.logprobs) == pytest.approx([s.logprob for s in completion.steps], abs=1e-4)


async def test_a_reward_for_each_new_step(parts: Parts) -> None:
    for num_steps in (1, 2, 3):
        for num_locked in range(num_steps):
            (reply,) = await parts.score(parts.score_request(num_steps, num_locked))
            assert len(reply.rewards) == num_steps - num_locked
            assert reply.usage.reward_tokens > 0


async def test_step_by_step_gives_the_rewards_of_one_go(parts: Parts) -> None:
    (whole,) = await parts.score(parts.score_request(3))
    one_by_one = [(await parts.score(parts.score_request(n + 1, n)))[0].rewards[0] for n in range(3)]
    assert log_odds(one_by_one) == same_rewards(parts, whole.rewards)


async def test_a_reward_depends_on_its_request_alone(parts: Parts) -> None:
    requests = [parts.score_request(n, locked) for n in (1, 2, 3) for locked in range(n)]
    together = [reward for r in await parts.score(*requests) for reward in r.rewards]
    reverse = [reward for r in (await parts.score(*reversed(requests)))[::-1] for reward in r.rewards]
    alone = [reward for r in requests for reward in (await parts.score(r))[0].rewards]
    assert log_odds(reverse) == same_rewards(parts, together)
    assert log_odds(alone) == same_rewards(parts, together)


async def test_a_wrong_step_is_worth_less(parts: Parts) -> None:
    """The third step of the chain case is wrong; the fake's are right, and a wrong one is put in."""
    right, wrong = list(parts.case.steps), list(parts.case.steps)
    if parts.case.marker == "=":
        wrong[2] = "a\n"
    else:
        right[2] = "c11*2=22\n"
    good, bad = await parts.score(
        *(ScoreRequest("p", parts.case.question, tuple(steps), 0) for steps in (right, wrong))
    )
    assert good.rewards[2].value > 0.8 > 0.5 > bad.rewards[2].value
    assert log_odds(good.rewards[:2]) == same_rewards(parts, bad.rewards[:2])


async def test_an_empty_step_has_a_reward_too(parts: Parts) -> None:
    (reply,) = await parts.score(ScoreRequest("p", parts.case.question, (*parts.case.steps[:1], ""), 1))
    assert len(reply.rewards) == 1
    assert 0.0 <= reply.rewards[0].value <= 1.0
