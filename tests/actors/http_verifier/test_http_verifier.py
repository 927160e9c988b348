"""``verifier=http``: texts and the form ``json``, and whatever a server may send instead of rewards."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.embedded.models import build_tokenizer
from actors.http_verifier.config import HttpVerifierConfig
from orchestrator.errors import ConfigError
from orchestrator.protocols import OVERFLOW, Failure, ScoreReply, ScoreRequest, VerifierBase
from orchestrator.testing import VERIFIER_LAWS, Law, VerifierCase, hold, name_of
from orchestrator.testing.fakes import letters_right
from tests.actors.http_verifier.serving import Reply, Served, serving
from tests.actors.small_models import ALPHABET

KEY = "MURMURATION_PRM_KEY"
QUESTION, STEPS = "abca", ("a\n", "b\n", "c\n", "a\n")
WRONG = ("a\n", "b\n", "c\n", "b\n")
PROBE = "1+1"


def reward(question: str, steps: list[str]) -> float:
    return 0.5 if question == PROBE else letters_right(question, tuple(steps))


def by_json(_path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A server of the documented form that remembers locked steps."""
    steps, locked = body["steps"], body["num_locked"]
    if any(len(step) > 1000 for step in steps):
        return {"error": {"message": "too long", "code": "context_length_exceeded"}}
    ends = [len(steps)] if body["readout"] == "whole" else range(locked + 1, len(steps) + 1)
    usage = {
        "reward_tokens": sum(map(len, steps[locked:])),
        "cached_reward_tokens": sum(map(len, steps[:locked])),
    }
    return {"rewards": [reward(body["question"], steps[:n]) for n in ends], "usage": usage}


def by_score(path: str, body: dict[str, Any]) -> dict[str, Any]:
    assert path == "/score"
    if len(body["text_2"]) > 1000:
        return {"error": {"message": "too long", "code": "context_length_exceeded"}}
    score = reward(body["text_1"], body["text_2"].splitlines(keepends=True))
    return {"data": [{"index": 0, "score": score}], "usage": {"prompt_tokens": len(body["text_2"])}}


def built(server: Served, **knobs: Any) -> VerifierBase:
    knobs = {"api": "json", "max_wait_s": 0.01, "max_attempts": 2, **knobs}
    verifier: VerifierBase = HttpVerifierConfig("prm", server.url, **knobs).build()
    return verifier


def request(*steps: str, locked: int = 0, question: str = QUESTION) -> ScoreRequest:
    return ScoreRequest("p", question, steps, locked)


@pytest.mark.parametrize("readout", ["per_step", "whole"])
@pytest.mark.parametrize(("api", "answer"), [("json", by_json), ("score", by_score)])
@pytest.mark.parametrize("law", VERIFIER_LAWS, ids=name_of)
async def test_it_keeps_the_laws(
    api: str, answer: Callable[..., Any], readout: str, law: Law[VerifierCase]
) -> None:
    with serving(answer) as server:
        verifier = built(server, api=api, readout=readout)
        case = VerifierCase(verifier, QUESTION, STEPS, WRONG, impossible=("a" * 2000,))
        await hold(law, case)
        await verifier.close()


@pytest.mark.parametrize(("api", "answer"), [("json", by_json), ("score", by_score)])
async def test_a_text_without_room_at_the_server_is_known_as_such(
    api: str, answer: Callable[..., Any]
) -> None:
    """A search then gives it the reward 0 (docs/models.md)."""
    with serving(answer) as server:
        verifier = built(server, api=api)
        (reply,) = await verifier.score([request("a" * 2000)])
        await verifier.close()
    assert isinstance(reply, Failure) and (reply.type, "too long" in reply.message) == (OVERFLOW, True)


async def test_a_json_request_says_all_that_it_depends_on() -> None:
    with serving(by_json) as server:
        verifier = built(server)
        server.asked.clear()
        (reply,) = await verifier.score([request("a\n", "b\n", locked=1)])
        await verifier.close()
    assert isinstance(reply, ScoreReply)
    assert (reply.usage.reward_tokens, reply.usage.cached_reward_tokens, verifier.progress) == (2, 2, 4)
    asked = {
        "model": "prm",
        "question": "abca",
        "steps": ["a\n", "b\n"],
        "num_locked": 1,
        "readout": "per_step",
    }
    assert server.asked == [("/v1", {"model": "prm", **asked})]


async def test_log_odds_in_place_of_rewards() -> None:
    with serving(
        lambda _path, body: {"log_odds": [2.5] * (len(body["steps"]) - body["num_locked"])}
    ) as server:
        verifier = built(server)
        (reply,) = await verifier.score([request("a\n", "b\n")])
        await verifier.close()
    assert isinstance(reply, ScoreReply)
    assert [r.log_odds for r in reply.rewards] == [2.5, 2.5]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(ALPHABET).save_pretrained(folder)
    return str(folder)


NAN, INFINITY, HUGE = math.nan, math.inf, 10**400
GARBAGE: list[tuple[str, Reply]] = [
    ("not JSON", (200, {}, b"no json")),
    ("not a JSON object", (200, {}, [1])),
    ("nested too deeply", (200, {}, b"[" * 100_000)),
    ("longer than the", (200, {}, b'{"rewards": "' + b"x" * 2**22 + b'"}')),
    ("redirects to http://elsewhere/v1", (307, {"location": "http://elsewhere/v1"}, b"")),
    ("HTTP 500: out of memory", (500, {}, {"error": {"message": "out of memory"}})),
    ("HTTP 400: no such model", (400, {}, {"error": {"message": "no such model"}})),
]
OF_JSON: list[tuple[str, dict[str, Any]]] = [
    *[("not finite", {"rewards": [0.5, value]}) for value in (NAN, INFINITY, HUGE, "x", None, True, [0.5])],
    *[("must be a number in [0, 1]", {"rewards": [0.5, value]}) for value in (-0.1, 1.5)],
    *[("rewards: must be 2", {"rewards": value}) for value in ([], [0.5], [0.5] * 3, {"a": 1}, "x", 5)],
    ("no rewards", {}),
    ("both rewards and log_odds", {"rewards": [0.5] * 2, "log_odds": [0.5] * 2}),
    *[
        ("usage.reward_tokens", {"rewards": [0.5] * 2, "usage": {"reward_tokens": n}})
        for n in (-1, 1.5, HUGE)
    ],
]
OF_POOLING: list[tuple[str, dict[str, Any]]] = [
    *[("returned 0 results", {"data": value}) for value in ("x", 5, {"a": 1})],
    ("returned 2 results", {"data": [{"data": [[0.0, 1.0]]}] * 2}),
    *[("rows of outputs", {"data": [{"data": rows}]}) for rows in (None, "x", [], [[0.0, 1.0]] * 99)],
    *[("outputs: must be 2", {"data": [{"data": [[0.0, 1.0]] * 9 + [row]}]}) for row in ([], [1.0], "x", 5)],
    *[
        ("not finite", {"data": [{"data": [[0.0, 1.0]] * 9 + [[0.0, v]]}]})
        for v in (NAN, INFINITY, HUGE, "1")
    ],
    ("usage.prompt_tokens", {"data": [{"data": [[0.0, 1.0]] * 10}], "usage": {"prompt_tokens": 12}}),
]


def of_pooling(_path: str, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": [{"data": [[0.0, 1.0]] * len(body["input"])}],
        "usage": {"prompt_tokens": len(body["input"])},
    }


async def failures(server: Served, verifier: VerifierBase, replies: list[tuple[str, Any]]) -> None:
    """Each reply is an error that says what, of this request alone."""
    good = server.answer
    for words, reply in replies:
        server.answer = lambda _path, _body, reply=reply: reply  # type: ignore[misc]
        (failure,) = await verifier.score([request("a\n", "b\n")])
        assert isinstance(failure, Failure), (words, reply)
        assert words in failure.message, (words, failure.message)
        assert failure.type == "VerifierError"
        assert len(failure.message) < 500 and failure.message.isprintable()
    server.answer = good
    (reply,) = await verifier.score([request("a\n", "b\n")])
    assert isinstance(reply, ScoreReply)


async def test_nothing_that_a_server_says_is_trusted() -> None:
    with serving(by_json) as server:
        verifier = built(server)
        await failures(server, verifier, [*GARBAGE, *OF_JSON])
        await verifier.close()


async def test_nor_are_its_outputs(classifier: str) -> None:
    with serving(of_pooling) as server:
        verifier = built(server, api="pooling", tokenizer=classifier)
        await failures(server, verifier, [*GARBAGE, *OF_POOLING])
        await verifier.close()


async def test_a_key_that_a_server_repeats_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "abc012345678")
    with serving(by_score) as server:
        verifier = built(server, api="score", api_key_env=KEY)
        assert server.keys == ["Bearer abc012345678"]
        server.answer = lambda _path, _body: (400, {}, {"error": "the key abc012345678 is odd"})
        (failure,) = await verifier.score([request("a\n")])
        await verifier.close()
    assert isinstance(failure, Failure)
    assert "abc012345678" not in failure.message and "(key)" in failure.message


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"base_url": "127.0.0.1:80"}, "verifier.base_url=127.0.0.1:80: must be a URL such as"),
        ({"api": "polling"}, "verifier.api=polling: must be one of"),
        (
            {"api": "completions"},
            "verifier.api=completions: must be pooling or classify with verifier.format=",
        ),
        ({"format": "lm_head"}, "verifier.api=pooling: must be completions with verifier.format=lm_head"),
        ({"format": "outcome", "api": "classify"}, "verifier.readout=per_step: must be whole"),
        ({"tokenizer": "./nowhere"}, "verifier.tokenizer=./nowhere: no such tokenizer"),
        ({"max_attempts": 0}, "verifier.max_attempts=0: must be a whole number of 1 or more"),
        ({"api_key_env": "NO_SUCH_KEY"}, "verifier.api_key_env=NO_SUCH_KEY: must name a variable"),
        ({"base_url": "http://127.0.0.1:9/v1"}, "verifier.base_url=http://127.0.0.1:9/v1: no server answers"),
        ({"model": "other"}, "verifier.model=other: must be one that the server has: prm"),
        ({"api": "json"}, "verifier.base_url=URL: must serve rewards by verifier.api=json: "),
        ({"api": "score"}, "verifier.base_url=URL: must serve rewards by verifier.api=score: "),
        ({}, "verifier.base_url=URL: must serve rewards by verifier.api=pooling: "),
    ],
)
def test_bad_configuration_names_its_key(knobs: dict[str, Any], line: str, classifier: str) -> None:
    """The server answers every request for a reward with an error."""
    with serving(lambda path, _body: (404, {}, {"error": f"no {path}"})) as server:
        defaults = {"model": "prm", "base_url": server.url, "tokenizer": classifier, "max_attempts": 1}
        with pytest.raises(ConfigError) as caught:
            HttpVerifierConfig(**{**defaults, **knobs}).build()
    assert str(caught.value).startswith(line.replace("URL", server.url, 1) if "=URL:" in line else line)
