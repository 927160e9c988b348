"""vLLM on a card, which has another model runner than on a CPU: the same laws."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.embedded.models import build_tokenizer
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from actors.vllm_engine.config import VllmEngineConfig, VllmVerifierConfig
from orchestrator.protocols import ScoreReply, ScoreRequest
from tests.actors.shared_vllm import Elsewhere
from tests.actors.small_models import ALPHABET, ask, completed, save_policy
from tests.actors.vllm_engine.test_vllm_engine import (
    QUESTION,
    check_draws,
    check_steps_are_the_whole,
    running,
)
from tests.actors.vllm_engine.test_vllm_verifier import REQUESTS, STEPS, rewards
from tests.gpu.cards import ON_A_CARD

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def policy() -> Iterator[Elsewhere]:
    engine = Elsewhere(VllmEngineConfig("embedded:chain-policy", sampler="stream", args=ON_A_CARD).build)
    yield engine
    engine.end()


@pytest.fixture(scope="module")
def verifier() -> Iterator[Elsewhere]:
    engine = Elsewhere(VllmVerifierConfig("embedded:chain-verifier", args=ON_A_CARD).build)
    yield engine
    engine.end()


async def test_a_card_takes_the_runner_that_draws_by_position(policy: Elsewhere) -> None:
    assert policy.inner._started.seeds_by_position


async def test_greedy_text_is_that_of_transformers(policy: Elsewhere) -> None:
    greedy = [ask(QUESTION, temperature=0.0, to_end=True, max_tokens=200), ask("7 a+1 b*3", temperature=0.0)]
    async with running(TransformersEngineConfig("embedded:chain-policy", device="cuda")) as transformers:
        expected = completed(await transformers.generate(greedy))
    for one, other in zip(completed(await policy.generate(greedy)), expected, strict=True):
        assert [s.token_ids for s in one.steps] == [s.token_ids for s in other.steps]
        assert [s.logprob for s in one.steps] == pytest.approx([s.logprob for s in other.steps], abs=5e-2)


async def test_a_text_by_steps_is_the_text_in_one_go(policy: Elsewhere) -> None:
    await check_steps_are_the_whole(policy)


async def test_tokens_are_drawn_as_often_as_the_model_says(policy: Elsewhere) -> None:
    await check_draws(policy)


async def test_a_thought_ends_with_its_budget(tmp_path: Path) -> None:
    """``#`` opens a thought and ``*`` ends it: the end is written at the budget, also steps later."""
    model = str(save_policy(tmp_path, build_tokenizer(ALPHABET)))
    thinking = {"thinking_budget": 6, "thinking_start": "#", "thinking_end": "*", "template": "{question}#"}
    greedy = {"temperature": 0.0, "to_end": True, "delimiter": "@", "marker": None}
    async with running(VllmEngineConfig(model, args=ON_A_CARD, **thinking)) as engine:
        (reply,) = completed(await engine.generate([ask("5 a+1", max_tokens=12, **greedy)]))
        (end,) = engine._started.tokenizer.encode("*", add_special_tokens=False)
        written = reply.steps[0].token_ids
        assert written.index(end) == 6
        later = ask("5 a+1", token_ids=written[:4], max_tokens=8, **greedy)
        (rest,) = completed(await engine.generate([later]))
        assert rest.steps[0].token_ids == written[4:]


async def test_rewards_are_those_of_transformers(verifier: Elsewhere) -> None:
    async with running(TransformersVerifierConfig("embedded:chain-verifier", device="cuda")) as transformers:
        expected = await rewards(transformers, *REQUESTS)
    read = await rewards(verifier, *REQUESTS)
    assert (
        max(
            abs(a - b)
            for one, other in zip(read, expected, strict=True)
            for a, b in zip(one, other, strict=True)
        )
        < 5e-2
    )


async def test_a_step_is_read_once_and_rewarded_as_in_a_full_reading(verifier: Elsewhere) -> None:
    """But for the last block of the cache, of 16 tokens on a card."""
    question = "8 " + QUESTION[3:]
    (whole,) = await rewards(verifier, ScoreRequest("p", question, STEPS, 0))
    one_by_one, num_read = [], []
    for n in range(len(STEPS)):
        (reply,) = await verifier.score([ScoreRequest("q", question, STEPS[: n + 1], n)])
        assert isinstance(reply, ScoreReply)
        one_by_one.append(reply.rewards[0].log_odds)
        num_read.append(reply.usage.reward_tokens)
    assert one_by_one == pytest.approx(whole, abs=5e-2)
    assert all(read <= 16 + len(step) for read, step in zip(num_read, STEPS, strict=True)), num_read
