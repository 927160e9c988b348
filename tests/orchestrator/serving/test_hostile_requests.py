"""Requests that no client should send: a 4xx, one line that names the field, and nothing of the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.errors import EngineError
from orchestrator.serving.bodies import parse_body
from orchestrator.serving.errors import ApiError
from orchestrator.serving.offers import Decoding, decoded
from orchestrator.serving.replies import failed
from orchestrator.testing.fakes import FakeEngine
from tests.orchestrator.serving.served import Server, fake_served, running

GOOD: dict[str, Any] = {"model": "murmuration", "messages": [{"role": "user", "content": "abca"}]}
JSON = {"content-type": "application/json"}


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    served = fake_served(max_budget=16, max_request_bytes=100_000)
    with running(served, FakeEngine(takes_history=False)) as server:
        yield server


IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages=[]: must not be empty"),
    ({"messages": None}, "messages=None: must be a valid list"),
    ({"messages": "hello"}, "messages='hello': must be a valid list"),
    ({"messages": user("")}, "messages.0.content='': must not be empty"),
    ({"messages": user(" ")}, "messages.0.content=' ': must not be empty"),
    ({"messages": user(IMAGE)}, "messages.0.content.0.type='image_url': must be 'text'"),
    ({"messages": user(7)}, "messages.0.content=7: "),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role='robot': must be 'system', "),
    ({"messages": [{"role": "assistant", "content": "x"}]}, "messages.0.role='assistant': the last"),
    ({"messages": [*user("a"), {"role": "system", "content": "b"}, *user("c")]}, "messages.1.role='system'"),
    ({"messages": [*user("a"), *user("b")]}, "messages: the policy has no chat template"),
    ({"messages": [{"role": "user", "content": "x", "name": "bob"}]}, "messages.0.name: unknown key"),
    ({"model": "gpt-4"}, "model='gpt-4': no such model"),
    ({"model": "murmuration/particle_filters"}, "did you mean 'murmuration/particle_filter'?"),
    ({"model": "murmuration/hex"}, "model=hex: needs another engine"),
    ({"model": 3}, "model=3: must be a valid string"),
    ({"temperature": -1}, "temperature=-1: must be greater than or equal to 0"),
    ({"temperature": "hot"}, "temperature='hot': must be a valid number"),
    ({"temperature": True}, "temperature=True: must be a valid number"),
    ({"top_p": 0}, "top_p=0: must be greater than 0"),
    ({"max_tokens": 0}, "max_tokens=0: must be greater than or equal to 1"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens=6: differs from max_tokens"),
    ({"max_tokens": 10**30}, "max_tokens=1"),
    ({"seed": 2**63}, "seed=9223372036854775808: must be less than 9223372036854775808"),
    ({"seed": 1.5}, "seed=1.5: must be a valid integer"),
    ({"n": 0}, "n=0: must be greater than or equal to 1"),
    ({"n": 5}, "n=5: must be at most 4, the candidates of particle_filter with budget 4"),
    ({"n": 2, "model": "murmuration/greedy"}, "n=2: must be at most 1, the candidates of greedy"),
    ({"stop": [""]}, "stop.0='': must not be empty"),
    ({"stop": ["x"] * 17}, "must have at most 16 of them"),
    ({"stream_options": {"include_usage": True}}, "stream_options={'include_usage': True"),
    ({"stream": True, "stream_options": {"include_usages": True}}, "did you mean 'include_usage'?"),
    ({"logprobs": True}, "logprobs=True: cannot be honoured: leave it out"),
    ({"tools": [{"type": "function"}]}, "tools=[{'type': 'function'}]: cannot be honoured"),
    ({"response_format": {"type": "json_object"}}, "response_format="),
    ({"presence_penalty": 0.5}, "presence_penalty=0.5: cannot be honoured"),
    ({"temprature": 1}, "temprature: unknown key; did you mean 'temperature'?"),
    ({"temperature": 0.5, "model": "murmuration/greedy"}, "temperature=0.5: strategy greedy decodes at"),
    ({"search": {"budget": -1}}, "search.budget=-1: must be greater than or equal to 1"),
    ({"search": {"budget": 17}}, "search.budget=17: must be at most 16 (serve.max_budget)"),
    ({"search": {"budgt": 1}}, "search.budgt: unknown key; did you mean 'budget'?"),
    ({"search": {"strategy": "astra"}}, "search.strategy=astra: no such strategy; did you mean 'astar'?"),
    ({"search": {"strategy": "astar"}, "model": "murmuration/greedy"}, "name different strategies"),
    ({"search": {"limits": {"seconds": 0}}}, "search.limits.seconds=0: must be greater than 0"),
    ({"search": {"limits": {"cost": 1e-12}}}, "search.limits.cost=1e-12: cannot be honoured: no policy"),
    ({"search": {"limits": {"second": 1}}}, "search.limits.second: unknown key; did you mean 'seconds'?"),
    ({"search": {"problem_id": "x" * 300}}, "search.problem_id="),
    ({"search": {"knobs": {"resamplin": "x"}}}, "search.knobs.resamplin: unknown knob; did you"),
    ({"search": {"knobs": {"resampling": "none"}}}, "search.knobs.resampling=none: must be one of"),
    ({"search": {"knobs": {"num_particles": 4}}}, "search.knobs.num_particles=4: is set by search.budget"),
    ({"search": {"knobs": {"max_steps": 10**9}}}, "search.knobs.max_steps=1000000000: must be a number"),
    ({"search": {"knobs": {"_target_": "os.system"}}}, "search.knobs._target_='os.system': is no knob"),
    ({"search": {"knobs": {"sampling": {"_target_": "os.system"}}}}, "search.knobs.sampling._target_="),
    ({"search": {"knobs": {"sampling": 3}}}, "search.knobs.sampling=3: must be keys below it"),
    ({"search": {"knobs": {"resampling": "${oc.env:HOME}"}}}, "${oc.env:HOME}': must be a plain value"),
    ({"search": {"knobs": {"sampling": {"temperature": -1.0}}}}, "search.knobs.sampling.temperature=-1.0"),
    ({"search": {"knobs": {"sampling": {"temperature": 1e-320}}}}, "must be 0, or at least 1e-06 in size"),
    ({"search": {"knobs": {"sampling": {"temperature": 1e300}}}}, "temperature=1e+300: must be a number"),
    ({"search": {"knobs": {"x" * 9_000: 1}}}, "xxx: unknown knob; known: num_particles"),
    ({"search": {"knobs": {"max_steps": True}}}, "search.knobs.max_steps=True: must be a whole number"),
    ({"search": {"knobs": []}}, "search.knobs=[]: must be an object"),
    ({"search": None}, "search=None: must be an object"),
    ({"search": {"limits": {"seconds": -1}}}, "search.limits.seconds=-1: must be greater than 0"),
    ({"search": {"limits": {"generated_tokens": 1.5}}}, "generated_tokens=1.5: must be a valid integer"),
    ({"search": {"progress": 1}}, "search.progress=1: must be a valid boolean"),
    ({"temperature": 1e-320}, "temperature=1e-320: must be 0, or at least 1e-06 in size"),
    ({"seed": -(2**63) - 1}, "seed=-9223372036854775809: must be greater than"),
    ({"n": True}, "n=True: must be a valid integer"),
    ({"stop": "x" * 257}, "must have at most 256 characters"),
    ({"stop": 7}, "stop=7: must be a text or a list"),
    ({"stop": [None]}, "stop.0=None: must be a valid string"),
    ({"user": 7}, "user=7: must be a valid string"),
    ({"stream": "true"}, "stream='true': must be a valid boolean"),
    ({"stream": True, "stream_options": "x"}, "stream_options='x': must be an object"),
    ({"messages": user(None)}, "messages.0.content=None: must be a text or a list"),
    ({"messages": user(["abca"])}, "messages.0.content.0='abca': must be an object"),
    ({"messages": user([{"type": "input_audio", "input_audio": {}}])}, "type='input_audio': must be 'text'"),
    ({"messages": [{"role": "user"}]}, "messages.0.content: must be given"),
    ({"messages": [None]}, "messages.0=None: must be an object"),
    ({"messages": [{"role": "tool", "content": "x"}, *user("a")]}, "messages.0.role='tool': must be 'sys"),
    ({"model": ""}, "model='': no such model"),
    ({"model": "murmuration/../greedy"}, "no such model; did you mean 'murmuration/greedy'?"),
    # Keys that are no names of Python, among them those of pydantic's own places.
    ({"": 1}, "'': unknown key; known: model, "),
    ({"a b": 1}, "a b: unknown key"),
    ({"str": 1}, "str: unknown key"),
    ({"a\nb": 1}, "'a\\nb': unknown key"),
    ({"x" * 9_000: 1}, "xxx': unknown key"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "message"), FIELDS, ids=lambda value: str(value)[:60])
def test_a_field_that_cannot_be_honoured_is_named(
    server: Server, fields: dict[str, Any], message: str
) -> None:
    reply = server.http().post("/v1/chat/completions", json={**GOOD, **fields})
    error = reply.json()["error"]
    assert reply.status_code in (400, 404), error
    assert message in error["message"]
    assert error["type"] in ("invalid_request_error", "not_found_error")
    assert "\n" not in error["message"] and len(error["message"]) < 700
    assert not any(word in error["message"] for word in ("Traceback", "site-packages", ".py", "pydantic"))


def test_decoding_reaches_what_a_strategy_samples() -> None:
    """Steps, whole samples or canvases; what a strategy does not have is refused by name."""
    canvas = {"denoising": {"temperature": 0.9, "top_p": None}}
    assert decoded(canvas, Decoding(0.3, 0.5), "hex") == {"denoising": {"temperature": 0.3, "top_p": 0.5}}
    assert decoded(canvas, Decoding(), "hex") == canvas
    with pytest.raises(ApiError, match=r"top_p=0\.5: cannot be honoured by strategy plain"):
        decoded({"sampling": {"temperature": 0.9}}, Decoding(None, 0.5), "plain")


BODIES: list[tuple[bytes, int, str]] = [
    (b"x" * 200_000, 413, "at most 100,000 bytes"),
    (b"", 400, "the body is no JSON"),
    (b"not json", 400, "the body is no JSON"),
    (b"[]", 400, "expected an object"),
    (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, 400, "nested too deeply"),
    (b'{"messages": ' + b"[" * 300 + b"]" * 300 + b"}", 400, "nested too deeply"),
    (b'{"temperature": NaN}', 400, "NaN is no number of JSON"),
    (b'{"temperature": Infinity}', 400, "Infinity is no number of JSON"),
    (b'{"temperature": 1e999}', 400, "is too large a number"),
    (b"\xff\xfe{}", 400, "no UTF-8"),
    (json.dumps({**GOOD, "messages": user("a\x00b")}).encode(), 400, "messages.0.content: holds a null byte"),
    (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400, "messages.0.content: holds half a"),
    (b'{"\\udfff": 1}', 400, "half a surrogate pair"),
]


@pytest.mark.parametrize(("body", "status", "message"), BODIES, ids=lambda value: repr(value)[:40])
def test_a_body_that_is_no_request(server: Server, body: bytes, status: int, message: str) -> None:
    reply = server.http().post("/v1/chat/completions", content=body, headers=JSON)
    assert reply.status_code == status
    assert message in reply.json()["error"]["message"]


ALIKE: list[dict[str, Any]] = [
    {"n": None, "stop": [], "user": None, "temperature": None, "stream_options": None, "seed": None},
    {"seed": -1},
    {"temperature": 0, "n": 2, "model": "murmuration/best_of_n"},
    {"max_tokens": 50, "max_completion_tokens": 50},
    {"stop": ["q"] * 5},
    {"messages": user([{"type": "text", "text": "ab"}, {"type": "text", "text": "ca"}])},
    {"messages": [{"role": "user", "content": "abca", "name": None, "tool_calls": [], "refusal": None}]},
    {"logprobs": False, "tools": [], "frequency_penalty": 0.0, "response_format": {"type": "text"}},
    {"search": {"budget": None, "strategy": None, "problem_id": "../../etc/passwd"}},
]


@pytest.mark.parametrize("fields", ALIKE, ids=lambda value: str(value)[:60])
def test_what_requests_nothing_unusual_is_served(server: Server, fields: dict[str, Any]) -> None:
    reply = server.http().post("/v1/chat/completions", json={**GOOD, **fields})
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"][0]["message"]["content"]


def test_a_large_body_is_refused_before_it_is_read(server: Server) -> None:
    def forever() -> Iterator[bytes]:
        for _ in range(1000):
            yield b"x" * 10_000

    reply = server.http().post("/v1/chat/completions", content=forever(), headers=JSON)
    assert reply.status_code == 413


def test_only_json_is_a_request(server: Server) -> None:
    """A page of another site can send other types without asking first."""
    reply = server.http().post(
        "/v1/chat/completions", content=json.dumps(GOOD), headers={"content-type": "text/plain"}
    )
    assert reply.status_code == 415


def test_another_sites_name_is_refused(server: Server) -> None:
    """A name that was rebound to this machine is not the server's."""
    reply = server.http().get("/v1/models", headers={"host": "evil.example"})
    assert reply.status_code == 400
    assert "access-control-allow-origin" not in server.http().get("/v1/models").headers


ADDRESSES = [
    ("POST", "/v1/nothing", 404, "POST /v1/nothing: Not Found"),
    ("POST", "/docs", 404, "Not Found"),
    ("POST", "/openapi.json", 404, "Not Found"),
    ("POST", "/v1/chat/completions/", 404, "Not Found"),
    ("POST", "/v1/astra/chat/completions", 400, "path=astra: no such strategy; did you mean 'astar'?"),
    ("POST", "/v1/..%2f/chat/completions", 404, "Not Found"),
    ("POST", "/v1/%2e%2e/chat/completions", 400, "path=..: no such strategy"),
    ("POST", "/v1/a%00b/chat/completions", 400, "path=a\\x00b: no such strategy"),
    ("GET", "/v1/models/..%2f..%2fetc", 404, "model='../../etc': no such model"),
    ("GET", "/v1/chat/completions", 405, "Method Not Allowed"),
    ("DELETE", "/v1/models", 405, "Method Not Allowed"),
    ("OPTIONS", "/v1/models", 405, "Method Not Allowed"),
    ("BREW", "/", 400, "this is no HTTP request"),
]


@pytest.mark.parametrize(("method", "path", "status", "message"), ADDRESSES)
def test_an_address_that_is_none(server: Server, method: str, path: str, status: int, message: str) -> None:
    reply = server.http().request(method, path, json=GOOD)
    assert reply.status_code == status
    assert message in reply.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/models", "/metrics"])
def test_a_head_is_a_get_without_a_body(server: Server, path: str) -> None:
    reply = server.http().head(path)
    assert reply.status_code == 200 and reply.content == b""


@pytest.mark.parametrize("prompt", [[1, 2, 3], ["a", "b"], "", [], None])
def test_a_prompt_is_one_text(server: Server, prompt: Any) -> None:
    reply = server.http().post("/v1/completions", json={"model": "murmuration", "prompt": prompt})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith("prompt")


def test_the_server_still_answers(server: Server) -> None:
    assert server.http().post("/v1/chat/completions", json=GOOD).status_code == 200
    assert server.on_loop(server.service.gauges)["rows_in_flight"] == 0


def test_a_conversation_without_room_is_the_clients_mistake() -> None:
    message = "9 tokens; the model's context has room for 8"
    error = failed(EngineError(f"ContextOverflow: {message}"))
    assert (error.status, error.code) == (400, "context_length_exceeded") and message in error.message
    assert failed(EngineError("ValueError: x")).status == 500


def test_texts_are_checked_wherever_they_are() -> None:
    assert parse_body(b'{"a": {"b": ["x", {"c": "y"}]}}') == {"a": {"b": ["x", {"c": "y"}]}}
    with pytest.raises(ApiError, match=r"a\.b\.1\.c"):
        parse_body(b'{"a": {"b": ["x", {"c": "\\u0000"}]}}')
