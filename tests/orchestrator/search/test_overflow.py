"""Texts that a verifier's context has no room for: the search goes on among the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.errors import VerifierError
from orchestrator.protocols import OVERFLOW, Failure, ScoreReply, ScoreRequest
from orchestrator.search.asking import Ledger
from orchestrator.search.session import Session
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Finish, Problem, Step, Trajectory

ROOM = 12


class Narrow(FakeVerifier):
    """A verifier whose context has room for so many characters."""

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        replies = await super().score(requests)
        sizes = [len("".join((q.question, *q.steps))) for q in requests]
        return [Failure(OVERFLOW, "no room") if n > ROOM else r for n, r in zip(sizes, replies, strict=True)]


def session(**knobs: Any) -> Session:
    parts = {"engine": FakeEngine(), "verifier": Narrow(**knobs), "task": FakeTask()}
    return Session(Ledger(Problem("p", "abca", "abca"), **parts))


def written(*texts: str, finish: Finish = Finish.STEP) -> Trajectory:
    *steps, last = (Step(text, (1,)) for text in texts)
    return Trajectory((*steps, Step(last.text, (1,), finish=finish)))


@pytest.mark.parametrize("readout", ["per_step", "whole"])
async def test_a_long_text_has_the_reward_0_and_the_others_their_own(
    readout: str, caplog: pytest.LogCaptureFixture
) -> None:
    short, long = written("a\n", "b\n"), written("a\n", "b" * 20)
    with caplog.at_level(logging.WARNING):
        first, second = await session(readout=readout).score([short, long])
    assert first.steps[-1].reward is not None and first.steps[-1].reward.value == pytest.approx(0.9)
    values = [None if s.reward is None else s.reward.value for s in second.steps]
    assert values == ([0.0, 0.0] if readout == "per_step" else [None, 0.0])
    (record,) = caplog.records
    assert (record.event, record.problem, record.num_texts) == ("texts_unread", "p", 1)  # type: ignore[attr-defined]


async def test_a_first_step_without_room_is_worth_0_only_where_it_was_cut_off() -> None:
    """A whole first step without room means that the question is too long."""
    (cut,) = await session().score([written("a" * 20, finish=Finish.LENGTH)])
    assert cut.rewards[0].value == 0.0
    with pytest.raises(VerifierError, match="ContextOverflow: no room"):
        await session().score([written("a\n"), written("a" * 20)])


async def test_locked_rewards_stay_where_the_text_outgrows_the_context() -> None:
    own = session()
    (first,) = await own.score([written("a\n")])
    (second,) = await own.score([first.with_steps((*first.steps, Step("b" * 20, (1,))))])
    assert second.rewards[0] is first.rewards[0] and second.rewards[1].value == 0.0
