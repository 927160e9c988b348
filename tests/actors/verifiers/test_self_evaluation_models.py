"""The policy asked about its own steps, against the model read by transformers itself."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.transformers_engine.config import TransformersEngineConfig
from actors.transformers_engine.engine import TransformersEngine
from orchestrator.backend import asked_policies
from orchestrator.errors import ConfigError
from orchestrator.prompts.question import PrefixQuestion
from orchestrator.protocols import Failure, PolicyPrefix, ScoreReply, ScoreRequest
from orchestrator.types import Step
from orchestrator.verifiers.self_evaluation import SelfEvaluation, SelfEvaluationVerifierConfig
from tests.actors.small_models import ask, completed
from tests.actors.small_reward_models import save_rlhflow

WORDS = PrefixQuestion("Is it right so far? + or -", ["-", "+"])
DIGIT = PrefixQuestion("How good is it?", list("0123456789"))
CONFIG = SelfEvaluationVerifierConfig(restart=WORDS, correct=WORDS, digit=DIGIT)
QUESTION = "How many apples are there?"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TransformersEngine]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    save_rlhflow(folder)
    config = TransformersEngineConfig(str(folder), template="{question}", chat=True)
    built = asked_policies({"engine": config}, CONFIG)["engine"].build()
    yield built
    await built.close()


async def written(engine: TransformersEngine, num_steps: int = 3) -> list[Step]:
    """Some steps of the policy, asked for one by one."""
    steps: list[Step] = []
    for i in range(num_steps):
        ids = tuple(t for s in steps for t in s.token_ids)
        request = ask(QUESTION, token_ids=ids, seed=i, max_tokens=6, delimiter="never")
        steps += completed(await engine.generate([request]))[0].steps
    return steps


def request(steps: Sequence[Step], num_locked: int = 0) -> ScoreRequest:
    prefix = PolicyPrefix(QUESTION, "", (), tuple(s.token_ids for s in steps))
    return ScoreRequest("home", QUESTION, tuple(s.text for s in steps), num_locked, prefix=prefix)


async def scored(verifier: SelfEvaluation, *requests: ScoreRequest) -> list[ScoreReply]:
    replies = await verifier.score(requests)
    assert not [r for r in replies if isinstance(r, Failure)], replies
    return [r for r in replies if isinstance(r, ScoreReply)]


@cache
def loaded(folder: Path) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def reference(folder: Path, question: PrefixQuestion, steps: Sequence[Step]) -> list[float]:
    """The log-probability of each option, by the whole conversation through the model's own template."""
    model, tokenizer = loaded(folder)
    before = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_dict=False
    )
    after = f"<|eot|><|start|>user<|end|>\n\n{question.text}<|eot|><|start|>assistant<|end|>\n\n"
    ids = [*before, *(t for s in steps for t in s.token_ids)]
    ids += tokenizer(after, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logs = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].double(), -1)
    return [float(logs[tokenizer.convert_tokens_to_ids(option)]) for option in question.options]


@pytest.mark.parametrize("question", [WORDS, DIGIT], ids=["words", "digit"])
async def test_the_options_probabilities_are_those_of_the_models_forward_pass(
    engine: TransformersEngine, question: PrefixQuestion
) -> None:
    steps, folder = await written(engine), Path(engine._loaded.runner.model.config.name_or_path)
    (reply,) = await scored(SelfEvaluation(engine, question), request(steps))
    for number, reward in enumerate(reply.rewards, start=1):
        logs = reference(folder, question, steps[:number])
        weights = [math.exp(x) for x in logs]
        places = [i / (len(logs) - 1) for i in range(len(logs))]
        expected = sum(w * p for w, p in zip(weights, places, strict=True)) / sum(weights)
        assert reward.value == pytest.approx(expected, abs=1e-5)
        if len(logs) == 2:
            assert reward.log_odds == pytest.approx(logs[1] - logs[0], abs=1e-4)


async def test_steps_one_by_one_and_all_at_once_have_the_same_rewards(engine: TransformersEngine) -> None:
    verifier, steps = SelfEvaluation(engine, WORDS), await written(engine)
    assert verifier.info.batch_invariant
    (whole,) = await scored(verifier, request(steps))
    one_by_one = [(await scored(verifier, request(steps[: n + 1], n)))[0] for n in range(len(steps))]
    assert [r for reply in one_by_one for r in reply.rewards] == list(whole.rewards)
    (last,) = await scored(SelfEvaluation(engine, WORDS, "whole"), request(steps))
    assert last.rewards == whole.rewards[-1:]


async def test_a_question_costs_its_suffix_and_one_token(engine: TransformersEngine) -> None:
    steps = await written(engine, num_steps=4)
    ids = tuple(t for s in steps for t in s.token_ids)
    prompt = len(engine._prompt_ids(QUESTION, ""))
    suffix = len(engine._questions.asked(WORDS.text, tuple(WORDS.options)).suffix)
    (reply,) = await scored(SelfEvaluation(engine, WORDS), request(steps, len(steps) - 1))
    assert reply.usage.cached_reward_tokens >= prompt + len(ids) - 1, "its own tokens are in the cache"
    assert reply.usage.reward_tokens <= suffix + 1
    (again,) = await scored(SelfEvaluation(engine, WORDS), request(steps, len(steps) - 1))
    assert again.usage.reward_tokens == 1
    assert again.rewards == reply.rewards


async def test_ten_options_cost_what_two_do(engine: TransformersEngine) -> None:
    steps = await written(engine)
    (digits,) = await scored(SelfEvaluation(engine, DIGIT), request(steps, 2))
    suffix = len(engine._questions.asked(DIGIT.text, tuple(DIGIT.options)).suffix)
    assert digits.usage.reward_tokens <= suffix + 1


async def test_a_question_without_room_fails_its_request_alone(engine: TransformersEngine) -> None:
    steps = await written(engine)
    long = [Step("x", (5,) * 3000)]
    first, second = await SelfEvaluation(engine, WORDS).score([request(long), request(steps)])
    assert isinstance(first, Failure) and first.type == "ContextOverflow"
    assert isinstance(second, ScoreReply)


async def test_a_policy_without_the_words_is_refused_while_it_loads() -> None:
    config = TransformersEngineConfig("embedded:chain-policy", template="{question}\n")
    with pytest.raises(ConfigError, match=r"verifier\.restart\.text='Is it right.*must be a text that"):
        asked_policies({"engine": config}, CONFIG)["engine"].build()
