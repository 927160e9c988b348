"""A request's bounds and its progress are about answers: what a policy writes in a role is none."""

from __future__ import annotations

from typing import Any

from orchestrator.backend import DirectBackend
from orchestrator.protocols import GenerateRequest
from orchestrator.serving.offers import Offer, Offers
from orchestrator.serving.progress import Progress
from orchestrator.serving.query import read_chat
from orchestrator.serving.requests import ChatRequest
from orchestrator.serving.service import Loaded, Service
from orchestrator.text.task import TextTask
from orchestrator.types import RoleRecord
from tests.orchestrator.serving.served import ANSWERS, fake_served
from tests.scripted import ScriptedEngine

CRITIQUE = "Step 2 is wrong: see #99"
REFINE: dict[str, Any] = {
    "_target_": "strategies.Refine",
    "num_samples": 2,
    "sampling": ANSWERS,
    "critique_sampling": {**ANSWERS, "max_tokens": 128},
    "prompt": {"_target_": "orchestrator.Template", "text": "REVISE {question} {attempts} {notes}"},
    "feedback": "critique",
    "critique": {"_target_": "orchestrator.Template", "text": "CRITICISE {question} {attempts}"},
    "within": "last",
    "across": "majority",
}


def script(request: GenerateRequest, _: int) -> str:
    return CRITIQUE if request.question.startswith("CRITICISE") else "1\n2\n#42"


async def test_a_critique_is_neither_cut_nor_shown_as_an_answer() -> None:
    offers = Offers({"refine": Offer("refine", lambda _: REFINE)}, "refine", {})
    service = Service(fake_served(TextTask(answer_marker="#"), offers=offers))
    engine = ScriptedEngine(script)
    service.has(Loaded(DirectBackend(engine, None), None))
    body = {
        "model": "murmuration",
        "messages": [{"role": "user", "content": "abca"}],
        "max_tokens": 12,
        "stop": ["Step"],
        "search": {"progress": True},
    }
    query = read_chat(ChatRequest.model_validate(body), offers, service.caps)
    progress = Progress(service.served.task)
    result = await service.solve(query, 0, progress)
    assert [request.params.max_tokens for request in engine.requests] == [12, 128, 12]
    assert [line["answer"] for line in progress.take()["answers"]] == ["42", "42"]
    assert result.solution is not None
    said = [record.text for record in result.solution.history if isinstance(record, RoleRecord)]
    assert said == [CRITIQUE]
