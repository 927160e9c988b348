"""``verifier=http`` reads each format as the authors' code reads the model; the models run behind HTTP."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch
import transformers
import yaml

from actors.http_verifier.config import HttpVerifierConfig
from orchestrator.protocols import ScoreReply, ScoreRequest, VerifierBase
from orchestrator.testing import VERIFIER_LAWS, Law, VerifierCase, hold, name_of
from tests.actors.http_verifier.serving import Answer, Served, serving
from tests.actors.small_reward_models import QUESTION, REWARD_MODELS, STEPS

FORMATS = Path(__file__).parents[3] / "conf" / "verifier" / "format"
KINDS = {
    "trl": ("pooling", transformers.Qwen2ForTokenClassification),
    "math_shepherd": ("completions", transformers.MistralForCausalLM),
    "rlhflow": ("completions", transformers.LlamaForCausalLM),
    "outcome": ("classify", transformers.LlamaForSequenceClassification),
}
GATE = threading.Lock()  # torch runs one forward pass at a time here


@dataclass(frozen=True)
class Held:
    name: str
    folder: Path
    server: Served
    verifier: VerifierBase


def by_model(model: Any, *, cached: int = 0) -> Answer:
    """vLLM's interfaces, as far as the verifier uses them; ``cached`` tokens of a text have no outputs."""

    def logits(ids: list[int]) -> Any:
        with GATE, torch.inference_mode():
            return model(torch.tensor([ids])).logits[0].double()

    def answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
        ids = body["prompt"] if path == "/v1/completions" else body["input"]
        details = {
            "prompt_tokens": len(ids),
            "prompt_tokens_details": {"cached_tokens": min(cached, len(ids) - 1)},
        }
        rows = logits(ids)
        if path == "/pooling":
            assert (body["task"], body["use_activation"]) == ("token_classify", False)
            return {"data": [{"data": rows[min(cached, len(ids) - 1) :].tolist()}], "usage": details}
        if path == "/classify":
            assert body["use_activation"] is False
            return {"data": [{"probs": rows.tolist()}], "usage": details}
        listed = torch.log_softmax(rows[-1], -1)
        top = {f"token_id:{t}": float(listed[t]) for t in body["logprob_token_ids"]}
        return {"choices": [{"logprobs": {"top_logprobs": [top]}}], "usage": details}

    return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def held(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Held]:
    name: str = request.param
    folder, (api, kind) = tmp_path_factory.mktemp(name), KINDS[name]
    REWARD_MODELS[name].save(folder)
    with serving(by_model(kind.from_pretrained(folder).eval()), folder) as server:
        verifier = built(name, server, api)
        yield Held(name, folder, server, verifier)
        await verifier.close()


def built(name: str, server: Served, api: str) -> VerifierBase:
    file = "token_classification" if name == "trl" else name
    node = yaml.safe_load((FORMATS / f"{file}.yaml").read_text())
    settings = {key: node[key] for key in ("format", "options")}
    readout = REWARD_MODELS[name].readout
    verifier: VerifierBase = HttpVerifierConfig(
        "prm", server.url, api=api, readout=readout, **settings
    ).build()
    return verifier


pytestmark = [pytest.mark.heavy, pytest.mark.asyncio(loop_scope="module")]


@pytest.mark.parametrize("law", VERIFIER_LAWS, ids=name_of)
async def test_it_keeps_the_laws(held: Held, law: Law[VerifierCase]) -> None:
    await hold(law, VerifierCase(held.verifier, QUESTION, STEPS, impossible=("word " * 2000,)))


async def test_rewards_are_those_of_the_authors_code(held: Held) -> None:
    (reply,) = await held.verifier.score([ScoreRequest("p", QUESTION, STEPS, 0)])
    assert isinstance(reply, ScoreReply)
    expected = REWARD_MODELS[held.name].reference(held.folder, QUESTION, STEPS)
    assert [r.value for r in reply.rewards] == pytest.approx(expected, abs=1e-5)


async def test_what_the_server_has_cached_is_read_again_alone_and_counted(held: Held) -> None:
    """A server may have no outputs for tokens in its cache: rewards behind them need a request each."""
    if held.name != "trl":
        pytest.skip("each reward is the end of a text")
    model = KINDS["trl"][1].from_pretrained(held.folder).eval()
    request = ScoreRequest("p", QUESTION, STEPS, 0)
    (whole,) = await held.verifier.score([request])
    with serving(by_model(model, cached=10_000), held.folder) as server:
        verifier = built("trl", server, "pooling")
        server.asked.clear()
        (reply,) = await verifier.score([request])
        await verifier.close()
    assert isinstance(whole, ScoreReply) and isinstance(reply, ScoreReply)
    assert [r.log_odds for r in reply.rewards] == pytest.approx([r.log_odds for r in whole.rewards], abs=1e-5)
    assert len(server.asked) == len(STEPS), "the text, and each reward but the last one"
    assert reply.usage.reward_tokens == len(server.asked), "one of each text was not cached"
    assert reply.usage.cached_reward_tokens > 0
