"""The openai engine where a server misbehaves; with a real one it is held to the engines' contract."""

from __future__ import annotations

import asyncio
import json
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.openai_engine.config import OpenAIEngineConfig
from orchestrator.errors import ConfigError
from orchestrator.protocols import OVERFLOW, Completion, Failure, Loglik, LoglikRequest, OptionsRequest
from orchestrator.types import Finish, Usage
from tests.actors.openai_engine.scripted import IDS, KEY, Reply, Scripted, said
from tests.actors.shared_vllm import Elsewhere
from tests.actors.small_models import ask, completed

STEP = said("a5+1=6\n", stop=IDS["\n"])


async def one(engine: Any, **request: Any) -> Completion | Failure:
    (reply,) = await engine.generate([ask(**request)])
    assert isinstance(reply, Completion | Failure)
    return reply


async def test_a_request_says_all_that_it_depends_on(server: Scripted, engine: Any) -> None:
    server.replies = [STEP]
    (completion,) = completed([await one(engine(extra_body={"top_k": 5}), seed=11, token_ids=(IDS["a"],))])
    assert (completion.steps[0].text, completion.steps[0].finish) == ("a5+1=6\n", Finish.STEP)
    assert completion.steps[0].logprob == pytest.approx(-3.5)
    assert completion.usage == Usage(generated_tokens=7, prompt_tokens=8, cached_tokens=4)
    (body,) = server.bodies
    assert body["prompt"] == [IDS[c] for c in ("<bos>", *"5 a+1\n", "a")]
    assert (body["seed"], body["temperature"], body["max_tokens"], body["top_k"]) == (11, 0.8, 40, 5)
    assert body["stop_token_ids"] == [IDS["\n"], IDS["<eos>"]]


async def test_finish_reasons(server: Scripted, engine: Any) -> None:
    server.replies = [STEP, said("a5", eos=True), said("a5+", reason="length")]
    policy = engine()
    steps = [completed([await one(policy, max_tokens=n)])[0].steps[0] for n in (7, 40, 3)]
    assert [s.finish for s in steps] == [Finish.STEP, Finish.EOS, Finish.LENGTH]
    assert [s.text for s in steps] == ["a5+1=6\n", "a5", "a5+"]


async def test_a_busy_server_is_asked_again_and_told_nothing_new(server: Scripted, engine: Any) -> None:
    busy = (429, {"retry-after": "0.04"}, {"error": {"message": "slow down"}})
    server.replies = [busy, (503, {}, b"<html>"), STEP]
    completed([await one(engine())])
    assert len(server.bodies) == 3
    assert server.bodies[0] == server.bodies[1] == server.bodies[2], "the same seed, and all else"
    assert server.times[1] - server.times[0] >= 0.04, "as long as the server asked for"


async def test_attempts_end_with_the_servers_own_words(server: Scripted, engine: Any) -> None:
    server.replies = [(500, {}, {"error": {"message": "out of\nmemory"}})]
    reply = await one(engine(max_attempts=3, max_wait_s=0.01))
    assert isinstance(reply, Failure)
    assert len(server.bodies) == 3
    assert "HTTP 500: out of memory (3 attempts)" in reply.message


async def test_a_refused_request_is_not_asked_again_and_fails_alone(server: Scripted, engine: Any) -> None:
    def reply(body: dict[str, Any]) -> Reply:
        return (400, {}, {"error": {"message": "too long"}}) if body["seed"] == 1 else STEP

    server.replies = [reply]
    replies = await engine().generate([ask(seed=s) for s in range(3)])
    assert [type(r) for r in replies] == [Completion, Failure, Completion]
    assert "HTTP 400: too long" in replies[1].message
    assert len(server.bodies) == 3


async def test_a_prompt_without_room_at_the_server_is_known_as_such(server: Scripted, engine: Any) -> None:
    """A search that can show less then does so (docs/roles.md)."""
    message = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens"
    server.replies = [(400, {}, {"error": {"message": message}})]
    reply = await one(engine())
    assert isinstance(reply, Failure)
    assert (reply.type, message in reply.message) == (OVERFLOW, True)


async def test_a_slow_server_times_out_and_a_lost_one_is_retried(server: Scripted, engine: Any) -> None:
    server.replies, server.delay = [STEP], 0.5
    policy = engine(request_timeout_s=0.05, max_attempts=2, max_wait_s=0.01)
    reply = await one(policy)
    assert isinstance(reply, Failure)
    assert "ReadTimeout" in reply.message and "(2 attempts)" in reply.message


async def test_requests_in_flight_and_a_second_are_bounded(server: Scripted, engine: Any) -> None:
    server.replies, server.delay = [STEP], 0.05
    completed(await engine(max_concurrent=2).generate([ask(seed=s) for s in range(6)]))
    assert server.most_open == 2
    server.delay, begun = 0.0, time.monotonic()
    completed(await engine(requests_per_second=20).generate([ask(seed=s) for s in range(5)]))
    assert server.times[-1] - begun >= 0.19, "four intervals of 50 ms"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((200, {}, b"no json"), "not JSON"),
        ((200, {}, []), "not a JSON object"),
        ((200, {}, {"choices": []}), "no usage"),
        ((200, {}, {"choices": [], "usage": {"completion_tokens": 0}}), "returned 0"),
        (said("a", reason="abort"), "ended the request: abort"),
        (said("a", token_ids=None), "engine.prompts=text"),
        (said("a", logprobs=None), "engine.logprobs=false"),
        (said("a", logprobs={"token_logprobs": [None]}), "not finite"),
    ],
)
async def test_a_strange_reply_is_an_error_that_says_what(
    server: Scripted, engine: Any, reply: Reply, words: str
) -> None:
    server.replies = [reply]
    failure = await one(engine())
    assert isinstance(failure, Failure)
    assert words in failure.message


async def test_likelihoods_of_a_prompt(server: Scripted, engine: Any) -> None:
    ids = [IDS[c] for c in ("<bos>", *"5 a+1\n", *"a\n")]
    told = [None, *({str(t): {"logprob": -0.25 * i}} for i, t in enumerate(ids[1:], start=1))]
    server.replies = [said("a", reason="length", prompt_logprobs=told), said("a", reason="length")]
    request = LoglikRequest("home", "5 a+1", "", (), ((IDS["a"],), (IDS["\n"],)))
    policy = engine()
    (loglik,) = await policy.loglik([request])
    assert isinstance(loglik, Loglik)
    assert loglik.logprobs == (-0.25 * 7, -0.25 * 8)
    (failure,) = await policy.loglik([request])
    assert isinstance(failure, Failure)
    assert "9 tokens of a prompt got none" in failure.message
    (as_text,) = await engine(prompts="text").loglik([request])
    assert isinstance(as_text, Failure)
    assert "engine.prompts=tokens" in as_text.message


async def test_likelihoods_of_options(server: Scripted, engine: Any) -> None:
    """A prompt for each option, whose last token it is."""
    policy, ids = engine(), [IDS[c] for c in ("<bos>", *"5 a+1\n", "a")]
    likelihoods = {IDS["1"]: -0.5, IDS["2"]: -2.0}

    def reply(body: dict[str, Any]) -> Reply:
        read, logprob = body["prompt"], likelihoods[body["prompt"][-1]]
        told = [None, *({str(t): {"logprob": logprob}} for t in read[1:])]
        return said("a", reason="length", prompt_logprobs=told)

    server.replies = [reply]
    request = OptionsRequest("home", "5 a+1", "", (IDS["a"],), (), asked="", options=("1", "2"))
    (found,) = await policy.loglik([request])
    assert isinstance(found, Loglik)
    assert found.logprobs == (-0.5, -2.0), "in the order of the options, whichever reply came first"
    assert sorted(body["prompt"] for body in server.bodies) == [[*ids, IDS["1"]], [*ids, IDS["2"]]]
    policy.check_options("verifier.correct", "", ("1", "2"))
    with pytest.raises(ConfigError, match=r"verifier\.correct\.options='Yes'"):
        policy.check_options("verifier.correct", "", ("Yes", "2"))
    with pytest.raises(ConfigError, match=r"engine\.prompts=text"):
        engine(prompts="text").check_options("verifier.correct", "", ("1", "2"))


async def test_as_text_the_stop_text_comes_back_into_the_step(server: Scripted, engine: Any) -> None:
    server.replies = [
        said("a5+1=6", stop="\n"),
        said("b6", stop=None),
        said("a5\n#", stop="#"),
        said("5", stop="\n"),
        said("b6"),
    ]
    policy = engine(prompts="text")
    (step,) = completed([await one(policy, token_ids=(IDS["b"], IDS["\n"]))])
    assert server.bodies[0]["prompt"] == "5 a+1\nb\n", "the server puts the beginning of text there itself"
    assert (step.steps[0].text, step.steps[0].finish) == ("a5+1=6\n", Finish.STEP)
    assert step.steps[0].token_ids == tuple(IDS[c] for c in "a5+1=6\n")
    (end,) = completed([await one(policy)])
    assert (end.steps[0].finish, end.steps[0].token_ids[-1]) == (Finish.EOS, IDS["<eos>"])
    (whole,) = completed([await one(policy, to_end=True)])
    assert [s.text for s in whole.steps] == ["a5\n", "#5\n"]
    assert [b["stop"] for b in server.bodies[2:]] == [["#"], ["\n"]]
    assert server.bodies[3]["prompt"] == "5 a+1\na5\n#"


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("b6", ["b6"]),
        ("b6\n\n", ["b6\n\n", ""]),
        ("b6\n\n\n", ["b6\n\n", "\n"]),
        ("b6\n\n\n\n", ["b6\n\n", "\n\n", ""]),
        ("", [""]),
    ],
)
async def test_as_text_the_end_of_text_after_a_delimiter_is_one_step(
    server: Scripted, engine: Any, text: str, steps: list[str]
) -> None:
    server.replies = [said(text)]
    policy = engine(prompts="text", logprobs=False)
    (whole,) = completed([await one(policy, to_end=True, delimiter="\n\n", marker=None)])
    assert [s.text for s in whole.steps] == steps
    assert [s.finish for s in whole.steps] == [*[Finish.STEP] * (len(steps) - 1), Finish.EOS]


async def test_as_text_a_step_with_the_marker_and_no_answer_is_not_the_last(
    server: Scripted, engine: Any
) -> None:
    server.replies = [
        said(text, stop=stop)
        for text, stop in [("a5\n#", "#"), ("", "\n"), ("b6\nb#", "#"), ("7", "\n"), ("c", "#")]
    ]
    server.replies[1][2]["usage"]["completion_tokens"] = 1  # the stop text, which the server leaves out
    (whole,) = completed([await one(engine(prompts="text", logprobs=False), to_end=True)])
    assert [s.text for s in whole.steps] == ["a5\n", "#\n", "b6\n", "b#7\n"]
    assert [s.finish for s in whole.steps] == [Finish.STEP] * 4
    assert [b["stop"] for b in server.bodies] == [["#"], ["\n"], ["#"], ["\n"]]
    assert len({b["seed"] for b in server.bodies}) == 4


async def test_as_text_a_server_that_generates_nothing_is_not_asked_for_ever(
    server: Scripted, engine: Any
) -> None:
    server.replies = [said("a5\n#", stop="#"), said("", stop="\n")]
    (whole,) = completed([await one(engine(prompts="text", logprobs=False), to_end=True)])
    assert [s.finish for s in whole.steps] == [Finish.STEP, Finish.LENGTH]
    assert len(server.bodies) == 2


def unnamed(text: str, **more: Any) -> Callable[[dict[str, Any]], Reply]:
    """What llama.cpp and Ollama answer: the text up to the first stop, and no word of which that was."""

    def reply(body: dict[str, Any]) -> Reply:
        stops = [text.index(stop) for stop in body.get("stop") or [] if stop in text]
        cut = text[: min(stops, default=len(text))]
        choice = {"text": cut, "finish_reason": "stop", "index": 0, "logprobs": None, **more}
        usage = {"prompt_tokens": 7, "completion_tokens": len(cut)}
        return 200, {}, {"choices": [choice], "usage": usage}

    return reply


@pytest.mark.parametrize(
    ("request_", "text", "steps", "finish"),
    [
        ({}, "a5+1=6\nb6\n#6", ["a5+1=6\n"], Finish.STEP),
        ({}, "a5+1=6\n", ["a5+1=6\n"], Finish.STEP),
        ({}, "a5+1=6", ["a5+1=6"], Finish.EOS),
        ({}, "", [""], Finish.EOS),
        ({"to_end": True}, "a5\nb6\n#6", ["a5\n", "b6\n", "#6"], Finish.EOS),
        ({"to_end": True}, "a5\n#6\nb6\n", ["a5\n", "#6\n"], Finish.STEP),
        ({"to_end": True}, "a5\nb6", ["a5\n", "b6"], Finish.EOS),
        ({"to_end": True}, "a5\nb6\n", ["a5\n", "b6\n", ""], Finish.EOS),
        ({"to_end": True, "marker": None}, "a5\n#6\nb6", ["a5\n", "#6\n", "b6"], Finish.EOS),
        ({"to_end": True, "marker": "#6\n"}, "a5\n#6\nb6", ["a5\n", "#6\n"], Finish.STEP),
        (
            {"to_end": True, "delimiter": "\n\n", "marker": "#"},
            "a\n\n#6\n\nb",
            ["a\n\n", "#6\n\n"],
            Finish.STEP,
        ),
    ],
)
async def test_a_server_that_names_no_stop_is_asked_for_all_and_cut_here(
    server: Scripted, engine: Any, request_: dict[str, Any], text: str, steps: list[str], finish: Finish
) -> None:
    server.replies = [unnamed(text)]
    policy = engine(prompts="text", logprobs=False)
    for _ in range(2):
        (reply,) = completed([await one(policy, **request_)])
        assert [s.text for s in reply.steps] == steps
        assert [s.finish for s in reply.steps[:-1]] == [Finish.STEP] * (len(steps) - 1)
        assert reply.steps[-1].finish is finish
        assert reply.usage.generated_tokens >= len("".join(steps))
    asks_again = request_.get("to_end") is None or request_.get("marker", "#") is not None
    assert len(server.bodies) == 2 + asks_again, "it is known from the first reply on"
    assert {b["seed"] for b in server.bodies} == {0}
    assert "stop" not in server.bodies[-1]


async def test_a_server_that_says_none_whatever_it_was_is_found_out(server: Scripted, engine: Any) -> None:
    policy = engine(prompts="text", logprobs=False)
    server.replies = [unnamed("a5\nb6", stop_reason=None)]
    for _ in range(3):
        (reply,) = completed([await one(policy)])
        assert [(s.text, s.finish) for s in reply.steps] == [("a5\n", Finish.STEP)]
    assert ["stop" in body for body in server.bodies] == [True, False, False, False]


async def test_a_server_that_says_none_at_the_end_is_believed_once_it_was_right(
    server: Scripted, engine: Any
) -> None:
    policy = engine(prompts="text", logprobs=False)
    server.replies = [unnamed("a5", stop_reason=None)]
    for _ in range(3):
        (reply,) = completed([await one(policy)])
        assert [(s.text, s.finish) for s in reply.steps] == [("a5", Finish.EOS)]
    assert ["stop" in body for body in server.bodies] == [True, False, True, True]


@pytest.mark.parametrize("named", [{"stop_reason": "\n"}, {"matched_stop": "\n"}, {"stopping_word": "\n"}])
async def test_a_server_that_names_the_stop_is_asked_once(
    server: Scripted, engine: Any, named: dict[str, str]
) -> None:
    server.replies = [unnamed("a5\nb6", **named)]
    (reply,) = completed([await one(engine(prompts="text", logprobs=False))])
    assert [(s.text, s.finish) for s in reply.steps] == [("a5\n", Finish.STEP)]
    assert len(server.bodies) == 1


@pytest.mark.parametrize("prompts", ["tokens", "text"])
@pytest.mark.parametrize("to_end", [False, True])
@pytest.mark.parametrize(
    "end",
    [
        {"stop_reason": IDS["e"]},
        {"stop_reason": 5},
        {"stop_reason": "<|other_end|>"},
        {"matched_stop": IDS["e"], "stop_reason": None},
        {"stop_reason": None},
        {"finish_reason": "eos"},
        {"finish_reason": "end_turn", "stop_reason": None},
    ],
)
async def test_every_end_of_text_that_a_server_knows_ends_it(
    server: Scripted, engine: Any, prompts: str, to_end: bool, end: dict[str, Any]
) -> None:
    """Also one that the tokenizer does not know, here the letter e, and at the last token that may be had."""
    server.replies = [said("a5e" if prompts == "tokens" else "a5", **end)]
    for max_tokens in (40, 3):
        (reply,) = completed([await one(engine(prompts=prompts), to_end=to_end, max_tokens=max_tokens)])
        (step,) = reply.steps
        assert step.finish is Finish.EOS
        known = IDS["e"] in end.values()
        assert step.text == ("a5e" if prompts == "tokens" and not known else "a5")
    doubts = prompts == "text" and end == {"stop_reason": None}
    assert len(server.bodies) == 2 + (2 if doubts else 0)


async def test_a_stop_that_was_asked_for_is_no_end_of_text(server: Scripted, engine: Any) -> None:
    """Where a server says nothing of its stop, or None, the tokens say it."""
    for named in ({"stop_reason": IDS["\n"]}, {"stop_reason": None}, {"stop_reason": str(IDS["\n"])}):
        server.replies = [said("a5\n", **named)]
        assert completed([await one(engine())])[0].steps[0].finish is Finish.STEP
    for named in ({"stop_reason": "#"}, {"stop_reason": None}):
        server.replies, server.bodies = [said("a5\n#", **named), said("6", eos=True)], []
        (reply,) = completed([await one(engine(), to_end=True)])
        assert [s.text for s in reply.steps] == ["a5\n", "#6"]
        assert len(server.bodies) == 2


async def test_an_end_of_text_that_is_left_out_ends_it_too(server: Scripted, engine: Any) -> None:
    server.replies = [said("")]
    (reply,) = completed([await one(engine())])
    assert [(s.text, s.token_ids, s.finish) for s in reply.steps] == [("", (IDS["<eos>"],), Finish.EOS)]
    server.replies = [said("", reason="length")]
    assert "no tokens" in (await failed(engine()))


async def test_ends_of_text_are_read_beside_the_tokenizer(
    server: Scripted, engine: Any, tokenizer_folder: str, tmp_path: Path
) -> None:
    shutil.copytree(tokenizer_folder, tmp_path / "m")
    (tmp_path / "m" / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, IDS["e"]]}))
    (tmp_path / "m" / "config.json").write_text(json.dumps({"text_config": {"eos_token_id": IDS["f"]}}))
    policy = engine(tokenizer=str(tmp_path / "m"))
    server.replies = [said("a5e", reason="length")]
    (reply,) = completed([await one(policy, max_tokens=3)])
    assert [(s.text, s.finish) for s in reply.steps] == [("a5", Finish.EOS)]
    assert {2, IDS["e"], IDS["f"]} <= set(server.bodies[0]["stop_token_ids"])


async def failed(engine: Any, **request: Any) -> str:
    reply = await one(engine, **request)
    assert isinstance(reply, Failure), reply
    return reply.message


def used(prompt: Any = 7, generated: Any = 2, cached: Any = 0) -> dict[str, Any]:
    details = {"cached_tokens": cached}
    return {"prompt_tokens": prompt, "completion_tokens": generated, "prompt_tokens_details": details}


NO_COUNTS = [-1, -(10**6), 41, 10**400, 2.0, True, "2", None, [2], {}, float("nan"), float("inf")]
NO_IDS = [-1, 10**6, 10**400, 1.0, True, "5", None, [], {}]
NO_LOGPROBS = [None, "x", True, 0.5, 10**400, float("nan"), float("inf"), float("-inf"), []]
CHANGES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *[("completion_tokens", {}, {"usage": used(generated=n)}) for n in NO_COUNTS],
    *[("prompt_tokens", {}, {"usage": used(prompt=n)}) for n in (-1, 10**9, 1.5, "7", True, [])],
    *[("cached_tokens", {}, {"usage": used(cached=n)}) for n in (-1, 10**9, 1.5, "7", True, [])],
    *[("no usage", {}, {"usage": n}) for n in (None, [], "x", 5)],
    *[("the server returned", {}, {"choices": n}) for n in ([], None, {}, "x", [{}, {}])],
    *[("not the one", {}, {"choices": n}) for n in ([None], [5], [{"index": 1}], [{"index": "x"}])],
    *[("must be a text", {"text": n}, {}) for n in (5, ["a"], {}, True)],
    ("half a character", {"text": "a\ud83d"}, {}),
    *[("ended the request", {"finish_reason": n}, {}) for n in (None, 5, [], {}, True, "abort", "x" * 9999)],
    *[("stop_reason", {"stop_reason": n}, {}) for n in (1.5, True, [], {})],
    *[("log-probabilities", {"logprobs": n}, {}) for n in (None, [], "x", {}, {"token_logprobs": None})],
    *[("log-probabilities", {"logprobs": {"token_logprobs": [n, -1.0]}}, {}) for n in NO_LOGPROBS],
]
OF_TOKENS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *[("token id", {"token_ids": [IDS["a"], n]}, {}) for n in NO_IDS],
    *[("token_ids", {"token_ids": n}, {}) for n in ("ab", 5, {}, [IDS["a"]] * 41)],
    *[("log-probabilities", {"logprobs": {"token_logprobs": [-1.0] * n}}, {}) for n in (0, 1, 3)],
]


@pytest.mark.parametrize("prompts", ["tokens", "text"])
async def test_nothing_that_a_server_says_is_trusted(server: Scripted, engine: Any, prompts: str) -> None:
    policy = engine(prompts=prompts)
    for words, of_choice, of_reply in CHANGES + (OF_TOKENS if prompts == "tokens" else []):
        status, headers, reply = said("a5")
        reply["choices"][0] |= of_choice
        server.replies = [(status, headers, {**reply, **of_reply})]
        message = await failed(policy)
        assert words in message, (of_choice, of_reply)
        assert len(message) < 500
        assert message.isprintable()
    server.replies = [said("a5")]
    completed([await one(policy)])
    assert policy.progress < 10_000


@pytest.mark.parametrize("told", [None, "x", [], [None] * 8, [{}] * 9, [{"5": 1}] * 9, [5] * 9])
async def test_nor_are_its_likelihoods(server: Scripted, engine: Any, told: Any) -> None:
    server.replies = [said("a", reason="length", prompt_logprobs=told)]
    (failure,) = await engine().loglik([LoglikRequest("home", "5 a+1", "", (), ((IDS["a"],), (IDS["\n"],)))])
    assert isinstance(failure, Failure)
    assert "prompt" in failure.message


@pytest.mark.parametrize("prompts", ["tokens", "text"])
async def test_a_text_that_repeats_the_key_is_not_kept(
    server: Scripted, engine: Any, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "abc012345678"
    monkeypatch.setenv(KEY, key)
    policy = engine(prompts=prompts, api_key_env=KEY)
    server.replies = [said(f"a {key}\n", stop="\n")]
    message = await failed(policy)
    assert "repeats the key" in message
    assert key not in message
    server.replies = [said(f"{key[6:]}\n", stop="\n")]
    completed([await one(policy)])
    assert "repeats the key" in await failed(policy, token_ids=tuple(IDS[c] for c in f"a{key[:6]}"))
    server.replies = [said("a", reason=key)]
    assert key not in await failed(policy)


async def test_a_cancelled_call_ends_and_harms_no_other(server: Scripted, engine: Any) -> None:
    server.replies, server.delay = [STEP], 0.3
    policy = engine()
    call = asyncio.create_task(one(policy))
    await asyncio.sleep(0.1)
    call.cancel()
    completed([await one(policy, seed=3)])
    with pytest.raises(asyncio.CancelledError):
        await call


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(
    server: Scripted, tokenizer_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = OpenAIEngineConfig("m", server.url, tokenizer=tokenizer_folder, api_key_env=KEY)
    with pytest.raises(ConfigError, match=f"^engine.api_key_env={KEY}: must name a variable that is set"):
        config.build()
    monkeypatch.setenv(KEY, "wrong")
    with pytest.raises(ConfigError, match=r"refuses the key: .*HTTP 401: invalid key") as caught:
        config.build()
    assert "wrong" not in str(caught.value)
    monkeypatch.setenv(KEY, "s3cret")
    elsewhere = Elsewhere(config.build)
    elsewhere.end()
    assert server.keys[-1] == "Bearer s3cret"
    assert b"s3cret" not in pickle.dumps(config)
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"model": "other"}, "engine.model=other: must be one that the server has: m"),
        ({"base_url": "127.0.0.1:8000"}, "engine.base_url=127.0.0.1:8000: must be a URL"),
        ({"base_url": "https://s3cret@host/v1"}, "engine.base_url=(not shown): must be a URL"),
        ({"base_url": "https://host/v1?api_key=s3cret"}, "engine.base_url=(not shown): must be a URL"),
        ({"base_url": "http://host:99999/v1"}, "engine.base_url=http://host:99999/v1: must be a URL"),
        ({"base_url": "http://127.0.0.1:9/v1"}, "engine.base_url=http://127.0.0.1:9/v1: no server answers"),
        (
            {"tokenizer": "./nowhere"},
            "engine.tokenizer=./nowhere: no such tokenizer: ",
        ),
        ({"max_attempts": 0}, "engine.max_attempts=0: must be a whole number of 1 or more"),
        ({"requests_per_second": 0.0}, "engine.requests_per_second=0.0: must be above 0"),
        ({"extra_body": {"seed": 1}}, "engine.extra_body.seed=1: is set by the engine itself"),
    ],
)
def test_bad_configuration_names_its_key(
    server: Scripted, tokenizer_folder: str, knobs: dict[str, Any], line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        OpenAIEngineConfig(
            **{"model": "m", "base_url": server.url, "tokenizer": tokenizer_folder, **knobs}
        ).build()
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize("prompts", ["tokens", "text"])
async def test_a_delimiter_that_a_server_stops_at_by_itself_ends_no_text(
    server: Scripted, engine: Any, prompts: str
) -> None:
    server.replies = [said("a5\n", stop="\n"), said("#6\n", stop="\n")]
    (reply,) = completed([await one(engine(prompts=prompts), to_end=True)])
    assert [(s.text, s.finish) for s in reply.steps] == [("a5\n", Finish.STEP), ("#6\n", Finish.STEP)]


@pytest.mark.parametrize("said_of_it", ["stop", "STOP", "stop_sequence", "", None])
async def test_a_word_for_any_stop_names_none(server: Scripted, engine: Any, said_of_it: str | None) -> None:
    policy = engine(prompts="text", logprobs=False)
    for key in ("stop_reason", "matched_stop"):
        server.replies = [unnamed("a5\nb6\n#6\n", **{key: said_of_it})]
        (reply,) = completed([await one(policy)])
        assert [(s.text, s.finish) for s in reply.steps] == [("a5\n", Finish.STEP)]
        (whole,) = completed([await one(policy, to_end=True)])
        assert [s.text for s in whole.steps] == ["a5\n", "b6\n", "#6\n"]
    named = {"stop_reason": "stop_sequence", "stop_sequence": "\n", "finish_reason": "STOP"}
    server.replies, server.bodies = [unnamed("a5\nb6", **named)], []
    (reply,) = completed([await one(engine(prompts="text", logprobs=False))])
    assert [(s.text, s.finish) for s in reply.steps] == [("a5\n", Finish.STEP)]
    assert len(server.bodies) == 1


@pytest.mark.parametrize("to_end", [False, True])
@pytest.mark.parametrize(
    ("text", "steps"), [("a5<eos>", ["a5"]), ("a5<eos>b\n#6\n", ["a5"]), ("<eos>", [""])]
)
async def test_as_text_an_end_of_text_that_is_left_in_ends_it(
    server: Scripted, engine: Any, text: str, steps: list[str], to_end: bool
) -> None:
    server.replies = [unnamed(text)]
    policy = engine(prompts="text", logprobs=False)
    (reply,) = completed([await one(policy, to_end=to_end)])
    assert [(s.text, s.finish) for s in reply.steps] == [(step, Finish.EOS) for step in steps]
    assert reply.steps[-1].token_ids.count(IDS["<eos>"]) == 1


async def test_as_text_a_prompt_and_its_answer_fit_the_context(server: Scripted, engine: Any) -> None:
    """The server says that it takes 64 tokens, and refuses what asks for more."""
    for prompts, reply in (("text", said("a5", reason="length")), ("tokens", STEP)):
        server.replies = [reply]
        assert completed([await one(engine(prompts=prompts), max_tokens=1000)])
    assert [body["max_tokens"] for body in server.bodies] == [57, 57]


async def test_as_text_what_is_not_counted_is_counted_here(server: Scripted, engine: Any) -> None:
    server.replies = [said("a5+1=6", stop="\n")]
    server.replies[0][2]["usage"] = {"prompt_tokens": 0, "completion_tokens": 0}
    (reply,) = completed([await one(engine(prompts="text"))])
    assert reply.usage.generated_tokens == len("a5+1=6\n")


@pytest.mark.parametrize("url", ["http://h/v1\x7f", "http://xn--/v1"])
def test_a_url_that_no_client_can_ask_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^engine\.base_url=.*: must be a URL such as"):
        OpenAIEngineConfig("m", url)
