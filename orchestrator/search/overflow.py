"""What a search does with texts that a model's context has no room for."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from msgspec import UNSET

from orchestrator.emit import emit
from orchestrator.protocols import (
    OVERFLOW,
    Completion,
    Failure,
    GenerateRequest,
    Readout,
    Reasons,
    ScoreReply,
    ScoreRequest,
)
from orchestrator.types import Reward, Trajectory, Usage

NO_ROOM = Completion((), Usage())
UNREAD = ScoreReply((), Usage(), (Reasons(OVERFLOW),))


def fitting(
    method: Callable[[Sequence[GenerateRequest]], Awaitable[list[Completion | Failure]]],
) -> Callable[[Sequence[GenerateRequest]], Awaitable[list[Completion | Failure]]]:
    """Return the engine's method for requests with ``room``: where a prompt has none, the reply is empty.

    The journal holds it like any other, so that a resumed search continues in the same way.
    """

    async def generate(requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        replies = await method(requests)
        if all(q.room is UNSET for q in requests):
            return replies
        return [NO_ROOM if is_overflow(r) else r for r in replies]

    return generate


def sparing(
    method: Callable[[Sequence[ScoreRequest]], Awaitable[list[ScoreReply | Failure]]],
    trajectories: Sequence[Trajectory],
    readout: Readout,
) -> Callable[[Sequence[ScoreRequest]], Awaitable[list[ScoreReply | Failure]]]:
    """Return the verifier's method: a text that its context has no room for has the reward 0.

    One text that never ends must not end the search among the others. Where a whole first step has no room,
    the question is too long: the Failure is unchanged. The journal holds the reply like any other.
    """
    is_long = [t.truncated or len(t.steps) > 1 for t in trajectories]

    async def score(requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        replies = await method(requests)
        if not any(map(is_overflow, replies)):
            return replies
        spared = [is_overflow(r) and long for r, long in zip(replies, is_long, strict=True)]
        _report(requests[0].problem_id, sum(spared))
        rows = zip(requests, replies, spared, strict=True)
        return [_worth_nothing(q, readout) if is_spared else reply for q, reply, is_spared in rows]

    return score


def is_overflow(reply: object) -> bool:
    """Return whether a reply is the Failure of a text that a model's context has no room for."""
    return isinstance(reply, Failure) and reply.type == OVERFLOW


def _report(problem: str, num_texts: int) -> None:
    if num_texts:
        text = "problem %s: the verifier's context has no room for %d texts: their reward is 0"
        fields = {"problem": problem, "num_texts": num_texts}
        emit("texts_unread", text, problem, num_texts, level=logging.WARNING, **fields)


def _worth_nothing(request: ScoreRequest, readout: Readout) -> ScoreReply:
    num_new = 1 if readout == "whole" else len(request.steps) - request.num_locked
    return ScoreReply((Reward.from_value(0.0),) * num_new, Usage())
