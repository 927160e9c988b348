"""The transformers verifier against the library's own forward, and against itself in every company."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaForTokenClassification

from actors.transformers_engine.config import TransformersVerifierConfig
from actors.transformers_engine.verifier import TransformersVerifier
from orchestrator.errors import ConfigError
from orchestrator.protocols import Failure, ScoreReply, ScoreRequest

QUESTION = "5 a+1 b*2 c-3 d/3"
STEPS = ("a5+1=6\n", "b6*2=12\n", "c12-3=9\n", "d9/3=3\n", "#3\n")


def request(*steps: str, num_locked: int = 0, question: str = QUESTION) -> ScoreRequest:
    return ScoreRequest("home", question, steps, num_locked)


def scored(replies: list[ScoreReply | Failure]) -> list[ScoreReply]:
    assert not [r for r in replies if isinstance(r, Failure)]
    return [r for r in replies if isinstance(r, ScoreReply)]


def log_odds(reply: ScoreReply) -> list[float]:
    return [reward.log_odds for reward in reply.rewards]


def random_requests(num: int) -> list[ScoreRequest]:
    rng = np.random.default_rng(0)
    requests = []
    for _ in range(num):
        num_steps = int(rng.integers(1, 6))
        steps = [
            "".join(rng.choice(list("abcd0123=+-#"), rng.integers(0, 12))) + "\n" for _ in range(num_steps)
        ]
        question = str(rng.choice([QUESTION, "7 a+1", "9"]))
        requests.append(request(*steps, num_locked=int(rng.integers(num_steps)), question=question))
    return requests


async def test_rewards_are_those_of_a_full_forward(
    verifier: TransformersVerifier, reward_model: Path
) -> None:
    model = LlamaForTokenClassification.from_pretrained(reward_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    requests = random_requests(30)
    for asked, reply in zip(requests, scored(await verifier.score(requests)), strict=True):
        ids = tokenizer(asked.question + "\n" + "".join(asked.steps))["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0].double()
        ends = [i for i, t in enumerate(ids) if tokenizer.decode([t]) == "\n"][1:]
        expected = (logits[:, 1] - logits[:, 0])[ends[asked.num_locked :]].tolist()
        assert log_odds(reply) == pytest.approx(expected, abs=1e-5)


async def test_incremental_rewards_are_bitwise_those_of_a_full_encoding(
    reward_model: Path, num_threads: int
) -> None:
    verifier = TransformersVerifier(TransformersVerifierConfig(str(reward_model)), num_threads=num_threads)
    assert verifier.info.batch_invariant
    incremental = []
    for n in range(1, len(STEPS) + 1):
        reply = scored(await verifier.score([request(*STEPS[:n], num_locked=n - 1)]))[0]
        incremental += log_odds(reply)
        new = len(STEPS[n - 1])
        if n > 1:
            assert reply.usage.reward_tokens == new, "only the new step was encoded"
            prefix = 1 + len(QUESTION) + 1 + sum(map(len, STEPS[: n - 1]))
            assert reply.usage.cached_reward_tokens == prefix
    for options in ({}, {"cache_bytes": 0}, {"cache_bytes": 20_000}):
        fresh = TransformersVerifier(
            TransformersVerifierConfig(str(reward_model), **options), num_threads=num_threads
        )
        assert log_odds(scored(await fresh.score([request(*STEPS)]))[0]) == incremental
        crowd = scored(await fresh.score([*random_requests(20), request(*STEPS), *random_requests(33)]))
        assert log_odds(crowd[20]) == incremental
        await fresh.close()
    await verifier.close()


async def test_arrival_order_and_company_do_not_matter(verifier: TransformersVerifier) -> None:
    requests = random_requests(40)
    reference = [r.rewards for r in scored(await verifier.score(requests))]

    async def late(i: int) -> ScoreReply:
        await asyncio.sleep(0.001 * (i % 7))
        return scored(await verifier.score([requests[i]]))[0]

    replies = await asyncio.gather(*map(late, range(40)))
    assert [r.rewards for r in replies] == reference


async def test_equal_requests_and_shared_questions_are_computed_once(reward_model: Path) -> None:
    verifier = TransformersVerifier(TransformersVerifierConfig(str(reward_model)))
    asked = request(STEPS[0])
    replies = scored(await verifier.score([asked, asked, request(STEPS[1])]))
    assert replies[0].rewards == replies[1].rewards
    length = 1 + len(QUESTION) + 1 + len(STEPS[0])
    assert [r.usage.reward_tokens for r in replies] == [length, 0, len(STEPS[1])], "the first pays"
    assert replies[1].usage.cached_reward_tokens == length
    assert replies[0].usage.flops > 0
    assert verifier.progress == sum(r.usage.reward_tokens for r in replies)
    await verifier.close()


async def test_steps_are_normalised_before_the_tag(verifier: TransformersVerifier) -> None:
    """A step without its delimiter, or with none of its text, has its read-out all the same."""
    plain, bare, empty, blank = scored(
        await verifier.score([request("#3\n"), request("#3"), request("#3\n", ""), request("#3\n", " \n")])
    )
    assert plain.rewards == bare.rewards
    assert empty.rewards == blank.rewards
    assert len(empty.rewards) == 2
    assert empty.rewards[:1] == plain.rewards


async def test_whole_reads_once_at_the_end(verifier: TransformersVerifier, reward_model: Path) -> None:
    whole = TransformersVerifier(TransformersVerifierConfig(str(reward_model), readout="whole"))
    assert (verifier.info.readout, whole.info.readout) == ("per_step", "whole")
    each = scored(await verifier.score([request(*STEPS)]))[0]
    for num_locked in (0, 3):
        reply = scored(await whole.score([request(*STEPS, num_locked=num_locked)]))[0]
        assert reply.rewards == each.rewards[-1:]
    await whole.close()


async def test_the_positive_label_and_the_tag_are_options(
    verifier: TransformersVerifier, reward_model: Path
) -> None:
    turned = TransformersVerifier(
        TransformersVerifierConfig(
            str(reward_model), options={"positive_label": 0, "step_tag": "=\n", "template": "#{question}\n"}
        )
    )
    reply = scored(await turned.score([request(*STEPS)]))[0]
    same = scored(
        await verifier.score([request(*(s.rstrip() + "=\n" for s in STEPS), question="#" + QUESTION)])
    )[0]
    assert log_odds(reply) == [-x for x in log_odds(same)]
    await turned.close()


async def test_bad_requests_fail_alone(reward_model: Path) -> None:
    verifier = TransformersVerifier(TransformersVerifierConfig(str(reward_model)))
    good = request(*STEPS[:2])
    reference = scored(await verifier.score([good]))[0].rewards
    with torch.no_grad():
        verifier._loaded.runner.model.decoder.get_input_embeddings().weight[28] = torch.nan
    for _ in range(2):
        broken, over, fine = await verifier.score([request("h\n"), request("a" * 300 + "\n"), good])
        assert isinstance(broken, Failure)
        assert broken.type == "NonFiniteLogits"
        assert isinstance(over, Failure)
        assert over.type == "ContextOverflow"
        assert scored([fine])[0].rewards == reference
    assert scored(await verifier.score([replace(good, num_locked=2)]))[0].rewards == ()
    assert await verifier.score([]) == []
    await verifier.close()


async def test_a_cancelled_call_harms_nobody(reward_model: Path) -> None:
    verifier = TransformersVerifier(TransformersVerifierConfig(str(reward_model)))
    calls = [asyncio.create_task(verifier.score(random_requests(20))) for _ in range(3)]
    await asyncio.sleep(0)
    calls[1].cancel()
    first, cancelled, last = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert first != [] and not isinstance(first, BaseException) and not isinstance(last, BaseException)
    assert [r.rewards for r in scored(first)] == [r.rewards for r in scored(last)]
    await verifier.close()


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"model": "./nowhere"}, "verifier.model"),
        ({"format": "token_clasification"}, "verifier.format"),
        ({"readout": "each"}, "verifier.readout"),
        ({"options": {"template": "no question"}}, "verifier.options.template"),
        ({"options": {"step_tag": ""}}, "verifier.options.step_tag"),
        ({"options": {"step_tga": "x"}}, "verifier.options.step_tga"),
        ({"options": {"positive_label": 2}}, "verifier.options.positive_label"),
        ({"options": {"positive_label": "1"}}, "verifier.options.positive_label"),
        ({"options": {"chat": True}}, "verifier.options.chat"),
    ],
)
def test_bad_configuration_names_its_key(reward_model: Path, options: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TransformersVerifier(TransformersVerifierConfig(**{"model": str(reward_model), **options}))
    assert caught.value.key == key
