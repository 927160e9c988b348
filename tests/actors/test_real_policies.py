"""Several real models under their names in one search: what one writes, another reads as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from actors.openai_engine.config import OpenAIEngineConfig
from actors.transformers_engine.config import TransformersEngineConfig
from orchestrator import solve, start
from orchestrator.outcome import ProblemResult
from orchestrator.search.session import Session
from orchestrator.text.task import TextTask
from orchestrator.types import Prompt, Sampling, Solution, Trajectory
from tests.actors.openai_server import KEY_VARIABLE, Server

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]

QUESTION = "19 a+10 b+23 c/4 d-4 e+2 f-8 g*8 h+38"
TASK = TextTask(delimiter="\n", answer_marker="#")
SAMPLING = Sampling(temperature=1.0, max_tokens=16)
COPY = TransformersEngineConfig("embedded:chain-policy", template="{question}\n")


@dataclass(frozen=True)
class Turns:
    """Steps of several policies in turn; ``read_by`` gives the likelihood of the whole text."""

    policies: tuple[str, ...]
    read_by: str = "engine"
    readouts: tuple[str, ...] = ()

    async def solve(self, session: Session) -> Solution:
        rows = [Trajectory()] * 4
        for i in range(8):
            rows = await session.generate(rows, SAMPLING, policy=self.policies[i % len(self.policies)])
        logprobs = [math.fsum(await session.loglik(Trajectory(), t.steps, policy=self.read_by)) for t in rows]
        return Solution(0, tuple(rows), tuple(logprobs), usage=session.usage)


async def solved(strategy: Any, models: Any) -> ProblemResult:
    parts: dict[str, Any] = {"engine": models.engine, "policies": models.policies, "task": TASK}
    result = await solve(QUESTION, strategy=strategy, **parts)
    assert result.error is None, result.error
    return result


async def test_two_copies_of_a_model_are_as_one() -> None:
    """Bit for bit: the seeds of a call do not depend on the policy, and token ids pass as they are."""
    async with start(COPY, policies={"draft": COPY}, cluster="inprocess") as models:
        assert models.engine.info.tokenizer == models.policies["draft"].info.tokenizer is not None
        alone = await solved(Turns(("engine",)), models)
        mixed = await solved(Turns(("draft", "engine"), "draft"), models)
        assert [c.text for c in mixed.candidates] == [c.text for c in alone.candidates]
        assert [c.log_weight for c in mixed.candidates] == [c.log_weight for c in alone.candidates]
        own = [math.fsum(s.logprob or 0.0 for s in c.trajectory.steps) for c in mixed.candidates]
        assert [c.log_weight for c in mixed.candidates] == pytest.approx(own, abs=1e-4)
        spent = mixed.by_policy
        both = spent["draft"].generated_tokens + spent["engine"].generated_tokens
        assert both == alone.usage.generated_tokens
        assert {s.policy for c in mixed.candidates for s in c.trajectory.steps} == {"draft", "engine"}


async def test_a_tokenizer_writes_ids_that_its_own_steps_have() -> None:
    async with start(COPY, cluster="inprocess") as models:
        result = await solved(Turns(("engine",)), models)
        steps = [s for c in result.candidates for s in c.trajectory.steps if s.text.endswith("\n")]
        assert steps
        assert await models.engine.encode([s.text for s in steps]) == [s.token_ids for s in steps]
        (mark, end) = await models.engine.encode(["<eos>", ""])
        assert isinstance(mark, tuple)
        assert len(mark) > 1, "the name of a special token is text"
        assert end == ()


@dataclass(frozen=True)
class Judged:
    """The engine writes, and a judge behind a chat interface answers the same question."""

    readouts: tuple[str, ...] = ()
    policies: tuple[str, ...] = ("judge",)

    async def solve(self, session: Session) -> Solution:
        whole = Sampling(temperature=0.0, max_tokens=64)
        rows = await session.generate([Trajectory()], whole, to_end=True)
        asked = [Trajectory(prompt=Prompt(session.question, "", delimiter="", role="judge"))]
        judged = await session.generate(asked, whole, policy="judge")
        (logprob,) = await session.loglik(Trajectory(), judged[0].steps[:1])  # the engine reads the judge
        return Solution(0, (*rows, *judged), (0.0, logprob), usage=session.usage)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_server_judges_beside_a_local_policy(openai_server: Server) -> None:
    judge = OpenAIEngineConfig("chain", openai_server.wait(), api="chat", api_key_env=KEY_VARIABLE)
    async with start(COPY, policies={"judge": judge}, cluster="inprocess") as models:
        result = await solved(Judged(), models)
    assert {"engine", "judge"} == set(result.by_policy)
    assert result.by_policy["judge"].generated_tokens > 0
    assert result.by_role["judge"] == result.by_policy["judge"]
    own, said = (candidate.text for candidate in result.candidates)
    assert said.split("\n")[0] == own.split("\n")[0], "the same weights, greedily"
    assert -20 < result.candidates[1].log_weight < 0
