"""Texts that run ahead of their search: nothing is asked twice, nothing runs on for nobody. Without vLLM."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import UNSET

from actors.embedded.models import build_tokenizer
from actors.text.generation import Generation, StopRules
from actors.text.stepping import Detokenizer
from actors.vllm_engine.streams import Streams
from orchestrator.errors import EngineDeadError, EngineError
from orchestrator.splitting import StepSplitter
from orchestrator.steps.rule import StepEnds, StepRule
from orchestrator.types import Carried, Finish
from tests.actors.small_models import ALPHABET, ask

PROMPT = (1, 5)
TOKENIZER = build_tokenizer(ALPHABET)
DETOKENIZER = Detokenizer(TOKENIZER, len(TOKENIZER), frozenset({2}))
RULES = StopRules.of(DETOKENIZER, StepEnds("\n"))
(NEWLINE,) = RULES.stop_token_ids
STEP = 6  # tokens of every text's steps


def token_at(seed: int, position: int) -> int:
    """Texts differ by their seeds in every token but the last of a step."""
    return NEWLINE if position % STEP == STEP - 1 else 6 + (seed + position) % 7


def text_of(seed: int, num_tokens: int) -> list[int]:
    return [token_at(seed, i) for i in range(num_tokens)]


class Typewriter:
    """In vLLM's place: a token a turn of the event loop. ``open`` are the requests that it is at."""

    def __init__(self, fails_with: EngineError | None = None) -> None:
        self.begun: list[tuple[int, int]] = []  # seed, and tokens of the text that were there
        self.open: list[int] = []
        self.num_typed = 0
        self._fails_with = fails_with

    async def __call__(self, generation: Generation) -> AsyncGenerator[Any, None]:
        seed, position = generation.request.seed, len(generation.token_ids) - len(PROMPT)
        self.begun.append((seed, position))
        self.open.append(seed)
        try:
            while True:
                await asyncio.sleep(0)
                if self._fails_with is not None:
                    raise self._fails_with
                choice = SimpleNamespace(
                    token_ids=[token_at(seed, position)], logprobs=None, finish_reason=None
                )
                position += 1
                self.num_typed += 1
                yield SimpleNamespace(outputs=[choice], num_cached_tokens=1)
        finally:
            self.open.remove(seed)


def generation(seed: int, tokens: list[int] | None = None, **changes: Any) -> Generation:
    asked = ask(seed=seed, token_ids=tuple(tokens or ()), **changes)
    prefix = (*PROMPT, *asked.token_ids)
    return Generation(asked, prefix, 1000, RULES, StepSplitter(asked, DETOKENIZER, prefix))


def goes_on(done: Generation) -> bool:
    return done.splitter.steps[-1].finish is Finish.STEP


async def complete(streams: Streams, *generations: Generation) -> list[Generation]:
    assert await streams.complete(generations, goes_on) == [None] * len(generations)
    return list(generations)


async def turns(num: int) -> None:
    for _ in range(num):
        await asyncio.sleep(0)


async def test_all_steps_of_a_text_are_one_request() -> None:
    vllm = Typewriter()
    streams = Streams(vllm, lookahead=40)
    tokens: list[int] = []
    for step in range(4):
        (done,) = await complete(streams, generation(3, tokens))
        tokens += done.generated
        assert tokens == text_of(3, STEP * (step + 1))
        usage = done.completion(1.0, has_logprobs=True).usage
        assert usage.prompt_tokens == len(PROMPT) + STEP * step
        # The first reads the prompt but for the token that was cached; later ones find all there is.
        assert usage.cached_tokens == (1 if step == 0 else usage.prompt_tokens)
        assert usage.flops == (len(PROMPT) - 1 + STEP - 1 if step == 0 else STEP)
    assert vllm.begun == [(3, 0)]
    streams.close()


async def test_all_steps_between_markers_are_one_request() -> None:
    """The marker that ended a step was taken with it, and begins the next."""
    rule, vllm = StepRule("markers", markers=["\n"]), Typewriter()
    streams, rules = Streams(vllm, lookahead=40), StopRules.of(DETOKENIZER, rule.ends("\n"))
    tokens: list[int] = []
    carried: Carried | None = None
    for step in range(3):
        asked = replace(ask(seed=3, token_ids=tuple(tokens)), step=rule, carried=carried or UNSET)
        started = Generation.of(asked, (*PROMPT, *tokens), 1000, rules, DETOKENIZER)
        (done,) = await complete(streams, started)
        (said,) = done.completion(1.0, has_logprobs=True).steps
        tokens, carried = [*tokens, *said.token_ids], said.carried
        assert tokens == text_of(3, STEP * (step + 1) - 1)
        assert carried is not None and carried.token_ids == (NEWLINE,)
        assert done.completion(1.0, has_logprobs=True).usage.generated_tokens == STEP
    assert vllm.begun == [(3, 0)]
    streams.close()


async def test_a_text_runs_ahead_so_far_and_goes_on_from_there() -> None:
    vllm = Typewriter()
    streams = Streams(vllm, lookahead=STEP + 2)
    (first,) = await complete(streams, generation(3))
    await turns(50)
    assert vllm.num_typed == STEP + STEP + 2
    assert not vllm.open
    (second,) = await complete(streams, generation(3, first.generated))
    assert not vllm.open  # its tokens were there
    (third,) = await complete(streams, generation(3, first.generated + second.generated))
    assert first.generated + second.generated + third.generated == text_of(3, 3 * STEP)
    assert vllm.begun == [(3, 0), (3, 2 * STEP + 2)]
    streams.close()


async def test_those_that_did_not_survive_are_stopped_and_counted() -> None:
    vllm = Typewriter()
    streams = Streams(vllm, lookahead=40)
    done = await complete(streams, *(generation(s) for s in range(4)))
    other = generation(9)
    other.request = replace(other.request, home="another problem")
    await complete(streams, other)
    await turns(10)
    copy = generation(50, done[1].generated)
    survivors = await complete(streams, generation(1, done[1].generated), copy)
    await turns(5)
    assert sorted(vllm.open) == [1, 9, 50]
    assert survivors[0].generated == text_of(1, 2 * STEP)[STEP:]
    assert vllm.begun[-1] == (50, STEP)
    num_taken = 4 * STEP + 2 * STEP
    assert streams.release("another problem") > 0
    wasted = streams.release("home")
    await turns(5)
    assert not vllm.open
    assert 3 * 8 < wasted <= vllm.num_typed - num_taken
    assert streams.release("home") == 0


async def test_what_is_over_is_stopped_at_once() -> None:
    vllm = Typewriter()
    streams = Streams(vllm, lookahead=40)
    (cut,) = await complete(streams, generation(3, max_tokens=4))
    assert cut.splitter.steps[-1].finish is Finish.LENGTH
    await turns(2)
    assert not vllm.open


async def test_the_same_seed_after_another_text_or_temperature_begins_anew() -> None:
    vllm = Typewriter()
    streams = Streams(vllm, lookahead=40)
    for changes in ({"tokens": text_of(4, STEP)}, {"tokens": text_of(3, STEP), "temperature": 0.1}):
        await complete(streams, generation(3))
        await complete(streams, generation(3, **changes))
        assert vllm.begun[-1] == (3, STEP)
        assert streams.release("home") > 0
    await turns(2)
    assert not vllm.open


async def test_equal_requests_do_not_disturb_each_other() -> None:
    vllm = Typewriter()
    streams = Streams(vllm, lookahead=40)
    one, other = await complete(streams, generation(3), generation(3))
    assert one.generated == other.generated == text_of(3, STEP)
    (after,) = await complete(streams, generation(3, one.generated))
    assert after.generated == text_of(3, 2 * STEP)[STEP:]
    streams.close()
    await turns(2)
    assert not vllm.open


async def test_cancelling_stops_the_texts() -> None:
    vllm = Typewriter()
    streams = Streams(vllm, lookahead=40)
    task = asyncio.create_task(streams.complete([generation(s) for s in range(3)], goes_on))
    await turns(4)
    assert len(vllm.open) == 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await turns(3)
    assert not vllm.open
    assert streams.release("home") == 0


async def test_a_failure_is_that_of_its_text_and_a_death_is_everybodys() -> None:
    failing = Streams(Typewriter(EngineError("no room")), lookahead=40)
    (error,) = await failing.complete([generation(3)], goes_on)
    assert str(error) == "no room"
    with pytest.raises(EngineDeadError):
        await Streams(Typewriter(EngineDeadError("gone")), 40).complete([generation(3)], goes_on)
