"""A question that comes after earlier turns: what the policy and the verifier see of them, or a refusal."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import pytest

from orchestrator.errors import ConfigError, EngineError
from orchestrator.prompts.template import Template
from orchestrator.protocols import GenerateInChat, GenerateRequest, LoglikInChat, ModelInfo
from orchestrator.search.asking import Ledger
from orchestrator.search.controller import Controller
from orchestrator.search.requests import generate_requests, loglik_request, score_request
from orchestrator.search.session import Session
from orchestrator.search.strategy import Strategy
from orchestrator.storage.journal_lines import digest_of
from orchestrator.testing.fakes import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Problem, Sampling, Step, Trajectory, Turn, Usage
from strategies import Mixture, MixtureArm, Refine

PROBLEM = Problem("p", "and 2+2?", "4")
TALK = replace(PROBLEM, history=(Turn("system", "Be brief."), Turn("user", "1+1?"), Turn("assistant", "2")))


def request_of(problem: Problem) -> GenerateRequest:
    (request,) = generate_requests(problem, FakeTask(), [Trajectory()], [Sampling()], [7], to_end=False)
    return request


def test_the_policy_gets_the_turns() -> None:
    request = request_of(TALK)
    assert isinstance(request, GenerateInChat)
    assert request.history == TALK.history and request.question == "and 2+2?"
    reading = loglik_request(TALK, FakeTask(), Trajectory(), [Step("4\n", (1,))])
    assert isinstance(reading, LoglikInChat) and reading.history == TALK.history


def test_the_verifier_sees_the_question_with_its_history() -> None:
    scored = Trajectory((Step("4\n", (1,)),))
    assert score_request(TALK, scored).question == (
        "System: Be brief.\n\nUser: 1+1?\n\nAssistant: 2\n\nUser: and 2+2?"
    )
    assert score_request(PROBLEM, scored).question == "and 2+2?"


def test_a_request_without_turns_has_the_digest_of_earlier_releases() -> None:
    """Journals of earlier releases stay valid; turns make another digest."""
    plain = request_of(PROBLEM)
    assert type(plain) is GenerateRequest and plain.history == ()
    assert digest_of([plain]) == "57f07bf2cface65f2dd3c2cc739e7c57"
    assert digest_of([request_of(TALK)]) != digest_of([plain])


Ask = Callable[[Session], Awaitable[object]]
NONE = "its prompt holds no earlier turns (ModelInfo.takes_history), and this question has some"


async def generates(session: Session, policy: str = "engine") -> object:
    return await session.generate([Trajectory()], Sampling(max_tokens=8), to_end=True, policy=policy)


async def reads(session: Session) -> object:
    return await session.loglik(Trajectory(), [Step("a\n", (97, 10))], policy="draft")


async def runs_ahead(session: Session) -> object:
    session.expect([Sampling(max_tokens=8)], samples=[0])
    return None


async def has_read(session: Session) -> object:
    return await session.score([Trajectory((Step("a\n", (97, 10)),))])


class Reading(FakeVerifier):
    """A verifier that is given what ``draft`` has read."""

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(reads="draft")


@pytest.mark.parametrize(
    ("ask", "policy"),
    [
        (generates, "engine"),
        (partial(generates, policy="draft"), "draft"),
        (reads, "draft"),
        (runs_ahead, "engine"),
        (has_read, "draft"),
    ],
)
async def test_a_policy_whose_prompt_holds_no_turns_is_not_asked_without_them(ask: Ask, policy: str) -> None:
    problem = replace(TALK, question="abca")
    names = {name: FakeEngine(takes_history=name != policy) for name in ("engine", "draft")}
    verifier = Reading()
    ledger = Ledger(problem, names["engine"], verifier, FakeTask(), policies={"draft": names["draft"]})
    with pytest.raises(EngineError, match=rf"^policy={policy}: {re.escape(NONE)}"):
        await ask(Session(ledger))
    assert ledger.account.usage == Usage() and names[policy].requests == verifier.requests == []
    await ledger.release()
    names[policy].takes_history = True
    await ask(Session(Ledger(problem, names["engine"], verifier, FakeTask(), policies=names)))


TALKING = Refine(2, prompt=Template("Again."), carry="conversation", within="last")


@pytest.mark.parametrize("strategy", [TALKING, Mixture({"only": MixtureArm(TALKING)})])
def test_a_strategy_that_shows_turns_refuses_an_engine_that_takes_none(strategy: Strategy) -> None:
    Controller(strategy, FakeEngine(), FakeVerifier(), FakeTask())
    with pytest.raises(ConfigError, match=rf"^strategy={type(strategy).__name__}: shows earlier turns, and"):
        Controller(strategy, FakeEngine(takes_history=False), FakeVerifier(), FakeTask())
