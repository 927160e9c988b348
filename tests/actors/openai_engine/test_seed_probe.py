"""What a server makes of seeds is found out before the first problem."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actors.openai_engine.probing import SEEDS
from orchestrator.errors import ConfigError
from tests.actors.openai_engine.scripted import Reply, Scripted

Probed = Callable[[dict[str, Any]], Reply]
APIS = pytest.mark.parametrize("knobs", [{}, {"prompts": "text"}, {"api": "chat", "tokenizer": None}])


def texts(text_of: Callable[[dict[str, Any], int], str]) -> Probed:
    """A server whose text is a function of the request and the answer's number."""

    def reply(body: dict[str, Any]) -> Reply:
        made = [text_of(body, i) for i in range(body.get("n", 1))]
        return 200, {}, {"choices": [{"text": text, "message": {"content": text}} for text in made]}

    return reply


@pytest.fixture
def counter() -> Iterator[int]:
    return itertools.count()


@APIS
async def test_a_server_that_honours_seeds(server: Scripted, engine: Any, knobs: dict[str, Any]) -> None:
    assert engine(**knobs).info.seeds_honoured is True


@APIS
async def test_a_server_that_ignores_seeds(
    server: Scripted, engine: Any, knobs: dict[str, Any], counter: Iterator[int]
) -> None:
    """As SGLang does: its samples differ, and none comes again."""
    server.probed = texts(lambda body, i: str(next(counter)))
    assert engine(**knobs).info.seeds_honoured is False


@APIS
def test_identical_samples_are_an_error_that_says_how_to_start_the_server(
    server: Scripted, engine: Any, knobs: dict[str, Any]
) -> None:
    server.probed = texts(lambda body, i: "the same")
    with pytest.raises(ConfigError) as caught:
        engine(**knobs)
    assert str(caught.value).startswith(
        f"engine.base_url={server.url}: must be a server whose samples differ"
    )
    assert "4 seeds gave one text at temperature 2" in str(caught.value)
    assert "--enable-deterministic-inference" in str(caught.value)
    assert engine(probe=False, **knobs).info.seeds_honoured is None


async def test_a_certain_model_is_asked_at_a_higher_temperature(server: Scripted, engine: Any) -> None:
    asked: list[tuple[int, float]] = []

    def certain(body: dict[str, Any], i: int) -> str:
        asked.append((body["seed"], body["temperature"]))
        return "sure" if body["temperature"] == 1.0 or body["seed"] != SEEDS[3] else "odd"

    server.probed = texts(certain)
    assert engine().info.seeds_honoured is True
    assert asked == [*((s, 1.0) for s in SEEDS[:2]), *((s, 2.0) for s in SEEDS), (SEEDS[0], 2.0)]


@pytest.mark.parametrize(
    "reply",
    [
        (400, {}, {"error": {"message": "temperature must be 0"}}),
        (200, {}, {"choices": []}),
        (200, {}, {"choices": [5]}),
        (200, {}, b"no json"),
    ],
)
async def test_a_server_that_answers_no_probe_leaves_it_unknown(
    server: Scripted, engine: Any, reply: Reply
) -> None:
    server.probed = lambda _body: reply
    assert engine().info.seeds_honoured is None


async def test_a_thought_that_is_not_shown_is_no_sample(server: Scripted, engine: Any) -> None:
    server.probed = lambda _body: (200, {}, {"choices": [{"message": {"content": None}}]})
    assert engine(api="chat", tokenizer=None).info.seeds_honoured is None


async def test_a_thought_that_is_shown_is_one(server: Scripted, engine: Any) -> None:
    def thinking(body: dict[str, Any]) -> Reply:
        message = {"content": None, "reasoning_content": str(body["seed"])}
        return 200, {}, {"choices": [{"message": message}]}

    server.probed = thinking
    assert engine(api="chat", tokenizer=None).info.seeds_honoured is True
