"""The queue: who joins it is counted at once, before anything waits."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.backend import DirectBackend
from orchestrator.serving.admission import Queue
from orchestrator.serving.errors import ApiError
from orchestrator.serving.progress import Progress
from orchestrator.serving.query import read_chat
from orchestrator.serving.requests import ChatRequest
from orchestrator.serving.service import Loaded, Service, ended
from orchestrator.testing.fakes import FakeEngine, FakeVerifier
from tests.orchestrator.serving.served import fake_served


async def test_places_and_the_queue_are_counted_together() -> None:
    queue = Queue(num_places=1, max_queue=1)
    with queue.joined():
        async with queue.place():
            assert (queue.num_running, queue.num_waiting) == (1, 0)
            with queue.joined():
                assert (queue.num_running, queue.num_waiting) == (1, 1)
                full = pytest.raises(ApiError, match=r"1 searches run and 1 wait \(serve\.max_queue\)")
                with full as refused, queue.joined():
                    pass
                assert refused.value.status == 429 and refused.value.retry_after == 2
    assert (queue.num_running, queue.num_waiting) == (0, 0)


async def test_a_burst_is_refused_before_anything_waits() -> None:
    """A stream that is refused at once gets a 429: later it could but hold an error."""
    service = Service(fake_served(concurrency=1, max_queue=1))
    backend = DirectBackend(FakeEngine(latency=lambda _, __: 60.0), FakeVerifier())
    service.has(Loaded(backend, backend.verifier))
    body = {"model": "murmuration", "messages": [{"role": "user", "content": "abca"}], "stream": True}
    query = read_chat(ChatRequest.model_validate(body), service.served.offers, service.caps)
    burst = [asyncio.ensure_future(service.solve(query, 0, Progress(service.served.task))) for _ in range(5)]
    await asyncio.sleep(0)
    refused = [search.exception() for search in burst if search.done()]
    assert [error.status for error in refused if isinstance(error, ApiError)] == [429] * 3
    await ended(*burst)
    assert (service.queue.num_running, service.queue.num_waiting) == (0, 0)
