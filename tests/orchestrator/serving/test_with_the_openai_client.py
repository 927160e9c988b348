"""OpenAI's client against a real server: what it sends keeps its meaning, and it parses the replies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from orchestrator.testing.fakes import FakeEngine, FakeVerifier
from tests.orchestrator.serving.served import Server, running

MESSAGES: Any = [{"role": "user", "content": "abca"}]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def test_a_chat_completion(server: Server) -> None:
    reply = server.openai().chat.completions.create(model="murmuration", messages=MESSAGES, seed=3)
    assert reply.object == "chat.completion"
    assert reply.choices[0].finish_reason == "stop"
    text = reply.choices[0].message.content
    assert text and text.endswith("\n") and "=" in text
    assert reply.usage is not None and reply.usage.completion_tokens_details is not None
    search: Any = reply.model_extra["search"] if reply.model_extra else None
    assert search["strategy"] == "particle_filter" and search["budget"] == 4 and search["seed"] == 3
    assert reply.usage.completion_tokens == search["usage"]["generated_tokens"]
    answer = search["candidates"][0]
    assert answer["text"] == text and "correct" not in answer
    reasoning = reply.usage.completion_tokens_details.reasoning_tokens
    assert reasoning == reply.usage.completion_tokens - answer["num_tokens"]


def test_the_same_seed_gives_the_same_answer(server: Server) -> None:
    client = server.openai()

    def text(seed: int) -> str | None:
        reply = client.chat.completions.create(
            model="murmuration/best_of_n", messages=MESSAGES, seed=seed, extra_body={"search": {"budget": 2}}
        )
        return reply.choices[0].message.content

    texts = [text(seed) for seed in (1, 1, 2, 3, 4, 5)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


def test_a_stream_is_parsed(server: Server) -> None:
    client = server.openai()
    whole = client.chat.completions.create(model="murmuration", messages=MESSAGES, seed=1)
    stream = client.chat.completions.create(
        model="murmuration", messages=MESSAGES, seed=1, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert all(c.usage is None for c in chunks[:-1])
    # Without ``progress`` only the last chunk of the text says anything of the search.
    assert ["search" in (c.model_extra or {}) for c in chunks].count(True) == 1


def test_progress_is_that_of_the_search(server: Server) -> None:
    stream = server.openai().chat.completions.create(
        model="murmuration", messages=MESSAGES, stream=True, extra_body={"search": {"progress": True}}
    )
    states = [c.model_extra["search"] for c in stream if c.model_extra and "search" in c.model_extra]
    *steps, final = states
    assert steps
    for state in steps:
        assert {"step", "alive", "ess", "best_reward", "answer_so_far", "usage"} <= state.keys()
    tokens = [state["usage"]["generated_tokens"] for state in steps]
    assert tokens == sorted(tokens)
    records = [record for state in steps for record in state.get("records", ())]
    told = {record["index"]: record for record in records}
    assert [{k: v for k, v in told[i].items() if k not in ("scope", "index")} for i in sorted(told)] == final[
        "history"
    ]
    assert steps[-1]["usage"] == final["usage"]


@pytest.mark.parametrize("strategy", ["astar", "best_of_n", "self_consistency", "greedy"])
def test_every_strategy_has_an_address(server: Server, strategy: str) -> None:
    by_path = server.openai(f"/v1/{strategy}").chat.completions.create(
        model="murmuration", messages=MESSAGES, extra_body={"search": {"progress": True}}
    )
    by_model = server.openai().chat.completions.create(model=f"murmuration/{strategy}", messages=MESSAGES)
    by_key = server.openai().chat.completions.create(
        model="murmuration", messages=MESSAGES, extra_body={"search": {"strategy": strategy}}
    )
    assert by_path.choices == by_model.choices == by_key.choices
    assert by_path.usage == by_model.usage == by_key.usage


def test_models_are_the_strategies(server: Server) -> None:
    client = server.openai()
    names = [model.id for model in client.models.list()]
    assert names[0] == "murmuration"
    assert "murmuration/astar" in names and "murmuration/hex" not in names
    assert client.models.retrieve("murmuration/astar").id == "murmuration/astar"
    with pytest.raises(openai.NotFoundError, match="did you mean 'murmuration/astar'"):
        client.models.retrieve("murmuration/astra")


def test_a_completion_is_the_same_search(server: Server) -> None:
    client = server.openai()
    chat = client.chat.completions.create(model="murmuration", messages=MESSAGES, seed=5)
    completion = client.completions.create(model="murmuration", prompt="abca", seed=5)
    assert completion.object == "text_completion"
    assert completion.choices[0].text == chat.choices[0].message.content
    chunks = list(client.completions.create(model="murmuration", prompt="abca", seed=5, stream=True))
    assert "".join(c.choices[0].text for c in chunks) == completion.choices[0].text


def test_n_are_the_best_candidates(server: Server) -> None:
    reply = server.openai().chat.completions.create(model="murmuration/best_of_n", messages=MESSAGES, n=3)
    search: Any = reply.model_extra["search"] if reply.model_extra else None
    texts = [choice.message.content for choice in reply.choices]
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    best = sorted(search["candidates"][1:], key=lambda c: -c["reward"])
    assert [search["candidates"][0]["reward"], *(c["reward"] for c in best[:2])] == [
        next(c["reward"] for c in search["candidates"] if c["text"] == text) for text in texts
    ]
    assert reply.usage is not None
    chunks = list(
        server.openai().chat.completions.create(
            model="murmuration/best_of_n", messages=MESSAGES, n=3, stream=True
        )
    )
    for i, text in enumerate(texts):
        said = [
            c.choices[0].delta.content or ""
            for c in chunks
            if len(c.choices) == 1 and c.choices[0].index == i
        ]
        assert "".join(said) == text


def test_a_stream_opens_the_choices_that_it_ends(server: Server) -> None:
    how: Any = {
        "model": "murmuration/best_of_n",
        "messages": MESSAGES,
        "n": 4,
        "seed": 1,
        "extra_body": {"search": {"limits": {"generated_tokens": 30}}},
    }
    whole = server.openai().chat.completions.create(**how)
    assert len(whole.choices) < 4  # the limit withheld some
    roles, reasons = dict[int, Any](), dict[int, Any]()
    for chunk in server.openai().chat.completions.create(**how, stream=True):
        for choice in chunk.choices:
            roles.setdefault(choice.index, choice.delta.role)
            reasons[choice.index] = choice.finish_reason
    assert reasons == {choice.index: choice.finish_reason for choice in whole.choices}
    assert roles == dict.fromkeys(reasons, "assistant")


def test_max_tokens_bounds_each_candidate(server: Server) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        reply = server.openai().chat.completions.create(
            model="murmuration",
            messages=MESSAGES,
            **{name: 5},  # type: ignore[arg-type]
        )
        search: Any = reply.model_extra["search"] if reply.model_extra else None
        assert all(c["num_tokens"] <= 5 for c in search["candidates"])
        assert reply.choices[0].finish_reason == "length"


def test_a_text_ends_at_a_stop(server: Server) -> None:
    client = server.openai()
    whole = client.chat.completions.create(model="murmuration/greedy", messages=MESSAGES)
    text = whole.choices[0].message.content
    assert text == "a\nb\nc\na\n=abca\n"
    for stop, left in (("b\nc", "a\n"), (["zz", "c"], "a\nb\n"), ("=", "a\nb\nc\na\n")):
        reply = client.chat.completions.create(model="murmuration/greedy", messages=MESSAGES, stop=stop)
        assert reply.choices[0].message.content == left
        assert reply.choices[0].finish_reason == "stop"
    stepwise = client.chat.completions.create(
        model="murmuration", messages=MESSAGES, stop="\n", temperature=0
    )
    search: Any = stepwise.model_extra["search"] if stepwise.model_extra else None
    assert {c["num_tokens"] for c in search["candidates"]} == {2}


def test_temperature_and_top_p_reach_the_engine() -> None:
    engine = FakeEngine()
    with running(engine=engine, verifier=FakeVerifier()) as server:
        server.openai().chat.completions.create(
            model="murmuration", messages=MESSAGES, temperature=0.3, top_p=0.5
        )
    assert {(r.params.temperature, r.params.top_p) for r in engine.requests} == {(0.3, 0.5)}  # type: ignore[attr-defined]


async def test_the_async_client(server: Server) -> None:
    async with server.async_openai() as client:
        reply = await client.chat.completions.create(model="murmuration", messages=MESSAGES, seed=1)
        stream = await client.chat.completions.create(
            model="murmuration", messages=MESSAGES, seed=1, stream=True
        )
        text = "".join([c.choices[0].delta.content or "" async for c in stream])
    assert text == reply.choices[0].message.content
