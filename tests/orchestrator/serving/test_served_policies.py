"""A server with several policies: a request's search asks them by name, and pays their prices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from orchestrator.backend import DirectBackend
from orchestrator.config.policies import Policies
from orchestrator.protocols import ModelInfo
from orchestrator.search.account import Limits
from orchestrator.search.prices import Price
from orchestrator.serving.offers import Offer, Offers
from orchestrator.testing.fakes import FakeEngine, FakeVerifier
from tests.fake_plans import FakeEngineConfig
from tests.orchestrator.serving.served import ANSWERS, fake_offers, fake_served, running

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


@dataclass
class Asking(FakeVerifier):
    """A verifier that is given what ``draft`` has read."""

    @property
    def info(self) -> ModelInfo:
        return replace(super().info, reads="draft")


LACKS = "has no chat template: one user message, "
TALK = [{"role": "system", "content": "Copy."}, *BODY["messages"]]
CHAIN = {
    "_target_": "strategies.Refine", "num_samples": 2, "within": "last", "carry": "conversation",
    "prompt": {"_target_": "orchestrator.prompts.template.Template", "text": "Again."},
    "sampling": ANSWERS,
}  # fmt: skip


def nodes(name: str) -> Offer:
    of_fakes = fake_offers().all
    made = {"turns": TURNS, "chain": CHAIN}
    return of_fakes[name] if name in of_fakes else Offer(name, lambda budget: made[name])


@pytest.mark.parametrize(
    ("name", "lacks", "verifier", "messages", "refusal"),
    [
        ("self_consistency", "draft", FakeVerifier(), TALK, None),
        ("self_consistency", "engine", FakeVerifier(), TALK, f"messages: the policy {LACKS}"),
        ("turns", "draft", FakeVerifier(), TALK, f"messages: policy=draft, which turns asks, {LACKS}"),
        ("turns", "draft", FakeVerifier(), TALK[1:], None),
        ("best_of_n", "draft", Asking(), TALK, f"messages: policy=draft, which best_of_n asks, {LACKS}"),
        ("self_consistency", "draft", Asking(), TALK, None),
        ("chain", "draft", FakeVerifier(), TALK[1:], None),
        ("chain", "engine", FakeVerifier(), TALK[1:], "search.strategy='chain': shows earlier turns, and"),
    ],
)
def test_turns_are_for_policies_that_take_them(
    name: str, lacks: str, verifier: FakeVerifier, messages: Any, refusal: str | None
) -> None:
    engines = {each: FakeEngine(takes_history=each != lacks) for each in ("engine", "draft")}
    served = fake_served(
        offers=Offers({name: nodes(name)}, name, {}),
        policies=Policies({"draft": FakeEngineConfig()}, {"judge": "engine"}),
    )

    async def start() -> DirectBackend:
        return DirectBackend(engines["engine"], verifier, {"draft": engines["draft"]})

    with running(served, start=start) as server:
        reply = server.http().post("/v1/chat/completions", json={**BODY, "messages": messages})
        assert reply.status_code == (200 if refusal is None else 400), reply.text
        if refusal is not None:
            assert reply.json()["error"]["message"].startswith(refusal)
