"""What a request is charged to its key: every token that was generated for it, also where it is cut off."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from orchestrator.backend import DirectBackend
from orchestrator.protocols import Completion, Failure, GenerateRequest
from orchestrator.search.account import Limits
from orchestrator.serving.errors import ApiError
from orchestrator.serving.progress import Progress
from orchestrator.serving.query import Query, read_chat
from orchestrator.serving.requests import ChatRequest
from orchestrator.serving.service import Loaded, Service, ended
from orchestrator.serving.settings import ServeSettings
from orchestrator.testing.fakes import FakeEngine, FakeVerifier
from orchestrator.types import Overhead
from tests.orchestrator.serving.served import ANSWERS, fake_served

BUDGET, MOST = 4, ANSWERS["max_tokens"]


class LastHeld(FakeEngine):
    """A fake that never replies to every fourth row; ``held`` is set once the others have their replies."""

    def __init__(self) -> None:
        super().__init__()
        self.num_rows, self.held = 0, asyncio.Event()

    async def _reply(self, request: GenerateRequest) -> Completion | Failure:
        self.num_rows += 1
        if self.num_rows % BUDGET == 0:
            self.held.set()
            await asyncio.Event().wait()
        return await super()._reply(request)


def service_of(engine: FakeEngine, key_tokens: int, concurrency: int = 64) -> Service:
    limits = Limits(generated_tokens=key_tokens)
    settings = ServeSettings(port=0, api_keys_env="K", key_tokens=key_tokens, limits=limits)
    service = Service(replace(fake_served(concurrency=concurrency), settings=settings))
    backend = DirectBackend(engine, FakeVerifier())
    service.has(Loaded(backend, backend.verifier))
    return service


def query_of(service: Service, *, progress: bool, seconds: float | None = None) -> Query:
    request = ChatRequest.model_validate({
        "model": "murmuration/best_of_n",
        "messages": [{"role": "user", "content": "abca"}],
        "search": {"budget": BUDGET, "progress": progress, "limits": {"seconds": seconds}},
    })  # fmt: skip
    return read_chat(request, service.served.offers, service.caps)


def left(service: Service, most: int) -> int:
    """The tokens that the key may still generate."""
    try:
        with service.allowances.tokens(0, Limits(generated_tokens=most), stated=False) as (limits, _):
            return limits.generated_tokens or 0
    except ApiError:
        return 0


async def cut_off(service: Service, engine: LastHeld, query: Query) -> None:
    """Cancel a search once all its answers but one are there."""
    engine.held.clear()
    progress = Progress(service.served.task, query.shows_progress)
    search = asyncio.ensure_future(service.solve(query, 0, progress))
    held = asyncio.ensure_future(engine.held.wait())
    await asyncio.wait({search, held}, return_when=asyncio.FIRST_COMPLETED)
    while not search.done() and query.shows_progress and not progress.take().get("answers"):
        await asyncio.sleep(0)
    await ended(search, held)


@pytest.mark.parametrize("progress", [True, False])
async def test_a_cancelled_request_is_charged_what_may_have_been_generated(progress: bool) -> None:
    engine = LastHeld()
    service = service_of(engine, 200)
    await cut_off(service, engine, query_of(service, progress=progress))
    answered = engine.usage.generated_tokens
    # With progress each answer is a call of its own, counted as it arrives; without, the call is one.
    charged = answered + MOST if progress else BUDGET * MOST
    assert answered > 0 and left(service, 200) == 200 - charged
    discarded = answered if progress else 0  # as far as it was counted
    assert f"murmuration_discarded_tokens_total {discarded}\n" in service.metrics.text({})


async def test_clients_that_leave_cannot_exceed_the_allowance() -> None:
    engine = LastHeld()
    service = service_of(engine, 200)
    for _ in range(8):
        await cut_off(service, engine, query_of(service, progress=True))
    assert left(service, 200) == 0
    assert 100 < engine.usage.generated_tokens <= 200


async def test_a_search_that_its_time_limit_cuts_is_charged_and_reports_what_it_discarded() -> None:
    engine = LastHeld()
    service = service_of(engine, 200)
    query = query_of(service, progress=True, seconds=0.05)
    result = await service.solve(query, 0, Progress(service.served.task))
    answered = engine.usage.generated_tokens
    assert result.stopped_by == "seconds" and result.usage.generated_tokens == 0
    assert result.overhead == Overhead(speculated_tokens=answered)
    assert left(service, 200) == 200 - answered - MOST


@pytest.mark.parametrize("wasted", [Overhead(retried_tokens=7), Overhead(speculated_tokens=7)])
async def test_overhead_is_charged(wasted: Overhead) -> None:
    engine = FakeEngine()
    service = service_of(engine, 200)
    query = query_of(service, progress=False)
    engine.in_vain[f"{query.problem.id}#1"] = wasted
    result = await service.solve(query, 0, Progress(service.served.task))
    assert result.overhead == wasted
    assert left(service, 200) == 200 - engine.usage.generated_tokens - 7


async def test_a_request_that_never_began_costs_nothing() -> None:
    engine = LastHeld()
    service = service_of(engine, 400, concurrency=1)
    query = query_of(service, progress=False)
    running, waiting = (
        asyncio.ensure_future(service.solve(query, holder, Progress(service.served.task)))
        for holder in (1, 0)
    )
    await engine.held.wait()
    await ended(running, waiting)
    assert left(service, 400) == 400
