"""The bases of engines and verifiers: one method to write, and a default for the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from actors.pool.replica import Replica
from orchestrator.protocols import (
    Completion,
    EngineBase,
    Failure,
    GenerateRequest,
    LoglikRequest,
    ModelBase,
    ModelInfo,
    ScoreReply,
    ScoreRequest,
    VerifierBase,
)
from orchestrator.types import Overhead, Sampling, Usage


class Smallest(EngineBase):
    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        return [Completion((), Usage()) for _ in requests]


class SmallestVerifier(VerifierBase):
    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        return [ScoreReply((), Usage()) for _ in requests]


@pytest.mark.parametrize("model", [Smallest(), SmallestVerifier()])
async def test_one_method_is_enough(model: ModelBase) -> None:
    assert model.info == ModelInfo(batch_invariant=False, sampler="step", readout="per_step")
    assert (model.healthy, model.progress, dict(model.template_notes)) == (True, None, {})
    await model.close()


async def test_an_engine_that_says_nothing_tells_no_likelihoods_and_wastes_nothing() -> None:
    engine = Smallest()
    replies = await engine.loglik([LoglikRequest("p", "q", "", (), ((1,),))] * 2)
    assert replies == [Failure("EngineError", "Smallest reports no likelihoods")] * 2
    assert await engine.release("p") == Overhead()


@pytest.mark.parametrize("base", [EngineBase, VerifierBase])
def test_the_one_method_must_be_there(base: type[Any]) -> None:
    with pytest.raises(TypeError, match="abstract method"):
        base()


class Stranger:
    """It has the method, and none of the defaults."""

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        return []


def test_a_replica_refuses_what_is_neither() -> None:
    replica = Replica(Stranger, "node", lambda: None)
    replica._make()
    assert str(replica._error) == "TypeError: Stranger derives from neither EngineBase nor VerifierBase"
    assert asyncio.run(replica.release("p")) == Overhead()


def test_an_answer_that_a_prompt_quotes_from_an_attempt_is_an_answer() -> None:
    r"""What a task's question shows is a placeholder; a prompt in its place quotes what models wrote."""
    asked = GenerateRequest("", r"An attempt: \boxed{x+y}", "", (), Sampling(), 0, "\n", r"\boxed")
    assert not asked.answered_by(r"So \boxed{x+y}.")
    assert replace(asked, quotes=True).answered_by(r"So \boxed{x+y}.")
    assert not replace(asked, quotes=True, instruction=r"End with \boxed{x+y}.").answered_by(
        r"So \boxed{x+y}."
    )
