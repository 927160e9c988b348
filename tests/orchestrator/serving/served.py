"""Real servers for the tests: uvicorn in a thread, on models that run in the server's own loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
from openai import AsyncOpenAI, OpenAI

import strategies
from orchestrator.backend import Backend, DirectBackend
from orchestrator.config.plan import Plan
from orchestrator.protocols import Engine, Task, Verifier
from orchestrator.search.account import Limits
from orchestrator.serving.composing import loaded
from orchestrator.serving.http import HttpServer, listen
from orchestrator.serving.keys import Keys
from orchestrator.serving.offers import Offer, Offers
from orchestrator.serving.service import Loaded, Served, Service
from orchestrator.serving.settings import ServeSettings
from orchestrator.testing.fakes import FakeEngine, FakeTask, FakeVerifier

assert strategies
SAMPLING = {"_target_": "orchestrator.Sampling", "temperature": 0.8, "top_p": 1.0, "max_tokens": 8}
ANSWERS = {**SAMPLING, "max_tokens": 24}


def _nodes(budget: int) -> dict[str, dict[str, Any]]:
    return {
        "particle_filter": {
            "_target_": "strategies.ParticleFilter", "num_particles": budget, "max_steps": 6,
            "sampling": SAMPLING, "resampling": "multinomial",
        },
        "best_of_n": {"_target_": "strategies.BestOfN", "num_samples": budget, "sampling": ANSWERS},
        "self_consistency": {
            "_target_": "strategies.SelfConsistency", "num_samples": budget, "sampling": ANSWERS,
            "wave_size": 0,
        },
        "astar": {
            "_target_": "strategies.AStar", "num_samples": budget, "max_steps": 6, "sampling": SAMPLING,
            "branching": 4,
        },
        "greedy": {"_target_": "strategies.Greedy", "max_tokens": 24},
    }  # fmt: skip


def fake_offers(left_out: Mapping[str, str] | None = None) -> Offers:
    """Five strategies with the limits of the fake task."""
    offers = {name: Offer(name, lambda budget, name=name: _nodes(budget)[name]) for name in _nodes(1)}  # type: ignore[misc]
    return Offers(offers, "particle_filter", left_out or {"hex": "needs another engine"})


def fake_served(task: Task | None = None, **changes: Any) -> Served:
    """What a server of fakes serves; ``changes`` are fields of ``Served`` or of its settings."""
    own = {k: v for k, v in changes.items() if k in Served.__dataclass_fields__}
    settings = {k: v for k, v in changes.items() if k not in own}
    made = Served(
        settings=ServeSettings(port=0, **settings),
        offers=fake_offers(),
        task=task or FakeTask(),
        budget=4,
        seed=0,
        limits=Limits(),
        concurrency=64,
    )
    return replace(made, **own)


@dataclass
class Server:
    """A server that listens, and its clients."""

    service: Service
    port: int
    loop: asyncio.AbstractEventLoop
    stop: Callable[[], None]
    connections: Callable[[], set[Any]]
    clients: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def openai(self, path: str = "/v1", key: str = "none") -> OpenAI:
        """The official client; it retries nothing, so that each status shows."""
        client = OpenAI(base_url=f"{self.url}{path}", api_key=key, max_retries=0, timeout=60)
        self.clients.append(client)
        return client

    def async_openai(self, key: str = "none") -> AsyncOpenAI:
        """The same, for an event loop; whoever takes it closes it."""
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)

    def http(self, **how: Any) -> httpx2.Client:
        """A plain client."""
        client = httpx2.Client(base_url=self.url, timeout=60, trust_env=False, **how)
        self.clients.append(client)
        return client

    def on_loop(self, call: Callable[[], Any]) -> Any:
        """Return what a function returns on the loop of the server."""

        async def made() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(made(), self.loop).result(60)


@contextmanager
def running(
    served: Served | None = None,
    engine: Engine | None = None,
    verifier: Verifier | None = None,
    *,
    plan: Plan | None = None,
    start: Callable[[], Any] | None = None,
    keys: tuple[str, ...] = (),
) -> Iterator[Server]:
    """Serve inside the block, on fakes unless there are models: of a plan, or of a coroutine of a backend."""
    served = served or fake_served()
    listening = listen("127.0.0.1", 0)
    ready, found, failures = threading.Event(), list[Any](), list[BaseException]()

    async def load() -> Loaded:
        if plan is not None:
            models = loaded(plan, await plan.cluster.start(plan.policies, plan.verifier.of_replicas))
        else:
            direct = DirectBackend(engine or FakeEngine(), verifier or FakeVerifier())
            backend: Backend = direct if start is None else await start()
            models = Loaded(backend, backend.verifier)
        asyncio.get_running_loop().call_soon(ready.set)
        return models

    async def serve() -> None:
        service = Service(served)
        server = HttpServer(service, Keys(keys), listening)
        found.extend((service, asyncio.get_running_loop(), server))
        await server.run(load())

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as failure:  # noqa: BLE001 - raised in the test
            failures.append(failure)
            ready.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(100)
    if failures:
        raise failures[0]
    service, loop, http = found
    server = Server(
        service,
        listening.getsockname()[1],
        loop,
        lambda: loop.call_soon_threadsafe(http.stop),
        lambda: set(http._server.server_state.connections),
    )
    try:
        _until_ready(server)
        yield server
    finally:
        for client in server.clients:
            client.close()
        if thread.is_alive():
            server.stop()
        thread.join(60)
        listening.close()
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def _until_ready(server: Server) -> None:
    with httpx2.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        while client.get("/healthz").status_code != 200:
            pass
