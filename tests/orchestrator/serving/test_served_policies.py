"""A server with several policies: a request's search asks them by name, and pays their prices."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.backend import DirectBackend
from orchestrator.config.policies import Policies
from orchestrator.search.account import Limits
from orchestrator.search.prices import Price
from orchestrator.serving.offers import Offer, Offers
from orchestrator.testing.fakes import FakeEngine, FakeVerifier
from tests.fake_plans import FakeEngineConfig
from tests.orchestrator.serving.served import fake_served, running

pytestmark = pytest.mark.heavy

BODY: dict[str, Any] = {"model": "murmuration", "messages": [{"role": "user", "content": "abca"}]}
TURNS = {
    "_target_": "tests.orchestrator.runs.test_policies_of_a_run.Alternating",
    "policies": ["draft", "judge"],
}


def test_a_request_asks_policies_by_name_and_releases_each() -> None:
    engine, draft = FakeEngine(), FakeEngine()
    price = Price(generated=1e6)
    served = fake_served(
        offers=Offers({"turns": Offer("turns", lambda budget: TURNS)}, "turns", {}),
        policies=Policies({"draft": FakeEngineConfig()}, {"judge": "engine"}, {"draft": price}),
        limits=Limits(cost=6.0),
    )

    async def start() -> DirectBackend:
        return DirectBackend(engine, FakeVerifier(), {"draft": draft})

    with running(served, start=start) as server:
        reply = server.http().post("/v1/chat/completions", json=BODY)
        assert reply.status_code == 200, reply.text
        assert reply.json()["search"]["stopped_by"] == "cost"
        assert 0 < draft.usage.generated_tokens <= 6 and engine.usage.generated_tokens > 6
        homes = [request.home for request in (*engine.requests, *draft.requests)]
        assert engine.released == draft.released == list(dict.fromkeys(homes))
