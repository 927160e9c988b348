"""``check_verifier`` finds verifiers that break a law: for each law there is one that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.protocols import Failure, ModelInfo, ScoreReply, ScoreRequest
from orchestrator.testing import (
    VERIFIER_LAWS,
    FakeVerifier,
    Law,
    VerifierCase,
    check_verifier,
    hold,
    name_of,
    verifiers,
)
from orchestrator.types import Reward

Replies = list[ScoreReply | Failure]
CASE: dict[str, Any] = {
    "question": "abca",
    "steps": ("a\n", "b\n", "c\n"),
    "wrong": ("a\n", "c\n", "a\n"),
    "impossible": ("too long",),
}


class Broken(FakeVerifier):
    """A fake that cannot read one step, and whose requests or replies are changed on their way."""

    def __init__(
        self,
        ask: Callable[[int, ScoreRequest], ScoreRequest] = lambda i, r: r,
        answer: Callable[[Sequence[ScoreRequest], Replies], Replies] = lambda asked, replies: replies,
        **knobs: Any,
    ) -> None:
        super().__init__(**knobs)
        self.ask, self.answer = ask, answer

    async def score(self, requests: Sequence[ScoreRequest]) -> Replies:
        replies = await super().score([self.ask(i, r) for i, r in enumerate(requests)])
        failed = [r.steps == ("too long",) for r in requests]
        pairs = zip(failed, replies, strict=True)
        return self.answer(requests, [Failure("TooLong", "too long") if f else r for f, r in pairs])


def each(change: Callable[[ScoreRequest, ScoreReply], ScoreReply]) -> Any:
    """Replies of which each is changed."""

    def answer(requests: Sequence[ScoreRequest], replies: Replies) -> Replies:
        pairs = zip(requests, replies, strict=True)
        return [change(r, reply) if isinstance(reply, ScoreReply) else reply for r, reply in pairs]

    return answer


def moved(by: Callable[[ScoreRequest], float]) -> Any:
    """Rewards whose log-odds are moved by a number that a request decides."""
    return each(
        lambda r, reply: replace(reply, rewards=tuple(Reward(x.log_odds + by(r)) for x in reply.rewards))
    )


def counted(**changes: int) -> Any:
    return each(lambda r, reply: replace(reply, usage=replace(reply.usage, **changes)))


class Unsteady(Broken):
    """Its description changes once it has been asked."""

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(readout="whole" if self.requests else "per_step")


class Raising(Broken):
    async def score(self, requests: Sequence[ScoreRequest]) -> Replies:
        if any(r.steps == ("too long",) for r in requests):
            raise RuntimeError("too long")
        return await super().score(requests)


BROKEN: list[tuple[Law[VerifierCase], Callable[[], FakeVerifier], str]] = [
    (verifiers.its_info_is_legal_and_never_changes, Unsteady, "info was ModelInfo"),
    (
        verifiers.every_request_has_one_reply,
        lambda: Broken(answer=lambda asked, replies: replies[:-1]),
        "1 requests got 0 replies",
    ),
    (
        verifiers.every_new_step_has_one_reward,
        lambda: Broken(ask=lambda i, r: replace(r, num_locked=0)),
        "got 2 rewards, and must get 1",
    ),
    (
        verifiers.every_new_step_has_one_reward,
        lambda: Broken(ask=lambda i, r: replace(r, num_locked=0), readout="whole", answer=each(
            lambda r, reply: replace(reply, rewards=reply.rewards * 2))),
        "got 2 rewards, and must get 1",
    ),
    (verifiers.rewards_differ, lambda: Broken(reward=lambda q, s: 0.5), "all steps got the log-odds"),
    (
        verifiers.a_reward_depends_on_its_request_alone,
        lambda: Broken(answer=lambda asked, replies: moved(lambda r: 1e-9 * len(asked))(asked, replies)),
        "alone, and",
    ),
    (
        verifiers.replies_come_in_the_order_of_the_requests,
        lambda: Broken(answer=lambda asked, replies: sorted(replies, key=repr)),
        "in the reverse order",
    ),
    (
        verifiers.locked_steps_change_no_reward,
        lambda: Broken(answer=moved(lambda r: 0.1 * r.num_locked)),
        "step by step",
    ),
    (
        verifiers.a_reward_depends_on_its_request_alone,
        lambda: Broken(answer=moved(lambda r: 0.1 * len(r.home))),
        "with another home",
    ),
    (
        verifiers.a_reward_does_not_depend_on_later_steps,
        lambda: Broken(answer=moved(lambda r: 0.1 * len(r.steps))),
        "with a third step",
    ),
    (
        verifiers.a_wrong_step_is_worth_less,
        lambda: Broken(reward=lambda question, steps: 0.1 + 0.8 * (steps[-1] == "a\n")),
        "for wrong steps",
    ),
    (
        verifiers.a_wrong_step_is_worth_less,
        lambda: Broken(answer=moved(lambda r: -1.0 * (r.steps[1:2] == ("c\n",)))),
        "before a wrong step",
    ),
    (
        verifiers.an_empty_step_has_a_reward,
        lambda: Broken(answer=each(lambda r, reply: reply if r.steps[-1] else replace(reply, rewards=()))),
        "an empty step got 0 rewards",
    ),
    (
        verifiers.usage_counts_what_was_read,
        lambda: Broken(answer=counted(reward_tokens=0)),
        "tokens read must be above 0",
    ),
    (
        verifiers.usage_counts_what_was_read,
        lambda: Broken(answer=counted(prompt_tokens=5)),
        "with tokens of a policy",
    ),
    (verifiers.a_failure_is_a_value_in_its_place, Raising, "score raised RuntimeError: too long"),
    (
        verifiers.a_failure_is_a_value_in_its_place,
        lambda: Broken(answer=lambda asked, replies: next(
            ([r] * len(replies) for r in replies if isinstance(r, Failure)), replies)),
        "Failure, Failure, Failure",
    ),
]  # fmt: skip
IDS = [f"{i} {name_of(law)}" for i, (law, _, _) in enumerate(BROKEN)]


@pytest.mark.parametrize(("law", "make", "shown"), BROKEN, ids=IDS)
async def test_it_is_found(law: Law[VerifierCase], make: Callable[[], FakeVerifier], shown: str) -> None:
    with pytest.raises(AssertionError, match=rf"^{name_of(law)}: .*{shown}"):
        await hold(law, VerifierCase(make(), **CASE))
    with pytest.raises(AssertionError):
        await check_verifier(make(), **CASE)


def test_every_law_is_broken_by_one() -> None:
    assert {law for law, _, _ in BROKEN} == set(VERIFIER_LAWS)


@pytest.mark.parametrize("readout", ["per_step", "whole"])
async def test_a_sound_verifier_passes(readout: Any) -> None:
    await check_verifier(Broken(readout=readout), **CASE)


async def test_a_verifier_that_reads_nothing_counts_nothing() -> None:
    await check_verifier(Broken(answer=counted(reward_tokens=0)), **CASE, reads=False)
    with pytest.raises(AssertionError, match=r"usage counts what was read: .* must be 0"):
        await check_verifier(Broken(), **CASE, reads=False)


async def test_rounding_is_allowed_where_no_bits_are_promised() -> None:
    def rounded(by: float) -> FakeVerifier:
        answer = lambda asked, replies: moved(lambda r: by * len(asked))(asked, replies)  # noqa: E731
        return Broken(answer=answer, batch_invariant=False)

    await check_verifier(rounded(1e-6), **CASE)
    with pytest.raises(AssertionError, match="a reward depends on its request alone"):
        await check_verifier(rounded(1e-2), **CASE)


async def test_two_steps_are_too_few() -> None:
    with pytest.raises(ValueError, match="needs three steps or more, not 2"):
        await check_verifier(FakeVerifier(), question="abca", steps=("a\n", "b\n"))
