"""The shipped fakes are exact: what they say of the language is what they sample."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import Any

import pytest

from orchestrator.protocols import (
    Completion,
    Engine,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    ScoreReply,
    ScoreRequest,
    Task,
    Verifier,
)
from orchestrator.testing import Copying, FakeEngine, FakeTask, FakeVerifier, RandomLatency, TokenLatency
from orchestrator.types import Finish
from tests.laws import chi_square_excess
from tests.toy import BRANCHING, enumerate_paths, sampling


def request(seed: int = 0, prefix: str = "", question: str = "abca", **knobs: Any) -> GenerateRequest:
    to_end = knobs.pop("to_end", False)
    params = sampling(**knobs)
    return GenerateRequest("home", question, "", tuple(map(ord, prefix)), params, seed, "\n", "=", to_end)


async def complete(engine: FakeEngine, *requests: GenerateRequest) -> list[Completion]:
    replies = await engine.generate(requests)
    assert all(isinstance(r, Completion) for r in replies)
    return [r for r in replies if isinstance(r, Completion)]


async def test_fakes_satisfy_the_protocols() -> None:
    engine: Engine = FakeEngine()
    verifier: Verifier = FakeVerifier()
    task: Task = FakeTask()
    assert engine.info.batch_invariant and verifier.info.batch_invariant and task.num_problems == 100
    await engine.close()
    await verifier.close()


async def test_samples_follow_the_language() -> None:
    requests = [request(seed, to_end=True) for seed in range(2000)]
    completions = await complete(FakeEngine(BRANCHING), *requests)
    counts = Counter(tuple(s.text for s in c.steps) for c in completions)
    assert abs(chi_square_excess(counts, enumerate_paths(BRANCHING, 9))) < 5


async def test_a_reply_depends_on_its_request_alone() -> None:
    requests = [request(seed) for seed in range(20)]
    together = await complete(FakeEngine(), *requests)
    alone = [(await complete(FakeEngine(latency=RandomLatency(3, 0.001)), r))[0] for r in requests]
    assert together == alone


async def test_likelihood_is_exact() -> None:
    engine = FakeEngine(BRANCHING)
    paths = {p: q for p, q in enumerate_paths(BRANCHING, 9).items() if p[-1].endswith("\n")}
    requests = [LoglikRequest("", "", "", (), tuple(tuple(map(ord, s)) for s in path)) for path in paths]
    replies = await engine.loglik(requests)
    for reply, probability in zip(replies, paths.values(), strict=True):
        assert isinstance(reply, Loglik)
        assert math.exp(sum(reply.logprobs)) == pytest.approx(probability)
    (impossible,) = await engine.loglik([LoglikRequest("", "", "", (), ((ord("z"), ord("\n")),))])
    assert isinstance(impossible, Loglik) and impossible.logprobs == (-math.inf,)


async def test_a_step_says_its_own_likelihood() -> None:
    engine = FakeEngine(BRANCHING)
    for completion in await complete(engine, *(request(s, to_end=True, max_tokens=3) for s in range(30))):
        ids = tuple(s.token_ids for s in completion.steps)
        (reply,) = await engine.loglik([LoglikRequest("", "", "", (), ids)])
        assert isinstance(reply, Loglik)
        assert reply.logprobs == pytest.approx([s.logprob for s in completion.steps])


@pytest.mark.parametrize(
    ("max_tokens", "finishes"),
    [(1, [Finish.LENGTH]), (2, [Finish.LENGTH]), (3, [Finish.STEP, Finish.LENGTH]), (64, [Finish.STEP] * 5)],
)
async def test_the_token_limit(max_tokens: int, finishes: list[Finish]) -> None:
    engine = FakeEngine(Copying(right=1.0, stop=0.0))
    (completion,) = await complete(engine, request(to_end=True, max_tokens=max_tokens))
    assert [s.finish for s in completion.steps] == finishes
    assert completion.usage.generated_tokens == sum(len(s.token_ids) for s in completion.steps) <= max_tokens


async def test_temperature_and_nucleus() -> None:
    """Letters at .6, .8/3 and .4/3: temperature 0 takes the first, a nucleus of .7 the first two."""

    async def letters(**knobs: Any) -> Counter[str]:
        requests = [request(seed, question="a", **knobs) for seed in range(600)]
        return Counter(c.steps[0].text[0] for c in await complete(FakeEngine(Copying(stop=0.0)), *requests))

    assert set(await letters(temperature=0.0)) == {"a"}
    assert set(await letters(top_p=0.7)) == {"a", "b"}
    cold = await letters(temperature=0.5)
    squares = [0.6**2, (0.8 / 3) ** 2, (0.4 / 3) ** 2]
    assert cold["a"] / 600 == pytest.approx(squares[0] / sum(squares), abs=0.06)


async def test_what_is_asked_and_handed_out_is_recorded() -> None:
    engine, verifier = FakeEngine(), FakeVerifier()
    completions = await complete(engine, request(1), request(2))
    assert [r.seed for r in engine.requests] == [1, 2]
    assert engine.usage == completions[0].usage + completions[1].usage
    (reply,) = await verifier.score([ScoreRequest("", "abca", ("a\n", "c\n"), 0)])
    assert isinstance(reply, ScoreReply)
    assert [r.value for r in reply.rewards] == pytest.approx([0.9, 0.36])
    assert verifier.usage == reply.usage


async def test_failures_on_demand() -> None:
    engine = FakeEngine(raise_once=True, raise_on="aaaa", fail_on="bbbb")
    with pytest.raises(RuntimeError, match="once"):
        await engine.generate([request()])
    with pytest.raises(RuntimeError, match="aaaa"):
        await engine.generate([request(), request(question="aaaa")])
    good, bad = await engine.generate([request(), request(question="bbbb")])
    assert isinstance(good, Completion)
    assert isinstance(bad, Failure)


async def test_latency() -> None:
    engine = FakeEngine(latency=TokenLatency(0.01))
    begun = asyncio.get_running_loop().time()
    await engine.generate([request()])
    assert asyncio.get_running_loop().time() - begun > 0.01


async def test_the_task() -> None:
    task = FakeTask(num_problems=10)
    assert [p.id for p in task.problems(3, 2)] == ["fake-3", "fake-4"]
    assert len(list(task.problems(0, None))) == 10
    assert task.extract("a\nb\n= Ab \n") == "Ab"
    assert task.extract("a\nb\n") is None
    assert await task.keys(["A b", None]) == ["ab", None]
    assert await task.grade("AB", "ab")
    assert not await task.grade(None, "ab")
