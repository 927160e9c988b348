"""A question that comes after earlier turns: what the policy and the verifier see of them."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.protocols import GenerateInChat, GenerateRequest, LoglikInChat
from orchestrator.search.requests import generate_requests, loglik_request, score_request
from orchestrator.storage.journal_lines import digest_of
from orchestrator.testing.fakes import FakeTask
from orchestrator.types import Problem, Sampling, Step, Trajectory, Turn

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
