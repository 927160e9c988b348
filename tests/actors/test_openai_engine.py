"""The openai engine where a server misbehaves; with a real one it is held to the engines' contract."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from actors.embedded.models import build_tokenizer
from actors.openai_config import OpenAIEngine
from orchestrator.errors import ConfigError
from orchestrator.protocols import Completion, Failure, Loglik, LoglikRequest
from orchestrator.types import Finish, Usage
from tests.actors.shared_vllm import Elsewhere
from tests.actors.small_models import ALPHABET, ask, completed

KEY = "MURMURATION_SCRIPTED_KEY"
Reply = tuple[int, dict[str, str], Any]


class Scripted:
    """A server on loopback whose replies a test writes: one a request, the last one for ever."""

    def __init__(self) -> None:
        self.replies: list[Reply | Callable[[dict[str, Any]], Reply]] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.num_open = self.most_open = 0
        self.delay = 0.0
        self.gate = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def next_reply(self, body: dict[str, Any]) -> Reply:
        with self.gate:
            self.bodies.append(body)
            self.times.append(time.monotonic())
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply(body) if callable(reply) else reply

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: object) -> None:
                return None

            def do_GET(self) -> None:
                outer.keys.append(self.headers.get("authorization"))
                if outer.keys[-1] == "Bearer wrong":
                    self._send(401, {}, {"error": {"message": "invalid key"}})
                else:
                    self._send(200, {}, {"data": [{"id": "m", "max_model_len": 64}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with outer.gate:
                    outer.num_open += 1
                    outer.most_open = max(outer.most_open, outer.num_open)
                time.sleep(outer.delay)
                status, headers, reply = outer.next_reply(body)
                with outer.gate:
                    outer.num_open -= 1
                self._send(status, headers, reply)

            def _send(self, status: int, headers: dict[str, str], reply: Any) -> None:
                data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        return Handler


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(ALPHABET).save_pretrained(folder)
    return str(folder)


@pytest.fixture
async def engine(server: Scripted, tokenizer_folder: str) -> Any:
    made: list[Any] = []

    def make(**knobs: Any) -> Any:
        knobs = {"tokenizer": tokenizer_folder, "max_wait_s": 0.3, **knobs}
        made.append(OpenAIEngine("m", server.url, **knobs).build())
        return made[-1]

    yield make
    for each in made:
        await each.close()


IDS = {c: i for i, c in enumerate(["<pad>", "<bos>", "<eos>", *sorted(set(ALPHABET))])}


def said(text: str, *, reason: str = "stop", stop: Any = None, eos: bool = False, **more: Any) -> Reply:
    """A reply with ``text`` as tokens and as text."""
    ids = [IDS[c] for c in text] + [IDS["<eos>"]] * eos
    choice = {
        "text": text,
        "token_ids": ids,
        "finish_reason": reason,
        "stop_reason": stop,
        "logprobs": {"token_logprobs": [-0.5] * len(ids)},
        **more,
    }
    usage = {"prompt_tokens": 7, "completion_tokens": len(ids), "prompt_tokens_details": {"cached_tokens": 4}}
    return 200, {}, {"choices": [choice], "usage": usage}


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
    busy = (429, {"retry-after": "0.2"}, {"error": {"message": "slow down"}})
    server.replies = [busy, (503, {}, b"<html>"), STEP]
    completed([await one(engine())])
    assert len(server.bodies) == 3
    assert server.bodies[0] == server.bodies[1] == server.bodies[2], "the same seed, and all else"
    assert server.times[1] - server.times[0] >= 0.2, "as long as the server asked for"


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
    server.delay, server.times = 0.0, []
    completed(await engine(requests_per_second=20).generate([ask(seed=s) for s in range(5)]))
    assert server.times[-1] - server.times[0] >= 0.14, "four intervals of 50 ms, as threads see them"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((200, {}, b"no json"), "no JSON"),
        ((200, {}, []), "no JSON object"),
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


async def test_as_text_the_server_must_say_what_ended_a_step(server: Scripted, engine: Any) -> None:
    status, headers, reply = said("a5")
    del reply["choices"][0]["stop_reason"]
    server.replies = [(status, headers, reply)]
    failure = await one(engine(prompts="text"))
    assert isinstance(failure, Failure)
    assert "does not say whether the step delimiter ended a step" in failure.message


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
    config = OpenAIEngine("m", server.url, tokenizer=tokenizer_folder, api_key_env=KEY)
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
        OpenAIEngine(**{"model": "m", "base_url": server.url, "tokenizer": tokenizer_folder, **knobs}).build()
    assert str(caught.value).startswith(line)
