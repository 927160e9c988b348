"""The laws of a verifier, and ``check_verifier``, which holds a verifier to all of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.protocols import Failure, ModelInfo, ScoreReply, ScoreRequest, Verifier
from orchestrator.testing.laws import Law, hold_all, require

_CLOSE = 1e-3  # of log-odds, where a verifier promises no more than rounding


@dataclass(frozen=True)
class VerifierCase:
    """A verifier, and a trajectory of three or more steps that it can reward. See ``check_verifier``."""

    verifier: Verifier
    question: str
    steps: tuple[str, ...]
    wrong: tuple[str, ...] | None = None
    home: str = "p"
    reads: bool = True
    empty_steps: bool = True
    impossible: tuple[str, ...] | None = None

    @property
    def is_whole(self) -> bool:
        return self.verifier.info.readout == "whole"

    def request(self, num_steps: int, num_locked: int = 0, **changes: Any) -> ScoreRequest:
        """Return a request for the first steps; the policy's figures are invented, and differ by step."""
        steps = self.steps[:num_steps]
        request = ScoreRequest(
            home=self.home,
            question=self.question,
            steps=steps,
            num_locked=num_locked,
            logprobs=tuple(-1.5 * (i + 1) for i in range(len(steps))),
            num_tokens=tuple(5 + i for i in range(len(steps))),
        )
        return replace(request, **changes)

    def requests(self) -> list[ScoreRequest]:
        """Return requests for every number of steps, with every number of them locked."""
        return [self.request(n, locked) for n in range(1, len(self.steps) + 1) for locked in range(n)]

    def of(self, steps: Sequence[str]) -> ScoreRequest:
        """Return a request for steps that are not those of the case."""
        numbers = range(len(steps))
        logprobs, num_tokens = tuple(-1.5 * (i + 1) for i in numbers), tuple(5 + i for i in numbers)
        return self.request(0, steps=tuple(steps), logprobs=logprobs, num_tokens=num_tokens)

    async def replies(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        """Return the reply to each request. Raises AssertionError where the call raises or one is missing."""
        try:
            replies = list(await self.verifier.score(requests))
        except Exception as error:
            raise AssertionError(
                f"score raised {type(error).__name__}: {error}; a request that cannot be answered is a "
                "Failure in its place"
            ) from error
        require(len(replies) == len(requests), f"{len(requests)} requests got {len(replies)} replies")
        return replies

    async def score(self, *requests: ScoreRequest) -> list[tuple[float, ...]]:
        """Return the log-odds of each reply's rewards. Raises AssertionError where one is a Failure."""
        return [tuple(reward.log_odds for reward in reply.rewards) for reply in await self.scored(*requests)]

    async def scored(self, *requests: ScoreRequest) -> list[ScoreReply]:
        replies = await self.replies(requests)
        for request, reply in zip(requests, replies, strict=True):
            require(isinstance(reply, ScoreReply), f"{_named(request)} got {reply!r}")
        return [reply for reply in replies if isinstance(reply, ScoreReply)]

    def require_same(self, found: Sequence[Any], expected: Sequence[Any], how: str) -> None:
        """Require equal log-odds: bit by bit where the verifier promises that, else up to rounding."""
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            same = len(one) == len(other) and all(map(self._agree, one, other))
            require(same, f"request {i} got the log-odds {one} {how}, and {other} together with the others")

    def _agree(self, a: float, b: float) -> bool:
        if self.verifier.info.batch_invariant:
            return a == b
        return math.isclose(a, b, rel_tol=_CLOSE, abs_tol=_CLOSE)


async def its_info_is_legal_and_never_changes(case: VerifierCase) -> None:
    info = case.verifier.info
    require(isinstance(info, ModelInfo), f"info is {info!r}, and must be a ModelInfo")
    require(info.readout in ("per_step", "whole"), f"info.readout is {info.readout!r}")
    await case.score(case.request(1))
    require(case.verifier.info == info, f"info was {info!r}, and {case.verifier.info!r} after a call")


async def every_request_has_one_reply(case: VerifierCase) -> None:
    """No requests have no replies."""
    for num in (0, 1, 2, len(case.requests())):
        await case.score(*case.requests()[:num])


async def every_new_step_has_one_reward(case: VerifierCase) -> None:
    """In [0, 1]; with the read-out ``whole`` there is one for all the steps."""
    requests = [*case.requests(), *([] if case.is_whole else [case.request(2, 2)])]
    for request, reply in zip(requests, await case.scored(*requests), strict=True):
        expected = 1 if case.is_whole else len(request.steps) - request.num_locked
        message = f"{_named(request)} got {len(reply.rewards)} rewards, and must get {expected}"
        require(len(reply.rewards) == expected, message)
        for reward in reply.rewards:
            require(0.0 <= reward.value <= 1.0, f"{_named(request)} got the reward {reward.value}")


async def rewards_differ(case: VerifierCase) -> None:
    """Of the steps, and of the wrong ones where they are given: not all are equal."""
    requests = [*case.requests(), *(case.of(steps) for steps in (case.wrong,) if steps is not None)]
    rewards = {value for reply in await case.score(*requests) for value in reply}
    require(len(rewards) > 1, f"all steps got the log-odds {next(iter(rewards))}")


async def locked_steps_change_no_reward(case: VerifierCase) -> None:
    """Step by step and in one request the rewards are the same."""
    last = len(case.steps)
    (in_one,) = await case.score(case.request(last))
    by_step = [(await case.score(case.request(n, n - 1)))[0][-1] for n in range(1, last + 1)]
    case.require_same([by_step[-1:] if case.is_whole else by_step], [in_one], "step by step")


async def a_reward_depends_on_its_request_alone(case: VerifierCase) -> None:
    """Alone, in a batch, beside other calls, and with another ``home``: the same rewards."""
    requests = case.requests()
    together = await case.score(*requests)
    alone = [(await case.score(request))[0] for request in requests]
    case.require_same(alone, together, "alone")
    apart = [r[0] for r in await asyncio.gather(*(case.score(request) for request in requests))]
    case.require_same(apart, together, "in a call beside other calls")
    moved = await case.score(*(request.at("another home") for request in requests))
    case.require_same(moved, together, "with another home")


async def replies_come_in_the_order_of_the_requests(case: VerifierCase) -> None:
    requests = case.requests()
    together = await case.score(*requests)
    case.require_same((await case.score(*reversed(requests)))[::-1], together, "in the reverse order")


async def a_reward_does_not_depend_on_later_steps(case: VerifierCase) -> None:
    if not case.is_whole:
        whole, part = await case.score(case.request(3), case.request(2))
        case.require_same([whole[:2]], [part], "with a third step")


async def a_wrong_step_is_worth_less(case: VerifierCase) -> None:
    """The steps before it keep their rewards."""
    if case.wrong is None:
        return
    right, wrong = await case.score(case.of(case.steps), case.of(case.wrong))
    require(
        wrong[-1] < right[-1], f"the log-odds are {wrong[-1]} for wrong steps, {right[-1]} for right ones"
    )
    if not case.is_whole:
        pairs = list(zip(case.steps, case.wrong, strict=False))
        num = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
        case.require_same([wrong[:num]], [right[:num]], "before a wrong step")


async def an_empty_step_has_a_reward(case: VerifierCase) -> None:
    if case.empty_steps:
        (rewards,) = await case.score(replace(case.of((case.steps[0], "")), num_locked=1))
        require(len(rewards) == 1, f"an empty step got {len(rewards)} rewards")


async def usage_counts_what_was_read(case: VerifierCase) -> None:
    """Tokens of the verifier, none where it has no model, and none of a policy."""
    requests = case.requests()
    for request, reply in zip(requests, await case.scored(*requests), strict=True):
        usage, shown = reply.usage, f"{_named(request)} is counted as {reply.usage}"
        counts = (usage.reward_tokens, usage.cached_reward_tokens, usage.flops)
        require(min(counts) >= 0, shown)
        num_read = usage.reward_tokens + usage.cached_reward_tokens
        allowed = "above 0" if case.reads else "0"
        require((num_read > 0) == case.reads, f"{shown}, and the tokens read must be {allowed}")
        policy = usage.generated_tokens or usage.prompt_tokens or usage.cached_tokens
        require(not policy, f"{shown}, with tokens of a policy")


async def a_failure_is_a_value_in_its_place(case: VerifierCase) -> None:
    """A request that cannot be answered fails itself and no other of its call."""
    if case.impossible is None:
        return
    good = case.request(2)
    alone = await case.score(good)
    replies = await case.replies([good, case.of(case.impossible), good])
    kinds = [type(reply).__name__ for reply in replies]
    message = f"a good, an impossible and a good request got {', '.join(kinds)}"
    require(kinds == ["ScoreReply", "Failure", "ScoreReply"], message)
    rest = [tuple(r.log_odds for r in reply.rewards) for reply in replies if isinstance(reply, ScoreReply)]
    case.require_same(rest, alone * 2, "beside a failure")


VERIFIER_LAWS: tuple[Law[VerifierCase], ...] = (
    its_info_is_legal_and_never_changes,
    every_request_has_one_reply,
    every_new_step_has_one_reward,
    rewards_differ,
    a_reward_depends_on_its_request_alone,
    replies_come_in_the_order_of_the_requests,
    locked_steps_change_no_reward,
    a_reward_does_not_depend_on_later_steps,
    a_wrong_step_is_worth_less,
    an_empty_step_has_a_reward,
    usage_counts_what_was_read,
    a_failure_is_a_value_in_its_place,
)
"""In the order in which ``check_verifier`` checks them: what later ones rely on comes first."""


async def check_verifier(
    verifier: Verifier,
    *,
    question: str,
    steps: Sequence[str],
    wrong: Sequence[str] | None = None,
    home: str = "p",
    reads: bool = True,
    empty_steps: bool = True,
    impossible: Sequence[str] | None = None,
) -> None:
    r"""Check that a verifier keeps what ``VerifierBase`` promises.

    ``steps`` are three or more of a trajectory, each with its delimiter. ``wrong`` are other steps whose last
    reward must be lower; None skips that law. ``home`` is the id of the problem. ``reads=False`` is for a
    verifier without a model, which counts no tokens; ``empty_steps=False`` for one that cannot reward a step
    without text. ``impossible`` are steps that it cannot read, such as one that is too long; None skips that
    law. The verifier is not closed.

    Raises AssertionError that names the first law that is broken, with the values.

    Example::

        async def test_my_verifier():
            await check_verifier(MyVerifier(), question="1+2", steps=("1+2\n", "=3\n", "3\n"), reads=False)
    """
    if len(steps) < 3:
        raise ValueError(f"check_verifier needs three steps or more, not {len(steps)}")
    as_tuple = (None if s is None else tuple(s) for s in (wrong, impossible))
    wrong_steps, impossible_steps = as_tuple
    case = VerifierCase(
        verifier, question, tuple(steps), wrong_steps, home, reads, empty_steps, impossible_steps
    )
    await hold_all(VERIFIER_LAWS, case)


def _named(request: ScoreRequest) -> str:
    return f"a request for {len(request.steps)} steps, {request.num_locked} of them locked,"
