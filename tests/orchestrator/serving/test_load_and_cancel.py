"""Limits, queues, keys and clients that leave: nothing is exceeded, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai
import psutil
import pytest

from orchestrator.backend import DirectBackend
from orchestrator.errors import ConfigError
from orchestrator.protocols import NO_REPLICA, Completion, Failure, GenerateRequest
from orchestrator.search.account import Limits
from orchestrator.serving.admission import Allowances
from orchestrator.serving.errors import ApiError
from orchestrator.serving.keys import Keys
from orchestrator.serving.settings import ServeSettings
from orchestrator.testing.fakes import FakeEngine, FakeVerifier
from tests.orchestrator.serving.served import Server, fake_served, running

pytestmark = pytest.mark.heavy

MESSAGES: Any = [{"role": "user", "content": "abca"}]
BODY: dict[str, Any] = {"model": "murmuration", "messages": MESSAGES}


@dataclass
class HeldEngine(FakeEngine):
    """A fake whose replies wait for ``go``; ``num_rows`` are those that wait now."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    num_rows: int = 0

    async def _reply(self, request: GenerateRequest) -> Completion | Failure:
        self.num_rows += 1
        try:
            await self.go.wait()
        finally:
            self.num_rows -= 1
        return await super()._reply(request)


def until(true: Callable[[], bool], seconds: float = 20.0) -> float:
    """Wait until a condition holds; return the seconds that it took."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < seconds
        time.sleep(0.005)
    return time.monotonic() - begun


def num_tasks(server: Server) -> int:
    """The tasks on the server's loop, without the one that counts."""
    return int(server.on_loop(lambda: len(asyncio.all_tasks()))) - 1


@contextmanager
def in_background(call: Callable[[], Any]) -> Iterator[list[Any]]:
    """Make a call in a thread inside the block; its result, or error, is in the list afterwards."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield results
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("streams", [False, True])
def test_a_client_that_leaves_frees_the_rows_at_once(streams: bool) -> None:
    engine = HeldEngine()
    with running(engine=engine) as server:
        before = num_tasks(server)
        with httpx2.Client(base_url=server.url, timeout=60, trust_env=False) as client:
            if streams:
                with client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as reply:
                    lines = reply.iter_lines()
                    next(lines)
                    until(lambda: engine.num_rows == 4)
            else:
                with pytest.raises(httpx2.ReadTimeout):
                    client.post("/v1/chat/completions", json=BODY, timeout=httpx2.Timeout(60, read=0.2))
                until(lambda: len(engine.requests) == 4)
        assert until(lambda: engine.num_rows == 0) < 1.0
        until(lambda: num_tasks(server) <= before)
        assert engine.released and server.on_loop(server.service.gauges)["rows_in_flight"] == 0
        assert server.on_loop(lambda: server.service.metrics.requests)["particle_filter", "cancelled"] == 1


def test_the_official_client_cancels_by_closing_its_stream() -> None:
    engine = HeldEngine()
    with running(engine=engine) as server:
        stream = server.openai().chat.completions.create(model="murmuration", messages=MESSAGES, stream=True)
        next(iter(stream))
        until(lambda: engine.num_rows == 4)
        stream.close()
        assert until(lambda: engine.num_rows == 0) < 1.0


def test_one_too_many_is_refused_with_the_time_to_wait() -> None:
    engine = HeldEngine()
    with running(fake_served(concurrency=1, max_queue=1), engine=engine) as server:
        client = server.openai()

        def ask() -> Any:
            return client.chat.completions.create(model="murmuration", messages=MESSAGES)

        with in_background(ask) as first, in_background(ask) as second:
            until(lambda: server.service.queue.num_waiting == 1 and engine.num_rows == 4)
            for streams in (False, True):  # a stream is refused before it begins
                with pytest.raises(openai.RateLimitError, match="max_queue") as refused:
                    client.chat.completions.create(
                        model="murmuration",
                        messages=MESSAGES,
                        stream=streams,  # type: ignore[call-overload]
                    )
                assert int(refused.value.response.headers["retry-after"]) >= 1
            server.loop.call_soon_threadsafe(engine.go.set)
        assert first[0].choices == second[0].choices


def test_limits_of_a_request_are_hard() -> None:
    engine, verifier = FakeEngine(), FakeVerifier()
    with running(engine=engine, verifier=verifier) as server:
        client = server.openai()
        for limits in ({"generated_tokens": 9}, {"reward_calls": 5}):
            reply = client.chat.completions.create(
                model="murmuration", messages=MESSAGES, extra_body={"search": {"limits": limits}}
            )
            search: Any = reply.model_extra["search"] if reply.model_extra else None
            ((name, most),) = limits.items()
            assert search["stopped_by"] == name
            assert search["usage"][name] <= most
    with running(engine=HeldEngine()) as server:
        begun = time.monotonic()
        reply = server.openai().chat.completions.create(
            model="murmuration", messages=MESSAGES, extra_body={"search": {"limits": {"seconds": 0.2}}}
        )
        search = reply.model_extra["search"] if reply.model_extra else None
        assert search["stopped_by"] == "seconds" and time.monotonic() - begun < 5
        assert reply.choices[0].message.content == "" and reply.choices[0].finish_reason == "length"


def test_the_servers_caps_clip_or_refuse() -> None:
    caps = ServeSettings(port=0, limits=Limits(generated_tokens=12)).limits
    served = fake_served()
    settings = ServeSettings(port=0, limits=caps)
    with running(fake_served(settings=settings, limits=served.limits)) as server:
        client = server.openai()
        reply = client.chat.completions.create(model="murmuration", messages=MESSAGES)
        search: Any = reply.model_extra["search"] if reply.model_extra else None
        assert search["stopped_by"] == "generated_tokens" and search["usage"]["generated_tokens"] <= 12
        with pytest.raises(
            openai.BadRequestError, match=r"must be at most 12 \(serve.limits.generated_tokens\)"
        ):
            client.chat.completions.create(
                model="murmuration",
                messages=MESSAGES,
                extra_body={"search": {"limits": {"generated_tokens": 13}}},
            )


def test_a_drain_lets_requests_finish_and_takes_no_more() -> None:
    engine = HeldEngine()
    with running(engine=engine) as server:
        client = server.openai()
        with in_background(
            lambda: client.chat.completions.create(model="murmuration", messages=MESSAGES)
        ) as done:
            until(lambda: engine.num_rows == 4)
            server.stop()
            until(lambda: server.service.is_closing)
            time.sleep(0.5)  # longer than the server takes to end where it does not wait
            with pytest.raises((openai.APIConnectionError, openai.InternalServerError)):
                server.openai().chat.completions.create(model="murmuration", messages=MESSAGES)
            server.loop.call_soon_threadsafe(engine.go.set)
        assert not isinstance(done[0], Exception), done[0]
        assert done[0].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("num_signals", [1, 2])
def test_a_drain_has_an_end(num_signals: int, streams: bool) -> None:
    """Also for a request that waits: each gets an error. A second signal ends it at once."""
    engine, drain_s = HeldEngine(), 0.3 if num_signals == 1 else 60.0
    with running(fake_served(drain_s=drain_s, concurrency=1), engine=engine) as server:
        client = server.openai()

        def ask() -> Any:
            reply = client.chat.completions.create(
                model="murmuration",
                messages=MESSAGES,
                stream=streams,  # type: ignore[call-overload]
            )
            return list(reply)

        with in_background(ask) as first, in_background(ask) as second:
            until(lambda: engine.num_rows == 4 and server.service.queue.num_waiting == 1)
            for _ in range(num_signals):
                server.stop()
    for (error,) in (first, second):
        assert isinstance(error, openai.APIError) and error.code == "shutting_down", error
        assert getattr(error, "status_code", None) == (None if streams else 503)
    assert engine.num_rows == 0


@dataclass
class Lost(FakeEngine):
    """An engine without a replica."""

    async def generate(self, requests: Any) -> list[Completion | Failure]:
        return [Failure(NO_REPLICA, "all are gone") for _ in requests]


def test_without_a_replica_requests_fail_in_openais_shape() -> None:
    with running(engine=Lost()) as server:
        with pytest.raises(openai.InternalServerError, match="no replica is left"):
            server.openai().chat.completions.create(model="murmuration", messages=MESSAGES)
        assert server.http().get("/healthz").status_code == 503


def test_an_error_inside_a_stream_has_openais_shape() -> None:
    with running(engine=FakeEngine(fail_on="abca")) as server:
        stream = server.openai().chat.completions.create(model="murmuration", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIError, match="the search failed: EngineError"):
            list(stream)
    raises = pytest.raises(openai.InternalServerError, match="EngineError: RuntimeError")
    with running(engine=FakeEngine(raise_on="abca")) as server, raises:
        server.openai().chat.completions.create(model="murmuration", messages=MESSAGES)


def test_health_waits_for_the_models() -> None:
    async def slowly() -> Any:
        await asyncio.sleep(0.2)
        return DirectBackend(FakeEngine(), FakeVerifier())

    with running(start=slowly) as server:
        assert server.http().get("/healthz").json() == {"status": "ready", "replicas": 2}


def test_metrics_count_what_was_done() -> None:
    with running() as server:
        reply = server.openai().chat.completions.create(model="murmuration", messages=MESSAGES)
        assert reply.usage is not None
        text = server.http().get("/metrics").text
    assert 'murmuration_requests_total{strategy="particle_filter",outcome="ok"} 1' in text
    assert f"murmuration_generated_tokens_total {reply.usage.completion_tokens}\n" in text
    assert "murmuration_rows_in_flight 0" in text


KEYS = ("first-key", "second-key")


def with_keys(**changes: Any) -> Any:
    return fake_served(api_keys_env="MURMURATION_KEYS", **changes)


def test_a_key_is_required_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    with running(with_keys(), keys=KEYS) as server:
        for key in KEYS:
            assert server.openai(key=key).chat.completions.create(model="murmuration", messages=MESSAGES)
        for key in ("first-ke", "first-key2", "none", "é"):
            reply = server.http().get("/v1/models", headers={"Authorization": f"Bearer {key}".encode()})
            assert reply.status_code == 401
            assert key not in reply.text and reply.json()["error"]["code"] == "invalid_api_key"
        for path in ("/v1/models", "/metrics"):
            assert server.http().get(path).status_code == 401
        assert server.http().get("/healthz").status_code == 200
    assert not any(key in caplog.text for key in KEYS)


def test_every_key_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(given: bytes, known: bytes) -> bool:
        compared.append(known)
        return given == known

    monkeypatch.setattr("orchestrator.serving.keys.hmac.compare_digest", compare)
    assert Keys(KEYS).holder("Bearer first-key") == 0
    assert len(compared) == len(KEYS)


def test_only_this_machine_may_connect_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("0.0.0.0", "::", "example.org", "10.0.0.1"):
        with pytest.raises(ConfigError, match=f"^serve.host={host}: without keys only this machine"):
            ServeSettings(host=host)
        assert ServeSettings(host=host, api_keys_env="MURMURATION_KEYS")
    for host in ("127.0.0.1", "localhost", "::1", "127.0.0.2"):
        assert ServeSettings(host=host)
    with pytest.raises(ConfigError, match=r"^serve.api_keys_env=MURMURATION_KEYS: this environment variable"):
        ServeSettings(api_keys_env="MURMURATION_KEYS").keys()
    monkeypatch.setenv("MURMURATION_KEYS", "a, b\nc")
    assert ServeSettings(api_keys_env="MURMURATION_KEYS").keys().holder("Bearer c") == 2


def test_a_key_has_its_own_concurrency() -> None:
    engine = HeldEngine()
    with running(with_keys(key_concurrency=1), engine=engine, keys=KEYS) as server:
        first, second = (server.openai(key=key) for key in KEYS)
        with in_background(lambda: first.chat.completions.create(model="murmuration", messages=MESSAGES)):
            until(lambda: engine.num_rows == 4)
            with pytest.raises(openai.RateLimitError, match="key_concurrency"):
                first.chat.completions.create(model="murmuration", messages=MESSAGES)
            with in_background(
                lambda: second.chat.completions.create(model="murmuration", messages=MESSAGES)
            ):
                until(lambda: engine.num_rows == 8)
                server.loop.call_soon_threadsafe(engine.go.set)


def test_the_allowance_of_a_key_is_never_exceeded() -> None:
    now = 0.0
    settings = ServeSettings(
        api_keys_env="K", key_tokens=100, key_window_s=60.0, limits=Limits(generated_tokens=60)
    )
    allowances, limits = Allowances(settings, clock=lambda: now), Limits(generated_tokens=60)
    with allowances.tokens(0, limits, stated=False) as (first, took):
        assert first.generated_tokens == 60
        with allowances.tokens(0, limits, stated=False) as (clipped, _):
            assert clipped.generated_tokens == 40  # what the first has not reserved
            with (
                pytest.raises(ApiError, match="0 of 100 tokens left"),
                allowances.tokens(0, limits, stated=False),
            ):
                pass
        with allowances.tokens(1, limits, stated=False) as (other, _):
            assert other.generated_tokens == 60
        took(50)
    with (
        pytest.raises(ApiError, match="50 of 100 tokens left") as refused,
        allowances.tokens(0, limits, stated=True),
    ):
        pass
    assert refused.value.retry_after == 60
    now = 61.0
    with allowances.tokens(0, limits, stated=True) as (again, _):
        assert again.generated_tokens == 60


async def storm(server: Server, num: int, at_once: int, share: float, seed: int) -> list[int]:
    """Stream requests, of which a share leaves at a random moment; return the tokens of the others."""
    chance, places, tokens = random.Random(seed), asyncio.Semaphore(at_once), list[int]()

    async def one(i: int, leaves_after: float | None) -> None:
        async with places:
            stream = await client.chat.completions.create(
                model="murmuration",
                messages=MESSAGES,
                seed=i,
                stream=True,
                stream_options={"include_usage": True},
                extra_body={"search": {"progress": i % 2 == 0}},
            )
            try:
                async with asyncio.timeout(leaves_after):
                    async for chunk in stream:
                        if not chunk.choices and chunk.usage is not None:
                            tokens.append(chunk.usage.completion_tokens)
            except TimeoutError:
                pass
            finally:
                await stream.close()

    async with server.async_openai() as client:
        leaving = [chance.random() * 0.03 if chance.random() < share else None for _ in range(num)]
        await asyncio.gather(*(one(i, seconds) for i, seconds in enumerate(leaving)))
    return tokens


def check_storm(num: int, at_once: int) -> None:
    engine, verifier = FakeEngine(latency=lambda _, __: 0.002), FakeVerifier()
    with running(fake_served(concurrency=256, max_queue=1000), engine=engine, verifier=verifier) as server:
        asyncio.run(storm(server, num // 5, at_once, 0.3, seed=0))
        until(lambda: server.service.rows.num == 0)
        engine.requests.clear(), verifier.requests.clear(), engine.released.clear()  # type: ignore[func-returns-value]
        tasks, memory = num_tasks(server), psutil.Process().memory_info().rss
        begun, counted = server.service.metrics.usage.generated_tokens, engine.usage.generated_tokens
        tokens = asyncio.run(storm(server, num, at_once, 0.3, seed=1))
        until(lambda: server.service.rows.num == 0 and server.service.queue.num_running == 0)
        until(lambda: num_tasks(server) <= tasks + 2)
        outcomes = server.on_loop(lambda: dict(server.service.metrics.requests))
        assert 0 < len(tokens) < num
        assert outcomes["particle_filter", "cancelled"] > 0
        spent = server.service.metrics.usage.generated_tokens - begun
        # What the engine made and no request has in its usage is at most one call of each that left.
        assert sum(tokens) <= spent <= engine.usage.generated_tokens - counted
        grown = psutil.Process().memory_info().rss - memory
        engine.requests.clear(), verifier.requests.clear()  # type: ignore[func-returns-value]
        assert grown < 64 * 2**20


@pytest.mark.heavy
def test_streams_that_leave_at_random_leave_nothing_behind() -> None:
    check_storm(num=60, at_once=30)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_200_streams_at_once_of_5000() -> None:
    check_storm(num=5000, at_once=200)


def test_completed_usages_sum_to_what_the_engine_counted() -> None:
    engine, verifier = FakeEngine(), FakeVerifier()
    with running(engine=engine, verifier=verifier) as server:
        tokens = asyncio.run(storm(server, 40, 16, 0.0, seed=2))
        assert len(tokens) == 40
        assert sum(tokens) == engine.usage.generated_tokens
        assert server.service.metrics.usage.reward_calls == verifier.usage.reward_calls
